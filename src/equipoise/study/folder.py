"""The folder of a study: what was asked, and every run that is finished.

    OUT/study.json              the configuration that all runs share
    OUT/runs/METHOD/seed-N/     a run: run.json (what it was, its metrics), history.npz; of a
                                problem that can predict new samples, network.pt; of a weighting of
                                samples, samples.npz
    OUT/corrupted.csv           training labels that are known to be wrong: sample, task
    OUT/results.csv             every metric of every run, a row each
    OUT/summary.json            the comparison
    OUT/report.html             the same, to look at

A run's folder is there whole or not at all. Nothing else in the folder is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from equipoise.errors import UserError
from equipoise.problems.problem import OVERALL, Problem

Array = npt.NDArray[np.float32]

NETWORK = "network.pt"
"""In the folder of a run: the state of its network."""
SAMPLES = "samples.npz"
"""In the folder of a run: what became of the training samples."""
CORRUPTED = "corrupted.csv"
"""In the folder of a study: training labels that are known to be wrong."""
LONGEST = 80
"""Characters of a label in the name of a folder."""
_PLAIN = re.compile(r"[A-Za-z0-9_+-]+")


@dataclass(frozen=True)
class Study:
    """What all runs of a folder have in common."""

    problem: str
    """Its name."""
    options: Mapping[str, Any]
    """What the problem was made with; files stand as the SHA-256 of their contents."""
    recipe: Mapping[str, Any]
    """steps, batch_size, lr."""
    tasks: tuple[str, ...]
    goals: Mapping[str, str]
    """Metric → ``"min"`` or ``"max"``; the first decides."""
    notes: tuple[str, ...]
    """What a reader should know of the data."""
    main: str | None = None
    """The task whose value of the objective decides; all together if ``None``."""
    version: str = version("equipoise")
    """Of the library: runs of two versions are not to be mixed."""

    @property
    def objective(self) -> str:
        """The metric that decides."""
        return next(iter(self.goals))

    @property
    def deciding(self) -> str:
        """Whose value of the objective decides: the main task, or all tasks together."""
        return OVERALL if self.main is None else self.main


@dataclass(frozen=True)
class History:
    """What a run recorded on its way."""

    losses: Array
    """Task losses of each step, ``(steps, tasks)``; NaN where a task had no label."""
    weights: Array
    """Weights of each step, ``(steps, tasks)``."""
    evaluated_at: Array
    """Steps after which the network was evaluated, ``(evaluations,)``."""
    validation: Array
    """The objective there on the validation part, ``(evaluations,)``."""
    test: Array
    """The objective there on the test part, ``(evaluations,)``."""
    seconds_per_step: Array
    """Mean time of a step since the evaluation before, ``(evaluations,)``."""


@dataclass(frozen=True)
class Samples:
    """What a weighting of samples made of each training sample. NaN where there is no label."""

    weights: Array
    """Mean weight since the evaluation before, uniform weights being 1:
    ``(evaluations, samples, tasks)``."""
    alignments: Array
    """Mean alignment over the run, each in units of the root mean square of its batch and task:
    ``(samples, tasks)``."""
    shown: npt.NDArray[np.int64]
    """Samples by total weight: up to 24 of the largest, then up to 24 of the smallest."""
    pictures: npt.NDArray[np.uint8]
    """The pictures of ``shown``, ``(samples, height, width, 1 or 3)``; empty if there are none."""


@dataclass(frozen=True)
class Run:
    """One method, trained once."""

    method: str
    """Its label; ``single`` for the network that learns ``task`` alone."""
    seed: int
    task: str | None
    """The one task that was learned, for ``single``."""
    selected_step: int
    """The step with the best validation objective, whose network the metrics are of."""
    diverged_at: int | None
    """The step of the first non-finite loss, after which training stopped. Metrics are NaN then."""
    metrics: Mapping[str, Mapping[str, float]]
    """On the test part: metric → task or ``"all"`` → value."""
    history: History
    source: str | None = None
    """What tells a method of the user's own from the same one with changed text."""
    network: Mapping[str, torch.Tensor] | None = field(default=None, compare=False, repr=False)
    """The state of the network of ``selected_step``, if it is to be kept; not read back."""
    samples: Samples | None = field(default=None, compare=False, repr=False)
    """What became of the training samples, for a weighting of samples."""
    corrupted: npt.NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    """With ``samples``, which labels are known to be wrong, ``(samples, tasks)``. All runs of a
    study have the same, which is kept once, in its folder."""


def open_study(out: Path, study: Study) -> None:
    """Make the folder of a study, or see that it is this study's.

    Raises:
        UserError: if the folder is another study's, or holds anything else.
    """
    asked = json.loads(_json(asdict(study)))
    if (out / "study.json").exists():
        found = json.loads((out / "study.json").read_text(encoding="utf-8"))
        differences = [
            f"{name} {there!r} there, {here!r} now"
            for name, there, here in _differences(found, asked)
        ]
        if differences:
            raise UserError(
                f"{out} holds a study of another configuration ({'; '.join(differences)}): "
                "give another --out, or the options of that study"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something other than a study: give another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "study.json", _json(asdict(study)))


