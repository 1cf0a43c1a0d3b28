"""How well networks do: the metrics of each task, and how one over all tasks comes about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from torch import Tensor

from equipoise.errors import UserError

if TYPE_CHECKING:
    from torchmetrics import Metric

OVERALL = "all"
"""Stands for the name of a task in what concerns all of them."""

Metrics: TypeAlias = Mapping[str, Mapping[str, float]]
"""Metric → task, or ``"all"`` for the metric over all tasks → value."""

Answers: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]
"""Task → predictions and targets ``(samples, …)`` of the samples that have its label."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of each task, and how its value over all tasks comes about.

    Example:
        >>> from torchmetrics import MeanAbsoluteError
        >>> Score(goal="min", metric=MeanAbsoluteError).over_tasks([1.0, 3.0])
        2.0
    """

    goal: Literal["min", "max"]
    """Which way it is better."""
    metric: Callable[[], Metric] | Mapping[str, Callable[[], Metric]]
    """Makes a metric of ``torchmetrics``; by task, where tasks differ or some have no such score.
    It gets predictions and targets of the samples with a label, floating ones in float64."""
    distinct: int = 1
    """Distinct targets of a task, 1 or 2, without which its value is undefined: NaN."""
    over_tasks: Callable[[Sequence[float]], float] = fmean
    """From the values of the tasks that are defined to the one over all tasks."""
    pooled: Callable[[], Metric] | None = None
    """Makes a metric of all tasks' predictions and targets together, instead of that."""
    units: Mapping[str, float] = field(default_factory=dict)
    """By task, what its value is multiplied by once the one over all tasks is formed: from units
    in which tasks compare to its own."""
    by_task: bool = True
    """Whether the values of the tasks are given, or only the one over all of them."""

    def __post_init__(self) -> None:
        if self.goal not in ("min", "max"):
            raise UserError(f"the goal of a score must be 'min' or 'max', found {self.goal!r}")
        if self.distinct not in (1, 2):
            raise UserError(f"distinct of a score must be 1 or 2, found {self.distinct!r}")

    def metrics(self, tasks: Sequence[str]) -> dict[str, Callable[[], Metric]]:
        """What makes the metric of each of ``tasks`` that has one, and of :data:`OVERALL`."""
        metric = self.metric
        own = dict(metric) if isinstance(metric, Mapping) else dict.fromkeys(tasks, metric)
        return own if self.pooled is None else {**own, OVERALL: self.pooled}


def columns(outputs: Tensor, batch: Any, tasks: Sequence[str]) -> Answers:
    """The answers in the usual case: a column of outputs and labels for each task.

    Args:
        outputs: ``(samples, tasks)``.
        batch: ``(inputs, labels)``, or ``(inputs, labels, mask)`` with a boolean mask of the
            labels present; labels and mask ``(samples, tasks)``.
        tasks: names of the columns.

    Raises:
        UserError: if they are not of that form.
    """
    _, labels, *rest = batch if isinstance(batch, (tuple, list)) else (None, None)
    shapes = [tuple(each.shape) for each in (outputs, labels, *rest) if isinstance(each, Tensor)]
    usual = len(shapes) == 2 + len(rest) <= 3 and len({*shapes}) == 1
    if not usual or len(shapes[0]) != 2 or shapes[0][1] != len(tasks):
        raise UserError(
            f"outputs, labels and mask must be tensors (samples, {len(tasks)}), the latter of a "
            f"batch (inputs, labels) or (inputs, labels, mask), found shapes {shapes}: give the "
            "problem answers, from outputs and batch to predictions and targets of each task"
        )
    if not rest:
        return dict(zip(tasks, zip(outputs.T, labels.T, strict=True), strict=True))
    parts = zip(outputs.T, labels.T, rest[0].T, strict=True)
    pairs = ((output[mask], label[mask]) for output, label, mask in parts)
    return dict(zip(tasks, pairs, strict=True))
