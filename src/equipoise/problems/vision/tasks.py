"""The three tasks of a scene: losses for each scene, and what its scores are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from equipoise.problems.metrics import Averaged
from equipoise.problems.scores import Answers, Score
from equipoise.problems.vision.layout import CLASSES, IGNORED, Batch

SEGMENTATION, DEPTH, NORMALS = TASKS = ("segmentation", "depth", "normals")
CHANNELS = {SEGMENTATION: len(CLASSES), DEPTH: 1, NORMALS: 3}
"""That a network gives for each pixel."""
ALPHA = 0.5
"""How far the scale of depths counts as right, in the scale-invariant loss."""
BIN = 0.01
"""Degrees, to which a median is exact."""

Protocol: TypeAlias = Literal["slaw", "mtan"]
Outputs: TypeAlias = Mapping[str, Tensor]
"""Task → logits ``(scenes, 13, height, width)``, depths in metres ``(scenes, 1, height, width)``,
normals of any length ``(scenes, 3, height, width)``."""


def losses(protocol: Protocol, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses ``(scenes, tasks)``, means over a scene's valid pixels, and which scenes have any.

    Segmentation: cross-entropy. Depth: with mtan the absolute error; with slaw, of the differences
    of logarithms, mean(d²) − mean(d)²/2. Normals: 1 − cos, with slaw half of it.
    """
    valid = masks(batch)
    pixels = {
        SEGMENTATION: cross_entropy(
            outputs[SEGMENTATION], batch.label, ignore_index=IGNORED, reduction="none"
        ),
        NORMALS: 1 - cosine_similarity(outputs[NORMALS], batch.normal, dim=1),
    }
    found = {task: _mean(each, valid[task]) for task, each in pixels.items()}
    depth, truth = outputs[DEPTH][:, 0], batch.depth
    if protocol == "mtan":
        found[DEPTH] = _mean((depth - truth).abs(), valid[DEPTH])
    else:
        # A depth that is missing has no logarithm, nor may its gradient be one of infinity.
        apart = depth.log() - torch.where(valid[DEPTH], truth, 1).log()
        scale = _mean(apart, valid[DEPTH])
        found[DEPTH] = _mean(apart.square(), valid[DEPTH]) - ALPHA * scale.square()
        found[NORMALS] = found[NORMALS] / 2
    mask = torch.stack([valid[task].flatten(1).any(1) for task in TASKS], 1)
    return torch.stack([found[task] for task in TASKS], 1), mask


def masks(batch: Batch) -> dict[str, Tensor]:
    """Task → where there is something to learn, ``(scenes, height, width)``."""
    return {
        SEGMENTATION: batch.label != IGNORED,
        DEPTH: batch.depth > 0,
        NORMALS: batch.normal.square().sum(1) > 0,
    }


def answers(outputs: Outputs, batch: Batch) -> Answers:
    """Predictions and targets of the valid pixels of all scenes."""
    valid = masks(batch)
    pairs = {
        SEGMENTATION: (outputs[SEGMENTATION].argmax(1), batch.label),
        DEPTH: (outputs[DEPTH][:, 0], batch.depth),
        NORMALS: (outputs[NORMALS].movedim(1, -1), batch.normal.movedim(1, -1)),
    }
    return {
        task: (predicted[valid[task]], truth[valid[task]])
        for task, (predicted, truth) in pairs.items()
    }


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Means ``(scenes,)`` over the pixels of a mask; 0 where there are none."""
    total = torch.where(mask, values, 0).flatten(1).sum(1)
    return total / mask.flatten(1).sum(1).clamp(min=1)


def angle(predicted: Tensor, truth: Tensor) -> Tensor:
    """Degrees between normals ``(pixels, 3)``."""
    # The cosine is flat at 0°: its inverse would lose half of the digits there.
    ours, theirs = (each / each.norm(dim=1, keepdim=True) for each in (predicted, truth))
    half = torch.atan2((ours - theirs).norm(dim=1), (ours + theirs).norm(dim=1))
    return torch.rad2deg(2 * half)


def within(limit: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Whether normals are less than so many degrees apart."""
    return lambda predicted, truth: (angle(predicted, truth) < limit).to(predicted.dtype)


def near(predicted: Tensor, truth: Tensor) -> Tensor:
    """Whether depths are within a factor of 1.25."""
    ratio = predicted / truth
    return ((ratio < 1.25) & (ratio > 0.8)).to(predicted.dtype)


class MedianAngle(Metric):
    """The median of the degrees between normals, to a hundredth of one, in constant memory."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.bins = round(180 / BIN)
        self.add_state("counts", torch.zeros(self.bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add normals ``(pixels, 3)``."""
        places = (angle(predictions, targets) / BIN).long().clamp(0, self.bins - 1)
        self.counts += torch.bincount(places, minlength=self.bins)

    def compute(self) -> Tensor:
        """The middle of the bin that the median is in."""
        total = self.counts.cumsum(0)
        return (torch.searchsorted(total, (total[-1] + 1) // 2) + 0.5) * BIN


def _relative(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted - truth).abs() / truth


SCORES = {
    "share right": Score(
        goal="max",
        metric={
            SEGMENTATION: partial(MulticlassAccuracy, len(CLASSES), average="micro"),
            DEPTH: partial(Averaged, near),
            NORMALS: partial(Averaged, within(11.25)),
        },
    ),
    "mIoU": Score(goal="max", metric={SEGMENTATION: partial(MulticlassJaccardIndex, len(CLASSES))}),
    "depth error, m": Score(goal="min", metric={DEPTH: MeanAbsoluteError}),
    "relative depth error": Score(goal="min", metric={DEPTH: partial(Averaged, _relative)}),
    "depth RMSE, m": Score(goal="min", metric={DEPTH: partial(MeanSquaredError, squared=False)}),
    "mean angle, °": Score(goal="min", metric={NORMALS: partial(Averaged, angle)}),
    "median angle, °": Score(goal="min", metric={NORMALS: MedianAngle}),
    "within 22.5°": Score(goal="max", metric={NORMALS: partial(Averaged, within(22.5))}),
    "within 30°": Score(goal="max", metric={NORMALS: partial(Averaged, within(30))}),
}
"""The first is the mean of the SLAW paper: pixels of the right class, depths within a factor of
1.25 and normals within 11.25°. mIoU is of one confusion matrix over the part; MTAN's is a mean over
images."""