def read_study(out: Path) -> Study:
    """The study of a folder.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    try:
        found = json.loads((out / "study.json").read_text(encoding="utf-8"))
        return Study(**{**found, "tasks": tuple(found["tasks"]), "notes": tuple(found["notes"])})
    except FileNotFoundError:
        raise UserError(f"{out} holds no study: there is no {out / 'study.json'}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out / 'study.json'} cannot be read: {error}") from None


def run_folder(out: Path, method: str, seed: int, task_index: int | None) -> Path:
    """Where a run is kept. Its path holds no name of a task, which may be anything.

    A label that not every file system takes as it is, or that is long, ends in a part of its hash
    there; the label itself is in the run.
    """
    name = method.replace("/", "-")
    if len(name) > LONGEST or not _PLAIN.fullmatch(name):
        readable = re.sub(r"[^A-Za-z0-9_.+=-]+", "-", name)[:LONGEST].strip("-.")
        name = f"{readable}-{hashlib.sha256(method.encode()).hexdigest()[:12]}"
    if task_index is not None:
        name += f"-{task_index}"
    return out / "runs" / name / f"seed-{seed}"


def write_run(folder: Path, run: Run) -> None:
    """Write a run whole or not at all: aside first, then renamed.

    If another process has made the same run meanwhile, that one stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        np.savez_compressed(aside / "history.npz", allow_pickle=False, **vars(run.history))
        if run.network is not None:
            torch.save(run.network, aside / NETWORK)
        if run.samples is not None:
            np.savez_compressed(aside / SAMPLES, allow_pickle=False, **vars(run.samples))
        arrays = ("history", "network", "samples", "corrupted")
        facts = {name: value for name, value in vars(run).items() if name not in arrays}
        (aside / "run.json").write_text(_json(facts), encoding="utf-8")
        aside.chmod(0o755)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_run(folder: Path) -> Run:
    """A run that :func:`write_run` wrote."""
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    with np.load(folder / "history.npz", allow_pickle=False) as arrays:
        history = History(**arrays)
    samples = None
    if (folder / SAMPLES).exists():
        with np.load(folder / SAMPLES, allow_pickle=False) as arrays:
            samples = Samples(**arrays)
    return Run(**facts, history=history, samples=samples)


def read_runs(out: Path) -> list[Run]:
    """All finished runs of a folder, in the order of their names."""
    runs = [read_run(folder) for folder in run_folders(out)]
    samples = next((len(run.samples.alignments) for run in runs if run.samples is not None), 0)
    corrupted = read_corrupted(out, samples) if samples else None
    return [run if run.samples is None else replace(run, corrupted=corrupted) for run in runs]


def write_corrupted(out: Path, problem: Problem) -> None:
    """Write which training labels are known to be wrong, where the problem knows of any."""
    if problem.corrupted is None:
        return
    samples, tasks = np.nonzero(problem.corrupted.numpy())
    table = pd.DataFrame({"sample": samples, "task": np.array(problem.tasks, object)[tasks]})
    write_text(out / CORRUPTED, table.to_csv(index=False))


def read_corrupted(out: Path, samples: int) -> npt.NDArray[np.bool_] | None:
    """Which training labels are known to be wrong, ``(samples, tasks)``; ``None`` if none are.

    Raises:
        UserError: if the file cannot be read, or is of another study.
    """
    path = out / CORRUPTED
    if not path.exists():
        return None
    tasks = read_study(out).tasks
    corrupted = np.zeros((samples, len(tasks)), bool)
    try:
        table = pd.read_csv(path, dtype={"sample": int, "task": str}, keep_default_na=False)
        corrupted[table["sample"], [tasks.index(task) for task in table["task"]]] = True
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): delete it, and the command that made the study "
            "writes it anew"
        ) from error
    return corrupted if corrupted.any() else None


def read_network(folder: Path) -> dict[str, torch.Tensor]:
    """The state of a run's network, on the CPU.

    Raises:
        UserError: if it cannot be read.
    """
    path = folder / NETWORK
    try:
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} cannot be read: delete {folder}, and the same command makes it anew"
        ) from error
    return state


def run_folders(out: Path) -> list[Path]:
    """The folders of all finished runs, in the order of their names."""
    return [path.parent for path in sorted((out / "runs").glob("[!.]*/seed-*/run.json"))]


def metrics_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Columns ``method, seed, task, metric, value``, a row for every figure of every run."""
    rows = [
        (run.method, run.seed, task, metric, value)
        for run in runs
        for metric, values in run.metrics.items()
        for task, value in values.items()
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "task", "metric", "value"])


def named(metric: str, task: str) -> str:
    """A metric's value for a task in words: ``score of price``, or ``score`` of all tasks."""
    return metric if task == OVERALL else f"{metric} of {task}"


def check_free(option: str, path: Path) -> None:
    """Raise a :class:`UserError` if the file that an option names is there already."""
    if path.exists():
        raise UserError(f"{option}: there is {path} already; delete it or give another file")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    finally:
        Path(aside).unlink(missing_ok=True)


def _differences(found: Any, asked: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(found, dict) and isinstance(asked, dict):
        return [
            difference
            for key in {**found, **asked}
            for difference in _differences(found.get(key), asked.get(key), f"{name} {key}".strip())
        ]
    return [] if found == asked else [(name, found, asked)]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
