"""DWA: weights from the rate at which the losses fall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equipoise.errors import positive
from equipoise.moments import Moments, Start
from equipoise.task.base import Initial, Nonfinite
from equipoise.task.of_losses import LossWeighting

STARTS: dict[str, Start] = {"reference": "first", "plain": "plain"}


class DWA(LossWeighting):
    r"""Dynamic Weight Average: a task whose loss falls more slowly gets more weight.

    .. math:: r_k = \frac{\bar L_k(t)}{\bar L_k(t-1)}, \qquad
              w_k = n \frac{\exp(r_k / T)}{\sum_j \exp(r_j / T)}

    where :math:`\bar L_k` is a running average of the loss, updated at every step, and :math:`n`
    the sum of the initial weights. A task starts with :math:`r_k = 1`. The paper that introduced
    DWA takes averages over epochs; running ones are those of SLAW's experiments, whose authors'
    code uses the weights one step later.

    Source: Liu, Johns and Davison, 2019, arXiv 1803.10704.

    Args:
        tasks: number of tasks, or their names.
        temperature: :math:`T`, positive; larger values give more equal weights. 2 in the paper.
        beta: averaging factor of the losses, in [0, 1). 0.9 in SLAW's experiments.
        averaging: ``"reference"``, as in SLAW's authors' code, starts at the first loss;
            ``"plain"`` with plain averages, which differ by up to 10% in the first
            :math:`1/(1-\beta)` steps.
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
        averaging: Literal["reference", "plain"] = "reference",
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        self.temperature = positive("temperature", temperature)
        if averaging not in STARTS:
            raise ValueError(f"averaging must be 'reference' or 'plain', found {averaging!r}")
        self.averages = Moments(len(self.tasks), beta, start=STARTS[averaging])
        self.add_state("rates", 1.0)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        previous = self.averages.mean
        self.averages.update(losses, counts)
        rates = self.averages.mean / previous
        falling = (counts > 0) & (self.averages.updates > 1) & rates.isfinite()
        self.rates.copy_(torch.where(falling, rates, self.rates))
        return self.initial.sum() * torch.softmax(self.rates / self.temperature, 0)
