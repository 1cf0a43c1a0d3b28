"""What a weighting of samples made of each training sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.problems.problem import Problem
from equipoise.processes import summed
from equipoise.sample.base import SampleWeighting
from equipoise.study.detection import separation
from equipoise.study.runs import Samples

SHOWN = 24
"""Samples of the largest and of the smallest weights that are kept as pictures."""


class SampleRecord:
    """Sums over steps, by training sample and task. Nothing is read from the device on the way.

    Of several processes each has what came of its own samples, until a window is closed.
    """

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
        counts, squares = summed(torch.stack([labels.sum(0), alignments.square().sum(0)]))
        scale = (squares / counts.clamp(min=1)).sqrt()
        self.weights[rows] += weights * counts
        self.alignments[rows] += alignments / torch.where(scale > 0, scale, 1)
        self.seen[rows] += labels

    def close_window(self) -> float:
        """The mean weights since the last window are one by themselves.

        Returns:
            How well they tell clean labels from wrong ones; NaN where that is not known.
        """
        seen = summed(self.seen - self.seen_before)
        self.windows.append((summed(self.weights) / seen).cpu())
        self.weights.zero_()
        self.seen_before = self.seen.clone()
        wrong, classes = self.problem.corrupted, self.problem.classes
        if wrong is None:
            return float("nan")
        return separation(
            self.windows[-1].numpy(),
            wrong.numpy(),
            None if classes is None else classes.numpy(),
        )

    def samples(self) -> Samples:
        """All of it, and which samples had the most and the least weight."""
        weights = torch.stack(self.windows)
        total = weights.nansum((0, 2))
        order = total.argsort(descending=True, stable=True)
        shown = torch.cat([order[:SHOWN], order[SHOWN:][-SHOWN:]])
        pictures = self.problem.pictures
        return Samples(
            weights=weights.numpy(),
            mean_weights=weights.nanmean(0).numpy(),
            alignments=(summed(self.alignments) / summed(self.seen)).cpu().numpy(),
            shown=shown.numpy(),
            pictures=np.empty(0, np.uint8) if pictures is None else pictures(shown),
        )

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return {name: value for name, value in vars(self).items() if name != "problem"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        device = self.weights.device
        for name, value in state.items():
            setattr(self, name, value.to(device) if isinstance(value, Tensor) else value)
