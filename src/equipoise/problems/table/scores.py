"""How targets of each kind are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeAlias

from torch import Tensor
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy

from equipoise.problems.curves import average_precision, roc_auc
from equipoise.problems.metrics import R2, BalancedAccuracy, Gathered
from equipoise.problems.scores import Answers, Score
from equipoise.problems.table.kinds import Kind, Outputs
from equipoise.problems.table.learned import Learned
from equipoise.problems.table.targets import Target

Factory: TypeAlias = Callable[[], Metric]


def _accuracy(classes: int) -> Factory:
    return partial(MulticlassAccuracy, num_classes=classes, average="micro", validate_args=False)


METRICS: dict[str, dict[Kind, Callable[[int], Factory]]] = {
    "score": {
        "regression": lambda _: R2,
        "binary": lambda _: partial(Gathered, roc_auc),
        "multiclass": lambda classes: partial(BalancedAccuracy, classes),
    },
    "RMSE": {"regression": lambda _: partial(MeanSquaredError, squared=False)},
    "average precision": {"binary": lambda _: partial(Gathered, average_precision)},
    "accuracy": {"multiclass": _accuracy},
}
"""Metric → kind of target that it measures → from the number of classes to what makes it."""
GOALS: dict[str, Literal["min", "max"]] = {"RMSE": "min"}
"""Where it is not ``"max"``."""
DISTINCT = {"score": 2, "average precision": 2}
"""Distinct labels of a task without which a metric is undefined, where one is not enough."""
IN_UNITS = {"RMSE"}
"""Metrics of a task in the units of its target."""


def scores_of(learned: Learned) -> dict[str, Score]:
    """The scores of the kinds that there are."""
    units = dict(zip(learned.names, learned.scale.tolist(), strict=True))
    found = {
        name: {
            target.name: kinds[target.kind](len(target.classes))
            for target in learned.targets
            if target.kind in kinds
        }
        for name, kinds in METRICS.items()
    }
    return {
        name: Score(
            goal=GOALS.get(name, "max"),
            metric=metrics,
            distinct=DISTINCT.get(name, 1),
            units=units if name in IN_UNITS else {},
        )
        for name, metrics in found.items()
        if metrics
    }


def answers_of(
    targets: Sequence[Target],
) -> Callable[[Outputs, tuple[Tensor, Tensor, Tensor]], Answers]:
    """From outputs and batch to predictions or logits and labels of each target."""

    def answers(outputs: Outputs, batch: tuple[Tensor, Tensor, Tensor]) -> Answers:
        _, labels, mask = batch
        columns = [column for output in outputs.values() for column in output.unbind(1)]
        return {
            target.name: _present(target, *parts)
            for target, *parts in zip(targets, columns, labels.T, mask.T, strict=True)
        }

    return answers


def _present(
    target: Target, outputs: Tensor, labels: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    outputs, labels = outputs[mask], labels[mask]
    if target.kind == "multiclass":
        return outputs[:, : len(target.classes)], labels.long()
    return outputs, labels
