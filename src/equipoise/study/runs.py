"""What a run leaves behind: facts, arrays and a network, each in a file of its own.

run.json       what it was, and its metrics
history.npz    what it recorded on its way
samples.npz    of a weighting of samples: what became of the training samples
network.pt     of a problem that can predict new samples: the network of the selected step
sheet.webp     of a problem that can show it: what that network makes of a few test samples
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from equipoise.errors import UserError
from equipoise.problems.problem import OVERALL
from equipoise.study.files import read_bytes

Array: TypeAlias = npt.NDArray[np.float32]
Files: TypeAlias = Mapping[str, bytes]
"""Contents by name."""

FACTS, HISTORY, SAMPLES, NETWORK = "run.json", "history.npz", "samples.npz", "network.pt"
SHEET = "sheet.webp"


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
    detection: Array
    """How well the weights since the evaluation before tell clean labels from wrong ones, see
    :func:`~equipoise.study.detection.separation`, ``(evaluations,)``; NaN where that is not
    known."""


@dataclass(frozen=True)
class Samples:
    """What a weighting of samples made of each training sample. NaN where there is no label."""

    weights: Array
    """Mean weight since the evaluation before, uniform weights being 1:
    ``(evaluations, samples, tasks)``."""
    mean_weights: Array
    """Their mean over the evaluations, ``(samples, tasks)``."""
    alignments: Array
    """Mean alignment over the run, each in units of the root mean square of its batch and task:
    ``(samples, tasks)``."""
    shown: npt.NDArray[np.int64]
    """Samples by total weight: up to 24 of the largest, then up to 24 of the smallest."""
    pictures: npt.NDArray[np.uint8]
    """The pictures of ``shown``, ``(samples, height, width, 1 or 3)``; empty if there are none."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Facts:
    """What a run was, and what came of it."""

    method: str
    """Its label; ``single`` for the network that learns ``task`` alone."""
    source: str | None
    """What tells a method of the user's own from the same one with changed text."""
    seed: int
    task: str | None
    """The one task that was learned, for ``single``."""
    selected_step: int
    """The step with the best validation objective, whose network the metrics are of."""
    diverged_at: int | None
    """The step of the first non-finite loss, after which training stopped. Metrics are NaN then."""
    metrics: dict[str, dict[str, float]]
    """On the test part: metric → task or ``"all"`` → value."""
    seconds_per_step: float
    """Median over the evaluations."""
    detection: float | None
    """:attr:`History.detection` at the end; ``None`` for a method that weighs no samples, or where
    no label is known to be wrong."""
    torch: str | None = None
    """The version of PyTorch that trained it."""


@dataclass(frozen=True)
class Run:
    """One method, trained once. Arrays are read when they are asked for, and not kept."""

    facts: Facts
    files: Path | Files = field(compare=False, repr=False)
    """The folder that it is in, or what would be in it."""

    @cached_property
    def history(self) -> History:
        """What it recorded on its way."""
        return History(**self._arrays(HISTORY))

    @property
    def weighs_samples(self) -> bool:
        """Whether there is anything to read of the training samples."""
        return self._has(SAMPLES)

    def samples(self) -> Samples:
        """All that is known of the training samples.

        Raises:
            KeyError: if the method weighs none.
        """
        return Samples(**self._arrays(SAMPLES))

    def samples_part(self, name: str) -> npt.NDArray[Any]:
        """One attribute of :class:`Samples`, without reading the others."""
        return self._arrays(SAMPLES, name)[name]

    @property
    def has_network(self) -> bool:
        """Whether its network was kept."""
        return self._has(NETWORK)

    def network(self) -> dict[str, torch.Tensor]:
        """The state of its network, on the CPU.

        Raises:
            UserError: if it cannot be read.
        """
        try:
            state: dict[str, torch.Tensor] = torch.load(
                io.BytesIO(_content(self.files, NETWORK)), map_location="cpu", weights_only=True
            )
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            raise UserError(f"the network of {self.name} cannot be read: {error}") from error
        return state

    def sheet(self) -> bytes | None:
        """The picture of what its network makes of a few test samples, in WebP."""
        return _content(self.files, SHEET) if self._has(SHEET) else None

    @property
    def name(self) -> str:
        """What messages call it."""
        return named_run(self.facts.method, self.facts.seed, self.facts.task)

    def _has(self, name: str) -> bool:
        return (self.files / name).exists() if isinstance(self.files, Path) else name in self.files

    def _arrays(self, name: str, *parts: str) -> dict[str, npt.NDArray[Any]]:
        with np.load(io.BytesIO(_content(self.files, name)), allow_pickle=False) as arrays:
            return {part: arrays[part] for part in parts or arrays.files}


def named_run(method: str, seed: int, task: str | None) -> str:
    """A run in words."""
    return f"{method}, seed {seed}" if task is None else f"{method} {task}, seed {seed}"


def run_files(
    facts: Facts,
    history: History,
    samples: Samples | None,
    network: Mapping[str, torch.Tensor] | None,
    sheet: npt.NDArray[np.uint8] | None = None,
) -> dict[str, bytes]:
    """What is kept of a run."""
    files = {FACTS: to_json(asdict(facts)).encode(), HISTORY: _archive(history)}
    if samples is not None:
        files[SAMPLES] = _archive(samples)
    if network is not None:
        content = io.BytesIO()
        torch.save(dict(network), content)
        files[NETWORK] = content.getvalue()
    if sheet is not None:
        content = io.BytesIO()
        Image.fromarray(sheet).save(content, "WEBP", quality=85)
        files[SHEET] = content.getvalue()
    return files


def read_run(files: Path | Files) -> Run:
    """The run of these files.

    Raises:
        ValueError: in a sentence, if they are not of a run.
    """
    try:
        facts = _FACTS.validate_python(json.loads(_content(files, FACTS)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{FACTS} is not of a run: {where}: {first['msg']}") from None
    return Run(facts, files)


_FACTS = TypeAdapter(Facts)


def _content(files: Path | Files, name: str) -> bytes:
    return read_bytes(files / name) if isinstance(files, Path) else files[name]


def metrics_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Columns ``method, seed, task, metric, value``, a row for every figure of every run."""
    rows = [
        (run.facts.method, run.facts.seed, task, metric, value)
        for run in runs
        for metric, values in run.facts.metrics.items()
        for task, value in values.items()
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "task", "metric", "value"])


def named(metric: str, task: str) -> str:
    """A metric's value for a task in words: ``score of price``, or ``score`` of all tasks."""
    return metric if task == OVERALL else f"{metric} of {task}"


def to_json(value: Any) -> str:
    """A text for people and programs; what is no JSON as text."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


def _archive(arrays: History | Samples) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **vars(arrays))
    return content.getvalue()
