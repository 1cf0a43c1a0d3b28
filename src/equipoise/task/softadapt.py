"""SoftAdapt: weights from the change of the losses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.moments import Moments
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_losses import LossWeighting


class SoftAdapt(LossWeighting):
    r"""A task whose loss falls more slowly, or rises, gets more weight.

    .. math:: s_k = L_k(t) - L_k(t-1), \qquad
              w_k = n \frac{\exp(\kappa s_k)}{\sum_j \exp(\kappa s_j)}

    where :math:`t` counts the losses of the task, and :math:`n` is the sum of the initial weights
    (1 in the paper). A task keeps its initial weight until it has had two losses, the others share
    out what remains.

    The paper's variants, which can be combined: ``normalized`` puts
    :math:`s_k / \sum_j |s_j|` in the place of :math:`s_k`, which frees it from the unit of the
    losses; ``loss_weighted`` multiplies each :math:`\exp(\kappa s_k)` by :math:`L_k`, and leaves
    next to no weight to a loss that is not positive. The forms are those of the authors' first
    release, with two losses for a slope; their second one multiplies by the mean loss of a window,
    and divides by the sum of the slopes, signs included, which can be near 0.

    Source: Heydari, Thompson and Mehmood, 2019, arXiv 1912.12355.

    Args:
        tasks: number of tasks, or their names.
        sharpness: :math:`\kappa`, the paper's :math:`\beta`, finite. 0.1 in the paper; 0 gives
            equal weights, a negative number favours the tasks whose losses fall fastest.
        beta: averaging factor of the losses, in [0, 1), before anything else is done with them. 0,
            no averaging, is the paper's algorithm; single batches may need more.
        normalized: whether the changes are divided by the sum of their sizes.
        loss_weighted: whether each exponential is multiplied by the loss.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.
    """

    source: ClassVar[str] = "Heydari et al. 2019, arXiv 1912.12355"

    rates: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        sharpness: float = 0.1,
        beta: float = 0.0,
        normalized: bool = False,
        loss_weighted: bool = False,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not (isinstance(sharpness, (int, float)) and math.isfinite(sharpness)):
            raise ValueError(f"sharpness must be a finite number, found {sharpness!r}")
        self.sharpness = sharpness
        self.normalized = normalized
        self.loss_weighted = loss_weighted
        self.averages = Moments(len(self.tasks), beta)
        self.add_state("rates", 0.0)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        previous = self.averages.mean
        self.averages.update(losses, counts)
        average, known = self.averages.mean, self.averages.updates > 1
        self.rates.copy_(torch.where((counts > 0) & known, average - previous, self.rates))

        finite = torch.finfo(average.dtype)
        rates = self.rates
        if self.normalized:
            rates = rates / rates.abs().sum().clamp(min=finite.tiny)
        scores = self.sharpness * rates
        if self.loss_weighted:
            scores = scores + average.clamp(min=finite.tiny).log()
        shares = torch.where(known, scores, finite.min).softmax(0)
        return inverse_weights(shares, known, self.initial)
