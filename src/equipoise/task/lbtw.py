"""LBTW: weights from how far each loss has fallen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.errors import positive
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_losses import LossWeighting


class LBTW(LossWeighting):
    r"""Loss-Balanced Task Weighting: a task that has learned much of late gets less weight.

    .. math:: w_k = w_k^{(0)} \left( \frac{L_k}{L_k^\text{first}} \right)^\alpha

    where :math:`L_k^\text{first}` is the first loss of each ``period`` of losses of the task, and
    :math:`w_k^{(0)}` its initial weight (1 in the paper). So far this is the form of SLAW's
    authors, whose sum falls where all losses fall; the method's own authors scale the weights to
    the sum :math:`n` at every step (``normalized``).

    An absent task keeps its weight, and so does one whose loss is not positive, which has no ratio;
    neither counts towards its period.

    Source: Liu, Liang and Gitter, 2019, "Loss-Balanced Task Weighting to Reduce Negative Transfer
    in Multi-Task Learning", AAAI, doi 10.1609/aaai.v33i01.33019977.

    Args:
        tasks: number of tasks, or their names.
        alpha: :math:`\alpha`, positive: how strongly weights follow the losses. 0.5 in the paper.
        period: losses of a task until its first loss is taken anew, at least 1. The number of steps
            of an epoch in the paper.
        normalized: whether the weights are scaled to the sum of the initial ones; those of tasks
            that have had no loss yet stay.
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
    ratios: Tensor
    updates: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        alpha: float = 0.5,
        period: int = 100,
        normalized: bool = False,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not isinstance(period, int) or period < 1:
            raise ValueError(f"period must be an integer of at least 1, found {period!r}")
        self.alpha = positive("alpha", alpha)
        self.period = period
        self.normalized = normalized
        self.add_state("first_losses", 1.0)
        self.add_state("ratios", 1.0)
        self.add_state("updates", 0)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        measured = losses > 0
        first = measured & (self.updates % self.period == 0)
        self.first_losses.copy_(torch.where(first, losses, self.first_losses))
        self.updates += measured
        ratios = (losses / self.first_losses).clamp(max=torch.finfo(losses.dtype).max)
        self.ratios.copy_(torch.where(measured, ratios, self.ratios))
        weights = self.initial * self.ratios**self.alpha
        if self.normalized:
            return inverse_weights(weights, self.updates > 0, self.initial)
        return weights
