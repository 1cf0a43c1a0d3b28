"""Samples of the main task, and the other tasks as a whole, while a step on them helps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.sample.base import by_task
from equipoise.sample.heldout import HeldOutWeighting


class SLGate(HeldOutWeighting):
    r"""Samples of the main task, and the other tasks as a whole, while a step on them helps.

    .. math:: w_{i,\text{main}} = \frac{[c_{i,\text{main}} > 0]}{n B_\text{main}}, \qquad
        w_{ik} = \frac{[\sum_j c_{jk} > 0]}{n B_k}, \qquad
        c_{ik} = \nabla M(\theta) \cdot \nabla l_{ik}(\theta)

    where :math:`M` is the held-out objective, :math:`n` the number of tasks and :math:`B_k` the
    labels of task :math:`k` in the batch. It keeps of :class:`~equipoise.SLGrad` what tells good
    samples from harmful ones, the sign of the alignment, and leaves out what makes that one
    sensitive to the learning rate: its size and the normalisation, by which few samples get the
    weight of all. No weight is larger than the uniform one. Other tasks are not gated sample by
    sample, since those samples of a task that agree with another task are no fair sample of it.

    The gate is closed for many right labels too, at one step or another, so training takes longer.
    Where it is short, or wrong labels leave the right one the likeliest, equal weights can do
    better.

    Source: Equipoise; after SLGrad (arXiv 2306.04519), and the gate that Du et al. put on whole
    tasks (arXiv 1812.02224).

    The arguments are those of :class:`~equipoise.sample.heldout.HeldOutWeighting`.

    Example:
        >>> slgate = SLGate(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = slgate(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Equipoise, after arXiv 2306.04519 and 1812.02224"

    def _weigh(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        gains = by_task(alignments, uniform).expand_as(alignments).clone()
        gains[:, self._main] = alignments[:, self._main]
        kept = torch.where(gains > 0, uniform, 0)
        return torch.where(gains.isnan(), torch.nan, kept)
