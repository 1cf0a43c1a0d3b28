"""Kinds of targets, and how each is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from equipoise.problems.classes import multiclass_losses

Kind: TypeAlias = Literal["regression", "binary", "multiclass"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Outputs: TypeAlias = Mapping[Kind, Tensor]
"""By kind, in the order of ``KINDS``: predictions or logits ``(samples, tasks)``; of multiclass
``(samples, tasks, classes)``, where a task with fewer classes has logits of minus infinity."""


def _squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square()


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


LOSSES: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "regression": _squared,
    "binary": _binary,
    "multiclass": multiclass_losses,
}


def losses(outputs: Outputs, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The losses of a network's outputs; tasks in the order of kinds."""
    _, labels, mask = batch
    parts = torch.split(labels, [each.shape[1] for each in outputs.values()], 1)
    found = [
        LOSSES[kind](output, part)
        for (kind, output), part in zip(outputs.items(), parts, strict=True)
    ]
    return found[0] if len(found) == 1 else torch.cat(found, 1), mask
