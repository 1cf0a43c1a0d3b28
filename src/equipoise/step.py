"""What one training step can offer to a weighting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, Literal

from torch import Tensor, nn

from equipoise.directional import Engine, RandomState, Shared, derived
from equipoise.losses import LossFunction, task_losses

__all__ = ["Step"]


class Step:
    """One training step, computed once and only as far as a weighting asks.

    It answers the same whatever was asked before: one forward pass gives the losses, updates
    buffers and takes random numbers, and whatever another is needed for repeats its numbers.

    Args:
        losses: how to compute the losses, in the one form that
            :func:`~equipoise.losses.loss_function` gives.
        model: the network.
        batch: whatever ``losses`` takes.
        held_out: a batch of samples held out from training, for whatever asks what helps them.
    """

    def __init__(
        self,
        losses: LossFunction,
        model: nn.Module,
        batch: Any,
        held_out: Any = None,
    ) -> None:
        self.loss_function = losses
        self.model = model
        self.batch = batch
        self.held_out = held_out

    @cached_property
    def sample_losses(self) -> tuple[Tensor, Tensor | None]:
        """Losses ``(samples, tasks)`` from one forward pass, and the mask of labels present."""
        self._before = RandomState(self.model)
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
        self,
        direction: Sequence[Tensor],
        shared: Shared,
        *,
        engine: Engine | Literal["auto"] = "forward",
        check: bool = True,
    ) -> Tensor:
        """Derivatives ``(samples, tasks)`` of the losses along a direction in shared parameters.

        Asked for before the losses, they come from the one forward pass that gives the losses.
        Later they come from a second pass, which repeats the random numbers of the first and leaves
        the model's buffers alone. See :func:`~equipoise.alignments` for arguments and errors.
        """
        derive = partial(
            derived,
            self.loss_function,
            self.model,
            self.batch,
            direction,
            shared,
            engine=engine,
            check=check,
        )
        if "sample_losses" in vars(self):
            with self._before.repeated():
                return derive(update_buffers=False)[2]
        self._before = RandomState(self.model)
        losses, mask, derivatives = derive(update_buffers=True)
        self.sample_losses = losses, mask
        return derivatives

    def derivatives(self, direction: Sequence[Tensor], shared: Shared, **options: Any) -> Tensor:
        """Derivatives ``(tasks,)`` of the task losses: means of :meth:`sample_derivatives`."""
        derivatives = self.sample_derivatives(direction, shared, **options)
        return task_losses(derivatives, self.sample_losses[1])[0]
