"""Kinds of targets: how each is learned and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from equipoise.problems.scores import Score

Kind: TypeAlias = Literal["regression", "binary", "multiclass"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Outputs: TypeAlias = Mapping[Kind, Tensor]
"""By kind, in the order of ``KINDS``: predictions or logits ``(samples, tasks)``; of multiclass
``(samples, tasks, classes)``, where a task with fewer classes has logits of minus infinity."""


def _squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square()


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


def multiclass_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropies ``(samples, tasks)`` of logits with a last dimension of classes."""
    flat = cross_entropy(logits.flatten(0, 1), labels.flatten().long(), reduction="none")
    return flat.view_as(labels)


LOSSES: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "regression": _squared,
    "binary": _binary,
    "multiclass": multiclass_losses,
}


def losses(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The losses of a network that returns ``Outputs``; tasks in the order of kinds."""
    inputs, labels, mask = batch
    outputs: Outputs = network(inputs)
    parts = torch.split(labels, [each.shape[1] for each in outputs.values()], 1)
    found = [
        LOSSES[kind](output, part)
        for (kind, output), part in zip(outputs.items(), parts, strict=True)
    ]
    return found[0] if len(found) == 1 else torch.cat(found, 1), mask


def _balanced_accuracy(labels: NDArray[np.floating], outputs: NDArray[np.floating]) -> float:
    """The mean recall of the classes that occur."""
    return float(recall_score(labels, outputs, labels=np.unique(labels), average="macro"))


SCORES: dict[str, dict[Kind, Score]] = {
    "score": {
        "regression": (r2_score, 2),
        "binary": (roc_auc_score, 2),
        "multiclass": (_balanced_accuracy, 2),
    },
    "RMSE": {"regression": (root_mean_squared_error, 1)},
    "average precision": {"binary": (average_precision_score, 2)},
    "accuracy": {"multiclass": (accuracy_score, 1)},
}
"""Metrics of labels and predictions, of binary tasks logits, for the kinds that they measure."""

GOALS: dict[str, Literal["min", "max"]] = {
    "score": "max",
    "RMSE": "min",
    "average precision": "max",
    "accuracy": "max",
}


IN_UNITS = {"RMSE"}
"""Metrics of a task in the units of its target."""


def predictions(outputs: Outputs) -> NDArray[Any]:
    """A column a task, as ``SCORES`` take them: of multiclass tasks the likeliest class."""
    columns = []
    for kind, output in outputs.items():
        if kind == "multiclass":
            # NaN counts as likeliest, and must not pass for a class.
            top = output.max(2)
            output = torch.where(top.values.isnan(), torch.nan, top.indices)
        columns.append(output.double())
    return torch.cat(columns, 1).cpu().numpy()
