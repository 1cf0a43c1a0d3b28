"""The samples of one task, each as much as a step on it helps that task."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.sample.base import normalised
from equipoise.sample.heldout import HeldOutWeighting


class L2RW(HeldOutWeighting):
    r"""The samples of one task, each as much as a step on it helps that task on held-out samples.

    .. math:: w_{i} = n \frac{\max(c_{i}, 0)}{\sum_{j} \max(c_{j}, 0)}, \qquad
        c_{i} = \nabla M(\theta) \cdot \nabla l_{i}(\theta)

    :class:`~equipoise.SLGrad` with a single task: the other tasks, if there are any, weigh nothing.
    The paper's weights sum to 1, these to the number :math:`n` of tasks, as equal ones do. Where no
    sample helps, all weights are 0. Of a single task the shared parameters are all that it reaches,
    as in the paper.

    Source: Ren, Zeng, Yang and Urtasun, 2018, arXiv 1803.09050.

    The arguments are those of :class:`~equipoise.sample.heldout.HeldOutWeighting`.

    Example:
        >>> l2rw = L2RW(losses, model, main="price")  # doctest: +SKIP
        >>> loss = l2rw(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Ren, Zeng, Yang & Urtasun 2018, arXiv 1803.09050"

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        gains = torch.zeros_like(alignments)
        gains[:, self._main] = alignments[:, self._main].clamp(min=0)
        return normalised(gains, 0)
