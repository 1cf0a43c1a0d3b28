"""Random loss weighting: weights drawn anew at every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal
from zlib import crc32

import torch
from torch import Tensor

from equipoise.draws import WORD, normal
from equipoise.moments import whole_batch
from equipoise.task.base import Initial, LossWeighting


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
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not (isinstance(seed, int) and 0 <= seed < WORD):
            raise ValueError(f"seed must be an integer in [0, 2**32), found {seed!r}")
        self.register_buffer("seed", torch.tensor(seed))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        names = torch.tensor([crc32(name.encode()) for name in self.tasks])
        self.register_buffer("names", names, persistent=False)

    def reset(self) -> None:
        """Start again with the first draw."""
        super().reset()
        self.steps.zero_()

    def _update(self, losses: Tensor, counts: Tensor | None) -> Tensor:
        losses, counts = whole_batch(losses, counts)
        measured = losses.isfinite() if counts is None else losses.isfinite() & (counts > 0)
        counted = measured.any()
        numbers = normal(self.seed, self.steps, self.names)
        self.steps += counted
        weights = self.initial.sum() * torch.softmax(numbers, 0)
        return torch.where(counted, weights, self._weights)
