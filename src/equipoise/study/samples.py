"""What a weighting of samples made of each training sample."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from equipoise.problems.problem import Problem
from equipoise.sample.base import SampleWeighting
from equipoise.study.folder import Samples

SHOWN = 24
"""Samples of the largest and of the smallest weights that are kept as pictures."""


class SampleRecord:
    """Sums over steps, by training sample and task. Nothing is read from the device on the way."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        size = len(problem.train), len(problem.tasks)
        self.problem = problem
        self.weights = torch.zeros(size, device=device)
        self.alignments = torch.zeros(size, device=device)
        self.seen = torch.zeros(size, device=device)
        self.seen_before = torch.zeros(size, device=device)
        self.windows: list[Tensor] = []

    def add(self, rows: Tensor, weighting: SampleWeighting, mask: Tensor | None) -> None:
        """Take in the weights and alignments of the last call, of the samples ``rows``."""
        weights, alignments = weighting.weights, weighting.alignments
        labels = torch.ones_like(weights) if mask is None else mask.to(weights.dtype)
        rows = rows.to(weights.device)
        # Relative to what uniform weights are, and to the size of the task's alignments.
        counts = labels.sum(0)
        scale = (alignments.square().sum(0) / counts.clamp(min=1)).sqrt()
        self.weights[rows] += weights * counts
        self.alignments[rows] += alignments / torch.where(scale > 0, scale, 1)
        self.seen[rows] += labels

    def close_window(self) -> None:
        """The mean weights since the last window are one by themselves."""
        seen = self.seen - self.seen_before
        self.windows.append((self.weights / seen).cpu())
        self.weights.zero_()
        self.seen_before = self.seen.clone()

    def samples(self) -> Samples:
        """All of it, and which samples had the most and the least weight."""
        weights = torch.stack(self.windows)
        total = weights.nansum((0, 2))
        order = total.argsort(descending=True, stable=True)
        shown = torch.cat([order[:SHOWN], order[SHOWN:][-SHOWN:]])
        pictures = self.problem.pictures
        return Samples(
            weights=weights.numpy(),
            alignments=(self.alignments / self.seen).cpu().numpy(),
            shown=shown.numpy(),
            pictures=np.empty(0, np.uint8) if pictures is None else pictures(shown),
        )
