"""Training labels made wrong on purpose, and a record of which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from equipoise.errors import UserError
from equipoise.problems.curves import roc_auc

Noisy: TypeAlias = Literal["main", "all"]
"""Whose labels are made wrong: the main task's, or every task's."""


def draw_corrupted(
    samples: int,
    tasks: Sequence[str],
    main: str,
    noise: float,
    noisy: Noisy,
    generator: torch.Generator,
    *,
    exact: bool = False,
    name: str = "noise",
) -> Tensor:
    """Which labels to make wrong: each with probability ``noise``, boolean ``(samples, tasks)``.

    With ``exact`` exactly that share of the labels of a task, rounded down.

    The numbers that decide are drawn whatever the noise: those of a smaller noise are among those
    of a larger one, and the main task's are the same whether or not the others have any.

    Raises:
        UserError: if ``noise``, the parameter of that ``name``, is no probability.
    """
    if not 0 <= noise <= 1:
        raise UserError(f"`{name}` must be from 0 to 1, found {noise}")
    affected = torch.tensor([noisy == "all" or task == main for task in tasks])
    numbers = torch.rand(samples, len(tasks), generator=generator)
    if exact:
        return (numbers.argsort(0).argsort(0) < int(round(noise * samples, 6))) & affected
    return (numbers < noise) & affected


def noise_notes(
    corrupted: Tensor,
    tasks: Sequence[str],
    labels: Tensor | None = None,
    part: str = "Training",
) -> list[str]:
    """Sentences about the wrong labels ``(samples, tasks)`` of a part; none where there are none.

    With the classes that are trained on, ``(samples, tasks)``, also what these alone tell of them.
    """
    counts = zip(tasks, corrupted.sum(0).tolist(), strict=True)
    wrong = [f"{task} {count:,}" for task, count in counts if count]
    if not wrong:
        return []
    notes = [f"{part} labels made wrong, of {len(corrupted):,} each: {', '.join(wrong)}."]
    if labels is not None:
        notes.append(
            "How common its class is tells a clean label from a wrong one with an area under the "
            f"ROC curve of {told_by_class(labels, corrupted):.3f}: so much needs no weighting, and "
            "weights are judged within a class."
        )
    return notes


def told_by_class(labels: Tensor, corrupted: Tensor) -> float:
    """Area under the ROC curve of how common a label's class is, as a detector of clean labels.

    The mean over the tasks that have wrong labels and right ones.

    Args:
        labels: classes ``(samples, tasks)``, the wrong ones among them.
        corrupted: which are wrong, boolean ``(samples, tasks)``.
    """
    areas = []
    for own, wrong in zip(labels.T, corrupted.T, strict=True):
        if 0 < wrong.sum() < len(wrong):
            _, places, counts = own.unique(return_inverse=True, return_counts=True)
            areas.append(roc_auc((~wrong).double().numpy(), counts[places].double().numpy()))
    return sum(areas) / len(areas) if areas else math.nan
