"""UW-SO: uncertainty weights in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.errors import positive
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_losses import LossWeighting


class UncertaintySoftmax(LossWeighting):
    r"""Soft optimal uncertainty weighting: a softmax of the inverse losses.

    .. math:: w_k = n \frac{\exp(1 / (T L_k))}{\sum_j \exp(1 / (T L_j))}

    :math:`1/L_k` is, up to a constant, the weight at which
    :class:`~equipoise.task.Uncertainty` would end for this loss; nothing is learned here. The
    paper's weights sum to 1, these to :math:`n`, the sum of the initial weights. The weights depend
    on the unit of the losses, and on :math:`T` in its inverse.

    A task keeps its initial weight until it has had a loss that is finite and positive, the others
    share out what remains; its last such loss counts in steps where it has none.

    Source: Kirchdorfer et al., 2024, arXiv 2408.07985.

    Args:
        tasks: number of tasks, or their names.
        temperature: :math:`T`, positive; larger values give more equal weights. The paper tunes it
            for each data set and network.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = UncertaintySoftmax(["depth", "normals"])
        >>> loss = weighting({"depth": torch.tensor(2.0), "normals": torch.tensor(1.0)})
        >>> {name: round(weight, 3) for name, weight in weighting.weights_by_task().items()}
        {'depth': 0.755, 'normals': 1.245}
    """

    source: ClassVar[str] = "Kirchdorfer et al. 2024, arXiv 2408.07985"

    last_losses: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        temperature: float = 1.0,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        self.temperature = positive("temperature", temperature)
        self.add_state("last_losses", 0.0)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        self.last_losses.copy_(torch.where(losses > 0, losses, self.last_losses))
        known = self.last_losses > 0
        finite = torch.finfo(losses.dtype)
        scores = 1 / (self.temperature * self.last_losses).clamp(min=finite.tiny)
        shares = torch.where(known, scores, finite.min).softmax(0)
        return inverse_weights(shares, known, self.initial)
