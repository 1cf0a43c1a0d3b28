"""Samples of the main task, and the other tasks as a whole, unless a step on them clearly harms."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.processes import summed
from equipoise.sample.base import task_means
from equipoise.sample.heldout import HeldOutWeighting


class SLGate(HeldOutWeighting):
    r"""Samples of the main task, and the other tasks as a whole, unless a step on them harms.

    .. math:: w_{i,\text{main}} = \frac{[c_{i,\text{main}} \ge -h]}{n B_\text{main}}, \qquad
        w_{ik} = \frac{[\bar c_k \ge -\sigma_k / \sqrt{B_k}]}{n B_k}, \qquad
        c_{ik} = \nabla M(\theta) \cdot \nabla l_{ik}(\theta)

    where :math:`M` is the held-out objective, :math:`n` the number of tasks and :math:`B_k` the
    labels of task :math:`k` in the batch. Of the main task go the samples that harm more than those
    that help do help: :math:`h` is the root mean square of its positive :math:`c`. Of the others
    goes a task whose mean :math:`\bar c_k` is below zero by more than its standard error, with
    :math:`\sigma_k` the root mean square of its :math:`c`. A strict limit of zero would leave out
    many right labels too: a held-out batch is small, and a step serves some of it at the cost of
    the rest.

    It leaves out what makes :class:`~equipoise.SLGrad` sensitive to the learning rate: the size of
    alignments as a weight, and the normalisation, by which few samples get the weight of all. No
    weight is larger than the uniform one. Other tasks are not gated sample by sample, since those
    samples of a task that agree with another task are no fair sample of it.

    Source: Equipoise; after SLGrad (arXiv 2306.04519), and the gate that Du et al. put on whole
    tasks (arXiv 1812.02224).

    The arguments are those of :class:`~equipoise.sample.heldout.HeldOutWeighting`.

    Example:
        >>> slgate = SLGate(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = slgate(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Equipoise, after arXiv 2306.04519 and 1812.02224"

    def _weigh(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        main, present = self._main, uniform > 0
        gains = task_means(alignments, present).expand_as(alignments).clone()
        gains[:, main] = alignments[:, main]
        squares = alignments.square()
        limits = task_means(squares, present) / summed(present.sum(0)).clamp(min=1)
        limits[main] = task_means(squares, alignments > 0)[main]
        kept = torch.where(gains >= -limits.sqrt(), uniform, 0)
        return torch.where(gains.isnan(), torch.nan, kept)
