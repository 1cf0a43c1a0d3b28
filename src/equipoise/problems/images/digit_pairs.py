"""Two digits laid over each other: the picture, the losses and the metric."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from equipoise.problems.classes import multiclass_losses
from equipoise.problems.scores import Answers, Score
from equipoise.problems.table.targets import Target

TASKS = ("left", "right")
CLASSES = 10

SCORES = {
    "accuracy": Score(
        goal="max", metric=partial(MulticlassAccuracy, num_classes=CLASSES, average="micro")
    )
}


def overlaid(images: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """Pairs of images on a canvas each, the brighter pixel seen.

    Args:
        images: ``(pairs, 2, height, width)``.
        rows: where each image begins, int64 ``(pairs, 2)``.
        columns: likewise.
        size: height and width of the canvas.

    Returns:
        ``(pairs, 1, *size)``, of the dtype of ``images``.
    """
    pairs, _, height, width = images.shape
    canvas = images.new_zeros(pairs, 2, *size)
    pair, side = torch.arange(pairs)[:, None, None, None], torch.arange(2)[:, None, None]
    row = rows[:, :, None, None] + torch.arange(height)[:, None]
    column = columns[:, :, None, None] + torch.arange(width)
    canvas[pair, side, row, column] = images
    return canvas.amax(1, keepdim=True)


def made_wrong(digits: Tensor, wrong: Tensor, generator: torch.Generator) -> Tensor:
    """The digits ``(pairs, 2)``, int64, with others, all as likely, where they are to be wrong."""
    others = (digits + torch.randint(1, CLASSES, digits.shape, generator=generator)) % CLASSES
    return torch.where(wrong, others, digits)


def digit_targets(labels: NDArray[np.float64]) -> list[Target]:
    """The digits ``(pairs, 2)`` as targets of an audit."""
    classes = tuple(map(str, range(CLASSES)))
    pairs = zip(TASKS, labels.T, strict=True)
    return [Target(task, "multiclass", own, classes) for task, own in pairs]


def losses(logits: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    """Cross-entropies ``(samples, 2)`` of logits ``(samples, 2, 10)``."""
    return multiclass_losses(logits, batch[1]), None


def answers(logits: Tensor, batch: tuple[Tensor, Tensor]) -> Answers:
    """Logits ``(samples, 10)`` and the digit of each task."""
    return dict(zip(TASKS, zip(logits.unbind(1), batch[1].T, strict=True), strict=True))
