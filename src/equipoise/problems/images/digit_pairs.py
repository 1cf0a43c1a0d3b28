"""Two digits laid over each other: the picture, the losses and the metric."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import accuracy_score
from torch import Tensor, nn

from equipoise.problems.problem import OVERALL, Data, Metrics
from equipoise.problems.table.kinds import multiclass_losses

TASKS = ("left", "right")
CLASSES = 10
CHUNK = 1_000
"""Pairs that are evaluated at once."""


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


def losses(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    """Cross-entropies ``(samples, 2)`` of logits ``(samples, 2, 10)``."""
    images, labels = batch
    return multiclass_losses(network(images), labels), None


def metrics(network: nn.Module, data: Data) -> Metrics:
    """The accuracy of each task, and their mean."""
    images, labels = data[torch.arange(len(data))]
    device = next(network.parameters()).device
    chunks = [network(chunk.to(device)).argmax(2).cpu() for chunk in images.split(CHUNK)]
    found = torch.cat(chunks).numpy()
    accuracies = [accuracy_score(*pair) for pair in zip(labels.numpy().T, found.T, strict=True)]
    return {
        "accuracy": {
            OVERALL: float(np.mean(accuracies)),
            **dict(zip(TASKS, accuracies, strict=True)),
        }
    }
