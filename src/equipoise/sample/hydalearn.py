"""Each task as much as a step on it helps the main one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.sample.base import task_means
from equipoise.sample.heldout import HeldOutWeighting


class HydaLearn(HeldOutWeighting):
    r"""Each task as much as a step on it helps the main one, on held-out samples.

    .. math:: W_{k} = n \frac{\max(c_{k}, 0)}{\sum_{m} \max(c_{m}, 0)}, \qquad
        c_{k} = \nabla M(\theta) \cdot \nabla L_{k}(\theta)

    and :math:`W_k / B_k` for each of the :math:`B_k` samples of a task; :math:`n` is the number of
    tasks (1 in the paper). The paper takes a virtual
    step for each task and measures the gain; this is that gain to first order in the step, of all
    tasks from one pass. Where no task helps, all weights are 0.

    Source: Verboven, Chaudhary, Berrevoets, Ginis and Verbeke, 2020, arXiv 2008.11643.

    The arguments are those of :class:`~equipoise.sample.heldout.HeldOutWeighting`.

    Example:
        >>> hydalearn = HydaLearn(losses, model, main="price")  # doctest: +SKIP
        >>> loss = hydalearn(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Verboven et al. 2020, arXiv 2008.11643"

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        gains = task_means(alignments, uniform).clamp(min=0)
        shares = torch.where(gains.sum() == 0, 0, gains / gains.sum())
        return uniform * len(shares) * shares
