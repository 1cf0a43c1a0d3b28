"""CoV-Weighting: weights from the relative spread of each loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.moments import Moments
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_losses import LossWeighting

_WHOLE_HISTORY = math.nextafter(1.0, 0.0)
_EPSILON = 1e-8


class CoV(LossWeighting):
    r"""Coefficient of variation: a loss that moves gets more weight than one that has settled.

    .. math:: \ell_k(t) = \frac{L_k(t)}{\bar L_k(t-1)}, \qquad
              c_k = \frac{\operatorname{std} \ell_k}{\operatorname{mean} \ell_k}, \qquad
              w_k = n \frac{c_k}{\sum_j c_j}

    where :math:`\bar L_k`, and mean and standard deviation of the loss ratio :math:`\ell_k`, are
    those of all steps so far (:class:`~equipoise.moments.Moments`), the first ratio of a task is 1,
    and :math:`n` is the sum of the initial weights (1 in the paper). As in the authors' code, 1e-8
    is added to the variance, so that no weight is 0.

    The losses of a step enter the statistics before its weights are computed, as in the paper; the
    authors' code does it after. A task keeps its initial weight until it has two ratios, and so
    does one whose ratios are not positive on average; the others share out what remains. A loss
    that follows an average of 0 has no ratio.

    Source: Groenendijk et al., 2020, arXiv 2009.01717.

    Args:
        tasks: number of tasks, or their names.
        beta: averaging factor of the statistics, in [0, 1), for an exponential average in place of
            one over all steps. The variance decays too; in the authors' code, with what is called
            decay there, only the means do, and the variance is one over all steps.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.
    """

    source: ClassVar[str] = "Groenendijk et al. 2020, arXiv 2009.01717"

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        beta: float | None = None,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        beta = _WHOLE_HISTORY if beta is None else beta
        self.averages = Moments(len(self.tasks), beta)
        self.ratios = Moments(len(self.tasks), beta)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        # Linear in the loss, so the ratios of the processes average to that of the whole batch.
        previous = torch.where(self.averages.updates > 0, self.averages.mean, losses)
        self.averages.update(losses, counts)
        ratios = losses / previous
        usable = (counts > 0) & ratios.square().isfinite()
        self.ratios.update(torch.where(usable, ratios, 0), usable.to(ratios.dtype))
        mean = self.ratios.mean
        measured = (self.ratios.updates > 1) & (mean > torch.finfo(mean.dtype).tiny)
        spread = (self.ratios.variance + _EPSILON).sqrt()
        return inverse_weights(spread / torch.where(measured, mean, 1), measured, self.initial)
