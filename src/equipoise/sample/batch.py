"""What the weightings share that ask the training batch itself what agrees with the main task."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from equipoise.directional import objective_gradient
from equipoise.sample.base import SampleWeighting
from equipoise.step import Step
from equipoise.weighting import Needs

__all__ = ["BatchWeighting"]


class BatchWeighting(SampleWeighting):
    """A weighting by alignment with the gradient of the main task on the training batch itself."""

    needs = Needs.LOSSES | Needs.DERIVATIVES | Needs.MAIN
    passes = "main task forward and backward, the forward pass in forward mode"

    def forward(self, batch: Any) -> Tensor:
        """The weighted sum of the losses of a batch; in training mode weights are derived first.

        Runs the forward pass itself, once for BatchNorm; the main task's gradient is of a pass with
        dropout of its own.

        Args:
            batch: whatever ``losses`` takes.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if something is not as said, or no derivative arrives.
        """
        return self.weigh(self._step(batch))

    def _direction(self, step: Step, parameters: list[Tensor]) -> list[Tensor]:
        return objective_gradient(self._main_loss(step), step.model, step.batch, parameters)
