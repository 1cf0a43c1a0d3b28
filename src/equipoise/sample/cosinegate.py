"""An auxiliary task counts only while its gradient agrees with that of the main task."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.sample.base import BatchWeighting, task_means


class CosineGate(BatchWeighting):
    r"""An auxiliary task counts only while its gradient agrees with that of the main task.

    .. math:: W_k = \frac{[\cos(\nabla L_\text{main}, \nabla L_k) > 0]}{n}, \qquad
        W_\text{main} = \frac 1 n

    and :math:`W_k / B_k` for each of the :math:`B_k` samples of a task. The gradients are those of
    the training batch, over the shared parameters. No held-out batch is needed. Only the sign of
    the cosine counts, which is that of the inner product.

    Source: Du, Czarnecki, Jayakumar, Farajtabar, Pascanu and Lakshminarayanan, 2018,
    arXiv 1812.02224.

    The arguments are those of :class:`~equipoise.sample.base.BatchWeighting`.

    Example:
        >>> gate = CosineGate(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = gate(batch)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Du et al. 2018, arXiv 1812.02224"

    def _weigh(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        products = task_means(alignments, uniform > 0)
        open_gates = (products > 0).to(uniform.dtype)
        open_gates[self._main] = 1
        return uniform * torch.where(products.isnan(), torch.nan, open_gates)
