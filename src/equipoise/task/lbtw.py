"""LBTW: weights from how far each loss has fallen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equipoise.errors import positive
from equipoise.moments import whole_batch
from equipoise.task.base import Initial, LossWeighting


class LBTW(LossWeighting):
    r"""Loss-Balanced Task Weighting: a task that has learned much of late gets less weight.

    .. math:: w_k = w_k^{(0)} \left( \frac{L_k}{L_k^\text{first}} \right)^\alpha

    where :math:`L_k^\text{first}` is the first loss of each ``period`` of losses of the task, and
    :math:`w_k^{(0)}` its initial weight (1 in the paper). The weights are not normalised: where all
    losses fall, their sum falls too.

    An absent task keeps its weight, and so does one whose loss is not positive, which has no ratio;
    neither counts towards its period.

    Source: Liu, Liang and Gitter, 2019, "Loss-Balanced Task Weighting to Reduce Negative Transfer
    in Multi-Task Learning", AAAI, doi 10.1609/aaai.v33i01.33019977.

    Args:
        tasks: number of tasks, or their names.
        alpha: :math:`\alpha`, positive: how strongly weights follow the losses. 0.5 in the paper.
        period: losses of a task until its first loss is taken anew, at least 1. The number of steps
            of an epoch in the paper.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = LBTW(["depth", "normals"])
        >>> for depth in (4.0, 1.0):
        ...     losses = {"depth": torch.tensor(depth), "normals": torch.tensor(3.0)}
        ...     loss = weighting(losses)
        >>> weighting.weights_by_task()
        {'depth': 0.5, 'normals': 1.0}
    """

    source: ClassVar[str] = "Liu et al., AAAI 2019"

    first_losses: Tensor
    updates: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        alpha: float = 0.5,
        period: int = 100,
        initial: Initial | None = None,
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not isinstance(period, int) or period < 1:
            raise ValueError(f"period must be an integer of at least 1, found {period!r}")
        self.alpha = positive("alpha", alpha)
        self.period = period
        self.register_buffer("first_losses", torch.ones_like(self.initial))
        self.register_buffer("updates", torch.zeros(len(self.tasks), dtype=torch.int64))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self.first_losses.fill_(1)
        self.updates.zero_()

    def _update(self, losses: Tensor, counts: Tensor | None) -> Tensor:
        losses, _ = whole_batch(losses.to(self.initial.dtype), counts)
        measured = losses.isfinite() & (losses > 0)  # an absent one is 0
        first = measured & (self.updates % self.period == 0)
        self.first_losses.copy_(torch.where(first, losses, self.first_losses))
        self.updates += measured
        weights = self.initial * (losses / self.first_losses) ** self.alpha
        return torch.where(measured, weights, self._weights)
