"""Each loss as with uniform weights while a step on it helps the main task, else not at all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.sample.base import HeldOutWeighting


class SLGate(HeldOutWeighting):
    r"""Each loss as with uniform weights while a step on it helps the main task, else not at all.

    .. math:: w_{ik} = \frac{[c_{ik} > 0]}{n B_k}, \qquad
        c_{ik} = \nabla M(\theta) \cdot \nabla l_{ik}(\theta)

    where :math:`M` is the held-out objective, :math:`n` the number of tasks and :math:`B_k` the
    labels of task :math:`k` in the batch. It keeps of :class:`~equipoise.SLGrad` what tells good
    samples from harmful ones, the sign of the alignment, and leaves out what makes that one
    sensitive: its size, and the normalisation, by which few samples get the weight of all. No
    weight is larger than the uniform one: what learning rate suits uniform weights suits these.

    Source: Equipoise; after SLGrad (arXiv 2306.04519), and the gate that Du et al. put on whole
    tasks (arXiv 1812.02224).

    The arguments are those of :class:`~equipoise.sample.base.HeldOutWeighting`.

    Example:
        >>> slgate = SLGate(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = slgate(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Equipoise, after arXiv 2306.04519 and 1812.02224"

    def _weigh(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        kept = torch.where(alignments > 0, uniform, 0)
        return torch.where(alignments.isnan(), torch.nan, kept)
