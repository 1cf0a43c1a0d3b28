"""The network of fingerprints, and its losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

WIDTH, FEATURES = 2000, 100
SMALL = 256, 128
"""Widths where labels may be wrong."""
DROPPED = 0.2
FARTHEST = 5.0
"""Of an input, in standard deviations."""

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Packed fingerprints, labels and the mask of the labels present."""
Losses: TypeAlias = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]


class Network(nn.Module):
    """Shared ReLU layers of 2000 and 100 and linear heads: ``(samples, bytes) → (samples, tasks)``.

    Fingerprints come packed, uint8, and are unpacked to one input a bit: they stay an eighth as
    large in memory and on the way to the device.
    """

    shifts: Tensor

    def __init__(self, bits: int, tasks: int) -> None:
        super().__init__()
        self.register_buffer("shifts", torch.arange(7, -1, -1, dtype=torch.uint8), persistent=False)
        self.trunk = nn.Sequential(
            nn.Linear(bits, WIDTH), nn.ReLU(), nn.Linear(WIDTH, FEATURES), nn.ReLU()
        )
        self.heads = nn.Linear(FEATURES, tasks)

    def forward(self, packed: Tensor) -> Tensor:
        """Logits of the tasks, or standardised predictions, ``(samples, tasks)``."""
        bits = (packed[:, :, None] >> self.shifts) & 1
        outputs: Tensor = self.heads(self.trunk(bits.flatten(1).to(self.heads.weight.dtype)))
        return outputs


class SmallNetwork(nn.Module):
    """Standardised inputs, ReLU layers of 256 and 128 with dropout, and linear heads.

    For labels that may be wrong, which a wide network learns by heart at once; a rare bit counts as
    much as a common one.

    Args:
        mean: of the inputs, ``(inputs,)``.
        std: their standard deviation; 0 of one that never varies.
        outputs: how many there are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.where(std > 0, std, 1))
        widths = (len(mean), *SMALL)
        layers = [
            part
            for pair in pairwise(widths)
            for part in (nn.Linear(*pair), nn.ReLU(), nn.Dropout(DROPPED))
        ]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs ``(samples, outputs)``."""
        standardised = ((inputs - self.mean) / self.std).clamp(-FARTHEST, FARTHEST)
        outputs: Tensor = self.layers(standardised)
        return outputs


def trunk_of(network: nn.Module) -> Iterable[nn.Parameter]:
    """What the tasks share of a `Network`."""
    assert isinstance(network, Network)
    return network.trunk.parameters()


def binary_losses(labels: NDArray[np.float64]) -> Losses:
    """Cross-entropy with both classes of ``labels`` ``(samples, tasks)`` of the same weight."""
    counts = np.stack([(labels == 0).sum(0), (labels == 1).sum(0)])
    weights = torch.from_numpy((counts.sum(0) / (2 * counts)).astype(np.float32))

    def losses(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        nonlocal weights
        _, labels, mask = batch
        # They stay on the device: moved once, not in every step.
        weights = weights.to(labels.device)
        negative, positive = weights
        weight = torch.where(labels > 0, positive, negative)
        return binary_cross_entropy_with_logits(logits, labels, weight, reduction="none"), mask

    return losses


def globally_weighted_losses(labels: NDArray[np.float64]) -> Losses:
    r"""Cross-entropy with one pair of class weights for all tasks, as in the SLAW authors' code.

    A class weighs the share of the other among all of ``labels`` ``(samples, tasks)``, and the loss
    of a task in a batch is :math:`\sum_i w_i l_i / \sum_i w_i` over its labels there.
    """
    active = float((labels == 1).sum() / (~np.isnan(labels)).sum())

    def losses(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        _, labels, mask = batch
        weight = torch.where(labels > 0, 1 - active, active)
        # A mean over the labels follows, so what is divided by here is the mean weight.
        mean = (weight * mask).sum(0) / mask.sum(0).clamp(min=1)
        weight = weight / torch.where(mean > 0, mean, 1)
        return binary_cross_entropy_with_logits(logits, labels, weight, reduction="none"), mask

    return losses


def squared_losses(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Squared errors ``(samples, tasks)`` and the mask of the labels present."""
    _, labels, mask = batch
    return (outputs - labels).square(), mask
