"""The folder of a study: what was asked, and every run that is finished.

    OUT/study.json                   the configuration that all runs share
    OUT/runs/METHOD/seed-N/          a run: its files, see `runs`, and manifest.json
    OUT/runs/METHOD/seed-N.unfinished   a run on its way, see `checkpoints`
    OUT/confirmation/, tuning/, equal-time/   the same, of other stages: see `stages`
    OUT/corrupted.csv                training labels that are known to be wrong: sample, task
    OUT/results.csv                  every metric of every run, a row each
    OUT/tuning.csv, equal-time.csv   what was tried; the same as results.csv at equal time
    OUT/summary.json, report.html    the comparison
    OUT/set-aside/                   what was found damaged

A run's folder is there whole or not at all, and its manifest says of which study it is and what is
in it: what does not match is set aside. One command at a time works in a folder. Nothing else in
the folder is touched.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import numpy.typing as npt
import pandas as pd

from equipoise.errors import UserError
from equipoise.problems.problem import Problem
from equipoise.study.configuration import Study, read_configuration
from equipoise.study.files import OURS, read_bytes, remove, sha256_of, write_text
from equipoise.study.runs import Files, Run, named_run, read_run, to_json
from equipoise.study.stages import COMPARISON, STAGES

STUDY, MANIFEST, CORRUPTED = "study.json", "manifest.json", "corrupted.csv"
ASIDE = "set-aside"
LONGEST = 80
"""Characters of a label in the name of a folder."""
_PLAIN = re.compile(r"[A-Za-z0-9_+-]+")


@dataclass(frozen=True)
class Damaged:
    """What is in the place of a run and cannot be trusted."""

    path: Path
    reason: str


_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What the reading of a damaged file may raise."""


@contextmanager
def opened(out: Path, study: Study) -> Iterator[tuple[Study, list[str]]]:
    """Hold the folder of a study, made if it is not there.

    Gives the study, with what was asked for before, and sentences on what was repaired.

    Raises:
        UserError: if the folder is another study's, holds anything else, or another command is at
            work in it.
    """
    _check_ours(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / f"{OURS}lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"another command is at work in {out}: wait until it is done, or give another `out`"
        ) from None
    with lock:
        for leftover in list(out.rglob(f"{OURS}*")):
            if leftover != Path(lock.lock_file):
                remove(leftover)
        before, said = _study_before(out, study)
        if before is not None:
            study = study.after(before)
        write_text(out / STUDY, to_json(asdict(study)))
        yield study, said


def _check_ours(out: Path) -> None:
    if (
        not out.exists()
        or (out / STUDY).exists()
        or any((out / stage).is_dir() for stage in STAGES)
    ):
        return
    if not out.is_dir() or any(not path.name.startswith(OURS) for path in out.iterdir()):
        raise UserError(f"{out} holds something other than a study: give another `out`")


def _study_before(out: Path, study: Study) -> tuple[Study | None, list[str]]:
    """What the folder has, if it is this study; what cannot be read makes way."""
    if not (out / STUDY).exists():
        return None, []
    try:
        found = read_configuration(out / STUDY)
    except _DAMAGED as error:
        place = set_aside(out, out / STUDY)
        said = f"{out / STUDY} could not be read ({error}): it is now {place}, and written anew"
        return None, [said]
    if differences := study.differences(found):
        raise UserError(
            f"{out} holds a study of another configuration ({'; '.join(differences)}): "
            "give another `out`, or the options of that study"
        )
    return found, []


