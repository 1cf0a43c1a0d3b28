"""What a problem is: tasks, data, network, losses, scores and a training recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from equipoise.errors import UserError, near_match
from equipoise.losses import task_names
from equipoise.problems.labelled import Labelled
from equipoise.problems.scores import OVERALL, Answers, Metrics, Score

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OVERALL", "Data", "Metrics", "Problem", "Recipe"]


class Data(Protocol):
    """Samples that can be counted and picked, as ``torch.utils.data.TensorDataset``'s can."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, indices: Tensor) -> Any:
        """The batch of samples at ``indices``, int64: a tensor, or a tuple or dict of them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a problem's network is trained unless a user says otherwise."""

    # Whoever reads a problem's recipe finds steps there: see Problem.
    steps: int = cast("int", None)
    """Optimizer steps; or give ``epochs``, of which a problem makes steps."""
    epochs: int | None = None
    """Walks through the training part."""
    batch_size: int
    """Samples a batch; batches are drawn without replacement, the last of an epoch is smaller."""
    lr: float
    """Learning rate."""
    optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer]
    """From parameters and learning rate to an optimizer."""
    clip: float | None = None
    """Largest norm of the gradient of all parameters; ``None`` for no limit."""
    held_out_batch_size: int = 64
    """Samples in a held-out batch, or all there are: fewer of many judge otherwise at each step."""
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    """From the optimizer and the number of steps to what changes the learning rate after each."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise UserError("a recipe must give either steps or epochs, one of the two")


def _of_inputs(network: nn.Module, batch: Any) -> Any:
    """What a network makes of the first part of a batch."""
    return network(batch[0])


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
    losses: Callable[[Any, Any], Any]
    """``(outputs, batch)`` → per-sample losses ``(samples, tasks)``, mask of labels or ``None``; or
    any other form that :func:`~equipoise.losses.loss_function` takes."""
    scores: Mapping[str, Score]
    """How it is measured. The first score decides, by its value for :attr:`deciding`."""
    outputs: Callable[[nn.Module, Any], Any] = _of_inputs
    """``(network, batch)`` → what losses and answers are made of; by default the network's of
    the first part of the batch."""
    answers: Callable[[Any, Any], Answers] | None = None
    """``(outputs, batch)`` → predictions and targets of each task, where it has labels; without it
    :func:`~equipoise.problems.scores.columns` of the outputs."""
    recipe: Recipe
    """How it is trained. Once the problem is made it has steps, also where epochs were given."""
    ideal_weights: Sequence[float] | None = None
    """The best constant weights, where they are known: adds the method ``ideal``."""
    main: str | None = None
    """The task that the others are to serve: its value of the first metric decides."""
    held_out: Data | None = None
    """Samples that tell the weightings of samples what helps the main task; never trained on."""
    classes: Tensor | None = None
    """Classes of the training labels as they are given, ``(samples, tasks)``, int64, if they have
    some: how well wrong labels are told is measured within a class."""
    corrupted: Tensor | None = None
    """Which labels of the training part are known to be wrong, boolean ``(samples, tasks)``."""
    rows: Sequence[int] | None = None
    """The row of each training sample in the user's file, from 1 and without the header."""
    pictures: Callable[[Tensor], NDArray[np.uint8]] | None = None
    """Training samples at indices, int64, as pictures ``(samples, height, width, 1 or 3)``."""
    sheet: Callable[[nn.Module], NDArray[np.uint8]] | None = None
    """What a network makes of a few test samples, as one picture ``(height, width, 3)``; called in
    evaluation mode and without a graph."""
    predict: Callable[[Path | pd.DataFrame, Sequence[nn.Module]], pd.DataFrame] | None = None
    """``(new samples, networks)`` → predictions of the networks together, a row a sample; called
    in evaluation mode and without a graph."""
    labelled: Callable[[], Labelled] | None = None
    """All samples of all parts with their labels as they are given, for an audit."""
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
        if self.main is not None and self.main not in names:
            raise UserError(
                f"`main`: there is no task {self.main!r}: {near_match(self.main, names)}"
            )
        self._check_scores(names)
        for part in ("train", "validation", "test", "held_out"):
            samples = getattr(self, part)
            if samples is not None and not len(samples):
                raise UserError(f"the {part} part of the problem has no samples")
        if self.recipe.epochs is not None:
            steps = self.recipe.epochs * ceil(len(self.train) / self.recipe.batch_size)
            object.__setattr__(self, "recipe", replace(self.recipe, steps=steps, epochs=None))

    def _check_scores(self, names: Sequence[str]) -> None:
        if not self.scores:
            raise UserError("the problem must have a score, and the first decides")
        for metric, score in self.scores.items():
            unknown = score.metrics(names).keys() - {*names, OVERALL}
            if unknown:
                raise UserError(
                    f"the score {metric!r} has a metric of {min(unknown)!r}, which is no task: "
                    f"{near_match(min(unknown), names)}"
                )
        first = self.scores[self.objective]
        if self.main is not None and not (first.by_task and self.main in first.metrics(names)):
            raise UserError(
                f"`main`: the first score, {self.objective!r}, decides, and has no value for "
                f"{self.main!r}"
            )

    def loss_function(self, network: nn.Module, batch: Any) -> Any:
        """The losses of a network on a batch, in the form in which :attr:`losses` gives them."""
        return self.losses(self.outputs(network, batch), batch)

    @property
    def goals(self) -> dict[str, Literal["min", "max"]]:
        """Which way each score is better."""
        return {name: score.goal for name, score in self.scores.items()}

    @property
    def objective(self) -> str:
        """The score that decides."""
        return next(iter(self.scores))

    @property
    def deciding(self) -> str:
        """Whose value of the objective decides: the main task, or all tasks together."""
        return OVERALL if self.main is None else self.main
