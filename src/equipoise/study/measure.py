"""A network's scores, measured batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from equipoise.errors import UserError
from equipoise.problems.problem import Data, Problem
from equipoise.problems.scores import OVERALL, Metrics, Score, columns
from equipoise.study.batches import to_device

if TYPE_CHECKING:
    from torchmetrics import Metric

MOST_ROWS, MOST_BYTES = 8_192, 2**24
"""Of samples that are measured at once, unless a batch to train on is larger."""


def measure(
    problem: Problem, network: nn.Module, data: Data, *, device: torch.device, batch_size: int
) -> Metrics:
    """All scores of a network, in one walk through the samples.

    Memory is that of a batch and of what the metrics keep. A process measures by itself, also where
    it trains together with others. A value is NaN where it is undefined,
    or an output is not a finite number.

    Args:
        problem: whose outputs, answers and scores.
        network: in evaluation mode; the caller has turned gradients off.
        data: samples; ``batch_size`` of them are asked for at once.
        device: where the network is.
        batch_size: samples in a batch.

    Returns:
        By score, the value over all tasks and of each task that has the score.

    Raises:
        UserError: if the problem's answers are none.
    """
    # MPS has no float64.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    tallies = {
        name: {
            task: _made(make, device, dtype) for task, make in score.metrics(problem.tasks).items()
        }
        for name, score in problem.scores.items()
    }
    pooled = any(score.pooled for score in problem.scores.values())
    seen: dict[str, _Seen] = {}
    for rows in torch.split(torch.arange(len(data)), batch_size):
        batch = to_device(data[rows], device)
        answers = _answers(problem, problem.outputs(network, batch), batch, dtype)
        if pooled and answers:
            predictions, targets = zip(*answers.values(), strict=True)
            answers[OVERALL] = torch.cat(predictions), torch.cat(targets)
        for task, pair in answers.items():
            seen.setdefault(task, _Seen()).add(*pair)
            for metrics in tallies.values():
                if task in metrics:
                    metrics[task].update(*pair)
    return {name: _values(problem.scores[name], each, seen) for name, each in tallies.items()}


def rows_at_once(data: Data, batch_size: int) -> int:
    """Samples to measure at once: a batch to train on, or more where samples are small."""
    leaves = tree_leaves(data[torch.arange(1)])
    size = sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
    return max(batch_size, min(MOST_ROWS, MOST_BYTES // max(size, 1)))


def _answers(
    problem: Problem, outputs: Any, batch: Any, dtype: torch.dtype
) -> dict[str, tuple[Tensor, Tensor]]:
    """Those of the tasks with a label in the batch."""
    if problem.answers is None:
        found = columns(outputs, batch, problem.tasks)
    else:
        found = problem.answers(outputs, batch)
    unknown = set(found) - set(problem.tasks)
    if unknown:
        raise UserError(f"the problem's answers name {min(unknown)!r}, which is none of its tasks")
    return {
        task: (_wide(predictions, dtype), _wide(targets, dtype))
        for task, (predictions, targets) in found.items()
        if len(targets)
    }


def _made(make: Callable[[], Metric], device: torch.device, dtype: torch.dtype) -> Metric:
    metric = make()
    metric.to(device).set_dtype(dtype)
    # Of several processes that train together one may measure alone, and would wait for the others.
    metric.distributed_available_fn = lambda: False
    return metric


def _wide(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if values.is_floating_point() else values


class _Seen:
    """What tells whether a task's metrics are defined. Nothing is read from the device before."""

    def __init__(self) -> None:
        self.ranges: list[Tensor] = []
        self.finite: list[Tensor] = []

    def add(self, predictions: Tensor, targets: Tensor) -> None:
        self.ranges.append(torch.stack(torch.aminmax(targets)))
        self.finite.append(predictions.isfinite().all())

    def is_finite(self) -> bool:
        return bool(torch.stack(self.finite).all())

    def distinct(self) -> int:
        """Distinct targets, of which 2 stands for more."""
        ranges = torch.stack(self.ranges)
        return 1 + bool(ranges.min() < ranges.max())


def _values(score: Score, metrics: Mapping[str, Metric], seen: Mapping[str, _Seen]) -> Any:
    values = {
        task: float(metric.compute())
        if task in seen and seen[task].is_finite() and seen[task].distinct() >= score.distinct
        else math.nan
        for task, metric in metrics.items()
    }
    if OVERALL in values:
        overall = values.pop(OVERALL)
    else:
        defined = [value for value in values.values() if not math.isnan(value)]
        # An output that is no number makes no task undefined: no choice by the others alone.
        finite = all(seen[task].is_finite() for task in values if task in seen)
        overall = float(score.over_tasks(defined)) if defined and finite else math.nan
    if not score.by_task:
        return {OVERALL: overall}
    own = {task: score.units.get(task, 1.0) * value for task, value in values.items()}
    return {OVERALL: overall, **own}
