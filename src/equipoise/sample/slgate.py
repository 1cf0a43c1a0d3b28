"""Samples of the main task, and the other tasks as a whole, unless a step on them clearly harms."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.sample.heldout import HeldOutWeighting

TOLERATED = 0.5
"""Of what helping samples help, the part that harmful ones may harm."""


class SLGate(HeldOutWeighting):
    r"""Samples of the main task, and the other tasks as a whole, unless a step on them harms.

    .. math:: w_{ik} = \frac{[(i, k) \text{ is kept}]}{B_k}, \qquad
        c_{ik} = \nabla M(\theta) \cdot \nabla l_{ik}(\theta)

    where :math:`M` is the held-out objective and :math:`B_k` the labels of task :math:`k` in the
    batch.

    Of the main task go the samples with :math:`c < -h`, where :math:`h` is the root mean square of
    its positive :math:`c`: those that harm more than a helping one helps. All stay while these
    together harm less than half of what all the helping ones help, as they then are the few hard
    samples that right labels have too. Of the other tasks goes one whose mean :math:`c` is below
    zero by more than its standard error :math:`\sqrt{\sum_i c_{ik}^2} / B_k`.

    Who judges: ten checked labels of each class, all of them at every step up to some 64. Other
    ones at every step judge otherwise at every step, and what one leaves out the next learns
    (``benchmarks/gate.py``). A judge that is wrong cannot be told from a small one from inside: its
    samples contradict each other as those do. So have its labels checked (``equipoise audit``).

    A strict limit of zero would leave out many right labels: a held-out batch is small, and a step
    serves some of it at the cost of the rest. Some go nonetheless, so that training takes longer:
    where it is cut short and labels are right, equal weights can do better.

    It leaves out what makes :class:`~equipoise.SLGrad` sensitive to the learning rate: the size of
    alignments as a weight, and the normalisation, by which few samples get the weight of all. No
    weight is larger than the uniform one. Other tasks are not gated sample by sample, since those
    samples of a task that agree with another task are no fair sample of it.

    ``shared="border"`` costs less, and no difference could be told where the main task is one
    question; with ten classes and 40% wrong labels it finds fewer of them (MultiMNIST: accuracy
    0.011 ± 0.008 lower, 10 seeds).

    Source: Equipoise; after SLGrad (arXiv 2306.04519), and the gate that Du et al. put on whole
    tasks (arXiv 1812.02224).

    The arguments are those of :class:`~equipoise.sample.heldout.HeldOutWeighting`.

    Example:
        >>> slgate = SLGate(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = slgate(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Equipoise, after arXiv 2306.04519 and 1812.02224"

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        totals, squares = alignments.sum(0), alignments.square().sum(0)
        # A mean against its standard error, both times the labels of the task.
        kept = (totals >= -squares.sqrt()).expand_as(alignments).clone()
        kept[:, self._main] = ~_harmful(alignments[:, self._main])
        return torch.where(totals.isnan(), torch.nan, torch.where(kept, uniform, 0))


def _harmful(alignments: Tensor) -> Tensor:
    """Which samples of the main task go, ``(samples,)``."""
    helps = alignments.clamp(min=0)
    typical = (helps.square().sum() / (helps > 0).sum().clamp(min=1)).sqrt()
    below = alignments < -typical
    harm = torch.where(below, -alignments, 0).sum()
    return below & (harm > TOLERATED * helps.sum())
