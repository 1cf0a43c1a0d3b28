"""GLS: the geometric mean of the losses."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from equipoise.task.of_losses import LossWeighting


class GeometricMean(LossWeighting):
    r"""Geometric loss strategy: the total is the geometric mean of the losses that are present.

    .. math:: L = \prod_k L_k^{p_k}, \qquad p_k = \frac{w_k^{(0)}}{\sum_j w_j^{(0)}}, \qquad
              \nabla L = \sum_k w_k \nabla L_k \quad\text{with}\quad w_k = p_k \frac{L}{L_k}

    where :math:`w_k^{(0)}` are the initial weights, equal in the paper, and the sums and the
    product run over the present tasks. The exponents sum to 1, so :math:`\sum_k w_k L_k` is
    :math:`L` itself: it is a weighting like the others, and indifferent to the units of the losses
    but for a common factor.

    A loss that is not positive has no geometric mean: it is left out of it and joins the total with
    the last weight of its task. Of several processes, each gives the weighted sum of its own losses
    with the weights of the whole batch; the mean of these sums is the geometric mean of the whole
    batch. After ``.eval()`` the total is the weighted sum with the last weights.

    Source: Chennupati et al., 2019, arXiv 1904.08492.

    See :class:`~equipoise.task.base.TaskWeighting` for the arguments.

    Example:
        >>> weighting = GeometricMean(["depth", "normals"])
        >>> weighting({"depth": torch.tensor(4.0), "normals": torch.tensor(1.0)})
        tensor(2.)
        >>> weighting.weights_by_task()
        {'depth': 0.25, 'normals': 1.0}
    """

    source: ClassVar[str] = "Chennupati et al. 2019, arXiv 1904.08492"

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        measured = losses > 0
        exponents = measured * self.initial
        exponents = exponents / exponents.sum().clamp(min=torch.finfo(exponents.dtype).tiny)
        logarithms = torch.where(measured, losses, 1).log()
        weights = exponents * torch.exp((exponents * logarithms).sum() - logarithms)
        return torch.where(measured, weights, self.task_weights)
