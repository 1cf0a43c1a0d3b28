"""What one training step can offer to a weighting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from torch import Tensor, nn

from equipoise.directional import Engine, alignments
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
        held_out: a batch of samples held out from training, for whatever asks what helps them.
    """

    def __init__(
        self,
        losses: LossFunction,
        model: nn.Module,
        batch: Any,
        shared: Iterable[Tensor],
        held_out: Any = None,
    ) -> None:
        self.loss_function = losses
        self.model = model
        self.batch = batch
        self.shared = tuple(shared)
        self.held_out = held_out

    @cached_property
    def sample_losses(self) -> tuple[Tensor, Tensor | None]:
        """Losses ``(samples, tasks)`` from one forward pass, and the mask of labels present."""
        return self.loss_function(self.model, self.batch)

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

    def sample_derivatives(
        self, direction: Sequence[Tensor], *, engine: Engine = "forward", check: bool = True
    ) -> Tensor:
        """Derivatives ``(samples, tasks)`` of the losses along a direction in ``shared``.

        Asked for before the losses, they come from the one forward pass that gives the losses.
        Later a second pass gives them: it leaves the model's buffers alone, and dropout draws anew.
        See :func:`~equipoise.alignments` for arguments and errors.
        """
        first = "sample_losses" not in vars(self)
        losses, mask, derivatives = alignments(
            self.loss_function,
            self.model,
            self.batch,
            direction,
            shared=self.shared,
            engine=engine,
            check=check,
            update_buffers=first,
        )
        if first:
            self.sample_losses = losses, mask
        return derivatives

    def derivatives(self, direction: Sequence[Tensor], *, check: bool = True) -> Tensor:
        """Derivatives ``(tasks,)`` of the task losses: means of :meth:`sample_derivatives`."""
        derivatives = self.sample_derivatives(direction, check=check)
        return task_losses(derivatives, self.sample_losses[1])[0]
