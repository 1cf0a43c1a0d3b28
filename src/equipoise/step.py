"""What one training step can offer to a weighting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeAlias

from torch import Tensor, nn

from equipoise.losses import task_losses

LossFunction: TypeAlias = Callable[[nn.Module, Any], tuple[Tensor, Tensor | None]]
"""``losses(model, batch)`` → per-sample losses ``(samples, tasks)`` with their graph, and the
boolean mask ``(samples, tasks)`` of the labels present (``None`` if all are)."""


class Step:
    """One training step, computed once and only as far as a weighting asks.

    Args:
        losses: how to compute the losses.
        model: the network.
        batch: whatever ``losses`` takes.
        shared: the parameters that all tasks share.
    """

    def __init__(
        self, losses: LossFunction, model: nn.Module, batch: Any, shared: Iterable[nn.Parameter]
    ) -> None:
        self._loss_function = losses
        self.model = model
        self.batch = batch
        self.shared = tuple(shared)

    @cached_property
    def sample_losses(self) -> tuple[Tensor, Tensor | None]:
        """Losses ``(samples, tasks)`` from one forward pass, and the mask of labels present."""
        return self._loss_function(self.model, self.batch)

    @cached_property
    def _task_losses(self) -> tuple[Tensor, Tensor]:
        return task_losses(*self.sample_losses)

    @property
    def losses(self) -> Tensor:
        """Task losses ``(tasks,)`` with their graph; 0 for a task without labels."""
        return self._task_losses[0]

    @property
    def counts(self) -> Tensor:
        """Labels behind each task loss, ``(tasks,)`` int64."""
        return self._task_losses[1]
