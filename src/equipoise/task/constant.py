"""Weights that stay as they are."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from equipoise.task.of_losses import LossWeighting


class Constant(LossWeighting):
    r"""Weights given once, equal by default.

    .. math:: w_k = w_k^{(0)}

    They are ``initial``: see :class:`~equipoise.task.base.TaskWeighting` for the arguments.

    Example:
        >>> weighting = Constant(["depth", "normals"], initial={"depth": 1.0, "normals": 0.2})
    """

    source: ClassVar[str] = "the baseline of every paper"

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        return self.initial
