"""Random loss weighting: weights drawn anew at every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar
from zlib import crc32

import torch
from torch import Tensor

from equipoise.draws import WORD, normal
from equipoise.task.base import Initial, Nonfinite
from equipoise.task.of_losses import LossWeighting


class Random(LossWeighting):
    r"""Random loss weighting: the softmax of normal numbers, a baseline that is hard to beat.

    .. math:: w_k = n \frac{\exp(z_k)}{\sum_j \exp(z_j)}, \qquad z \sim \mathcal N(0, I)

    with :math:`z` new at every step in training mode, and :math:`n` the sum of the initial weights
    (1 in the paper).

    :math:`z_k` is a function of the seed, the number of steps so far and the name of the task. So
    the draws are the same on every process, in any order of the tasks and after a restart, on
    another kind of device to rounding; and PyTorch's random numbers are not touched. A step without
    any finite loss does not count. Loading a state also loads its seed.

    Source: Lin et al., 2021, arXiv 2111.10603.

    Args:
        tasks: number of tasks, or their names.
        seed: integer in [0, 2³²).
        initial: weights of which only the sum matters.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.
    """

    source: ClassVar[str] = "Lin et al. 2021, arXiv 2111.10603"

    seed: Tensor
    steps: Tensor
    names: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        seed: int = 0,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not (isinstance(seed, int) and 0 <= seed < WORD):
            raise ValueError(f"seed must be an integer in [0, 2**32), found {seed!r}")
        self.register_buffer("seed", torch.tensor(seed))
        self.add_state("steps", torch.tensor(0))
        names = torch.tensor([crc32(name.encode()) for name in self.tasks])
        self.register_buffer("names", names, persistent=False)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        counted = counts.any()
        numbers = normal(self.seed, self.steps, self.names, dtype=losses.dtype)
        self.steps += counted
        weights = self.initial.sum() * torch.softmax(numbers, 0)
        return torch.where(counted, weights, self._task_weights)
