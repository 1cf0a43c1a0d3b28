"""DWA: weights from the rate at which the losses fall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equipoise.errors import positive
from equipoise.moments import Moments
from equipoise.task.base import Initial, LossWeighting


class DWA(LossWeighting):
    r"""Dynamic Weight Average: a task whose loss falls more slowly gets more weight.

    .. math:: r_k = \frac{\bar L_k(t)}{\bar L_k(t-1)}, \qquad
              w_k = n \frac{\exp(r_k / T)}{\sum_j \exp(r_j / T)}

    where :math:`\bar L_k` is a running average of the loss, updated at every step (the paper that
    introduced DWA takes averages over epochs; SLAW's experiments, whose schedule this is, take
    running ones), and :math:`n` the sum of the initial weights. A task starts with :math:`r_k = 1`.

    Source: Liu, Johns and Davison, 2019, arXiv 1803.10704.

    Args:
        tasks: number of tasks, or their names.
        temperature: :math:`T`, positive; larger values give more equal weights. 2 in the paper.
        beta: averaging factor of the losses, in [0, 1). 0.9 in SLAW's experiments.
        initial: weights of which only the sum matters.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.
    """

    source: ClassVar[str] = "Liu et al. 2019, arXiv 1803.10704"

    rates: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        temperature: float = 2.0,
        beta: float = 0.9,
        initial: Initial | None = None,
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        self.temperature = positive("temperature", temperature)
        self.averages = Moments(len(self.tasks), beta)
        self.register_buffer("rates", torch.ones_like(self.initial))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self.averages.reset()
        self.rates.fill_(1)

    def _update(self, losses: Tensor, counts: Tensor | None) -> Tensor:
        previous = self.averages.mean.clone()
        taken = self.averages.update(losses, counts)
        falling = taken & (self.averages.updates > 1) & (previous != 0)
        self.rates.copy_(torch.where(falling, self.averages.mean / previous, self.rates))
        return self.initial.sum() * torch.softmax(self.rates / self.temperature, 0)
