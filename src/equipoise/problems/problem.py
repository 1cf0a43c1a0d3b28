"""What a problem is: tasks, data, network, losses, metrics and a training recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from equipoise.errors import UserError, near_match
from equipoise.losses import task_names

OVERALL = "all"
"""Stands for the name of a task in what concerns all of them."""

Metrics: TypeAlias = Mapping[str, Mapping[str, float]]
"""Metric → task, or ``"all"`` for the metric over all tasks → value."""


class Data(Protocol):
    """Samples that can be counted and picked, as ``torch.utils.data.TensorDataset``'s can."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, indices: Tensor) -> Any:
        """The batch of samples at ``indices``, int64: a tensor, or a tuple or dict of them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a problem's network is trained unless a user says otherwise."""

    steps: int
    """Optimizer steps."""
    batch_size: int
    """Samples a batch; batches are drawn without replacement, the last of an epoch is smaller."""
    lr: float
    """Learning rate."""
    optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer]
    """From parameters and learning rate to an optimizer."""
    clip: float | None = None
    """Largest norm of the gradient of all parameters; ``None`` for no limit."""
    held_out_batch_size: int | None = None
    """Samples in a held-out batch; as many as in a batch if ``None``."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network that learns several tasks, in a form that every method can be tried on."""

    tasks: Sequence[str]
    """Names of the tasks."""
    train: Data
    """Samples to train on."""
    validation: Data
    """Samples held out to choose the step whose network counts; never trained on."""
    test: Data
    """Samples for the figures that are reported; never chosen on."""
    network: Callable[[], nn.Module]
    """A freshly initialised network."""
    shared: Callable[[nn.Module], Iterable[nn.Parameter]]
    """The parameters of a network that all tasks share."""
    losses: Callable[[nn.Module, Any], Any]
    """``(network, batch)`` → per-sample losses ``(samples, tasks)``, mask of labels or ``None``; or
    any other form that :func:`~equipoise.losses.loss_function` takes."""
    metrics: Callable[[nn.Module, Data], Metrics]
    """``(network, samples)`` → metrics; called in evaluation mode and without a graph."""
    goals: Mapping[str, Literal["min", "max"]]
    """Which way each metric is better. The first decides, by its value for :attr:`deciding`."""
    recipe: Recipe
    """How it is trained."""
    ideal_weights: Sequence[float] | None = None
    """The best constant weights, where they are known: adds the method ``ideal``."""
    main: str | None = None
    """The task that the others are to serve: its value of the first metric decides."""
    held_out: Data | None = None
    """Samples that tell the weightings of samples what helps the main task; never trained on."""
    corrupted: Tensor | None = None
    """Which labels of the training part are known to be wrong, boolean ``(samples, tasks)``."""
    rows: Sequence[int] | None = None
    """The row of each training sample in the user's file, from 1 and without the header."""
    pictures: Callable[[Tensor], NDArray[np.uint8]] | None = None
    """Training samples at indices, int64, as pictures ``(samples, height, width, 1 or 3)``."""
    predict: Callable[[Path, Sequence[nn.Module]], str] | None = None
    """``(file of new samples, networks)`` → predictions of the networks together, as CSV text;
    called in evaluation mode and without a graph."""
    notes: Sequence[str] = ()
    """Sentences that whoever reads the results should know, such as what was left out."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts to put beside the results, by file name."""

    def __post_init__(self) -> None:
        try:
            names = task_names(self.tasks)
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from None
        if OVERALL in names:
            raise UserError(f"a task cannot be called {OVERALL!r}, which stands for all of them")
        if not self.goals or not set(self.goals.values()) <= {"min", "max"}:
            raise UserError("goals must give each metric, one at least, as 'min' or 'max'")
        if self.main is not None and self.main not in names:
            raise UserError(
                f"--main: there is no task {self.main!r}: {near_match(self.main, names)}"
            )
        for part in ("train", "validation", "test", "held_out"):
            samples = getattr(self, part)
            if samples is not None and not len(samples):
                raise UserError(f"the {part} part of the problem has no samples")

    @property
    def objective(self) -> str:
        """The metric that decides."""
        return next(iter(self.goals))

    @property
    def deciding(self) -> str:
        """Whose value of the objective decides: the main task, or all tasks together."""
        return OVERALL if self.main is None else self.main