def read_study(out: Path) -> Study:
    """The study of a folder.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    try:
        return read_configuration(out / STUDY)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{out} holds no study: there is no {out / STUDY}") from None
    except _DAMAGED as error:
        raise UserError(
            f"{out / STUDY} cannot be read ({error}): the command that made the study writes it "
            "anew"
        ) from None


def run_folder(
    out: Path, method: str, seed: int, task_index: int | None, stage: str = COMPARISON
) -> Path:
    """Where a run is kept. Its path holds no name of a task, which may be anything.

    A label that not every file system takes as it is, or that is long, ends in a part of its hash
    there; the label itself is in the run.
    """
    name = method.replace("/", "-")
    if len(name) > LONGEST or not _PLAIN.fullmatch(name):
        readable = re.sub(r"[^A-Za-z0-9_.+=-]+", "-", name)[:LONGEST].strip("-.")
        name = f"{readable}-{sha256_of(method.encode())[:12]}"
    if task_index is not None:
        name += f"-{task_index}"
    return out / stage / name / f"seed-{seed}"


def place_of(
    out: Path, study: Study, method: str, seed: int, task: str | None, stage: str = COMPARISON
) -> Path:
    """The same of a run by the name of its task."""
    return run_folder(out, method, seed, None if task is None else study.tasks.index(task), stage)


def write_run(out: Path, study: Study, files: Files, stage: str = COMPARISON) -> Run:
    """Write a run whole or not at all: aside first, then renamed. The run as it is there.

    Raises:
        OSError: if it cannot be written.
    """
    facts = read_run(files).facts
    folder = place_of(out, study, facts.method, facts.seed, facts.task, stage)
    manifest = {
        "study": study.identity,
        "stage": stage,
        "method": facts.method,
        "seed": facts.seed,
        "task": facts.task,
        "files": {name: sha256_of(content) for name, content in files.items()},
    }
    contents = {**files, MANIFEST: to_json(manifest).encode()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=OURS, dir=folder.parent))
    try:
        for name, content in contents.items():
            (aside / name).write_bytes(content)
        aside.chmod(0o755)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return read_run(folder)


def read_runs(out: Path, study: Study, stage: str = COMPARISON) -> tuple[list[Run], list[Damaged]]:
    """All finished runs of a stage, in the order of their names; and what is no run of it."""
    folders = [
        folder
        for folder in sorted((out / stage).glob("*/seed-*"))
        if folder.is_dir() and not folder.parent.name.startswith(".")
    ]
    # What takes time is to hash files, which Python does on all cores.
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(partial(_run_or_damage, out, study, stage), folders))
    runs = [each for each in found if isinstance(each, Run)]
    return runs, [each for each in found if isinstance(each, Damaged)]


def _run_or_damage(out: Path, study: Study, stage: str, folder: Path) -> Run | Damaged:
    try:
        return _checked_run(out, folder, study, stage)
    except _DAMAGED as error:
        return Damaged(folder, str(error) or type(error).__name__)


def _checked_run(out: Path, folder: Path, study: Study, stage: str) -> Run:
    """The run in a folder, if its manifest says so.

    Raises:
        Exception: of the kinds that damaged files raise, with the reason.
    """
    manifest = json.loads(read_bytes(folder / MANIFEST))
    if manifest["study"] != study.identity:
        raise ValueError("it is of another study")
    was = manifest["method"], manifest["seed"], manifest["task"]
    if manifest["stage"] != stage:
        raise ValueError(f"it is of another stage, {manifest['stage']}")
    if place_of(out, study, *was, stage) != folder:
        raise ValueError(f"it is the place of another run than {named_run(*was)}")
    contents = {path.name for path in folder.iterdir()} - {MANIFEST}
    if contents != manifest["files"].keys():
        raise ValueError(f"its files are {', '.join(sorted(contents))}")
    for name, digest in manifest["files"].items():
        if sha256_of(read_bytes(folder / name)) != digest:
            raise ValueError(f"{name} is not as it was written")
    run = read_run(folder)
    if (run.facts.method, run.facts.seed, run.facts.task) != was:
        raise ValueError("its manifest is of another run")
    return run


def make_way(out: Path, folder: Path) -> Iterator[str]:
    """Set aside what is no folder where that of a run is to be; sentences on what that was."""
    above = [each for each in folder.parents if each.is_relative_to(out) and each != out]
    for path in (*reversed(above), folder):
        if os.path.lexists(path) and not path.is_dir():
            yield f"{path} was in the way of a run: it is now {set_aside(out, path)}"


def set_aside(out: Path, path: Path) -> Path:
    """Move what is damaged to a name of its own; where it is now."""
    name = "-".join(path.relative_to(out).parts)
    places = (out / ASIDE / (name if not n else f"{name}-{n}") for n in range(10**6))
    place = next(place for place in places if not os.path.lexists(place))
    place.parent.mkdir(exist_ok=True)
    return path.rename(place)


def corrupted_csv(problem: Problem) -> str | None:
    """Which training labels are known to be wrong, where the problem knows of any."""
    if problem.corrupted is None:
        return None
    samples, tasks = np.nonzero(problem.corrupted.numpy())
    table = pd.DataFrame({"sample": samples, "task": np.array(problem.tasks, object)[tasks]})
    return table.to_csv(index=False)


def write_corrupted(out: Path, problem: Problem) -> None:
    """Write which training labels are known to be wrong, where the problem knows of any."""
    text = corrupted_csv(problem)
    if text is not None:
        write_text(out / CORRUPTED, text)


def read_corrupted(out: Path, study: Study, samples: int) -> npt.NDArray[np.bool_] | None:
    """Which training labels are known to be wrong, ``(samples, tasks)``; ``None`` if none are.

    Raises:
        UserError: if the file cannot be read, or is not as it was written.
    """
    if study.corrupted is None:
        return None
    path = out / CORRUPTED
    try:
        content = read_bytes(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if sha256_of(content) != study.corrupted:
        raise _unreadable(path, "it is not as it was written")
    corrupted = np.zeros((samples, len(study.tasks)), bool)
    table = pd.read_csv(io.BytesIO(content), dtype={"task": str}, keep_default_na=False)
    corrupted[table["sample"], [study.tasks.index(task) for task in table["task"]]] = True
    return corrupted if corrupted.any() else None


def _unreadable(path: Path, reason: object) -> UserError:
    return UserError(
        f"{path} cannot be read ({reason}): delete it, and the command that made the study writes "
        "it anew"
    )
