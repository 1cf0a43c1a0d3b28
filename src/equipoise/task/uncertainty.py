"""Uncertainty weighting: learned variances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from equipoise.task.base import Initial, Nonfinite, initial_weights
from equipoise.task.of_losses import LossWeighting
from equipoise.weighting import Needs


class Uncertainty(LossWeighting):
    r"""Homoscedastic uncertainty: a variance of each task is learned with the network.

    .. math:: L = \sum_k w_k L_k + \tfrac12 \log \sigma_k^2, \qquad w_k = \frac{1}{2 \sigma_k^2}

    What is learned is :math:`\log \sigma_k^2`, so give the optimizer ``weighting.parameters()``
    too. The total loss becomes negative when losses are small; that is the method. The
    logarithms receive the gradient of the losses of the whole batch on every process: do not wrap
    the weighting in DistributedDataParallel.

    Source: Kendall, Gal and Cipolla, 2018, arXiv 1705.07115.

    Args:
        tasks: number of tasks, or their names.
        initial: weights to start from, positive, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = Uncertainty(["depth", "normals"])
        >>> optimizer = torch.optim.Adam(weighting.parameters())  # and the network's
    """

    needs = Needs.LOSSES | Needs.OPTIMIZER
    source: ClassVar[str] = "Kendall et al. 2018, arXiv 1705.07115"

    log_variances: nn.Parameter

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        start = -torch.log(2 * initial_weights(initial, self.tasks))
        if not start.isfinite().all():
            raise ValueError(f"initial weights must be positive, found {initial}")
        self.add_state("log_variances", start, learned=True)

    @property
    def task_weights(self) -> Tensor:
        """The weights as learned so far, detached, ``(tasks,)``."""
        return torch.exp(-self.log_variances.detach()) / 2

    @property
    def average_weights(self) -> Tensor:
        """The same: learned weights move slowly."""
        return self.task_weights

    def _learned(self, values: Tensor, counts: Tensor | None) -> Tensor:
        """With the regularisation of the variances; an absent task's receives no gradient."""
        everywhere, labels = self._gathered(values, counts)
        penalty = torch.where(labels > 0, self.log_variances, 0).sum() / 2
        # Worth nothing, but its gradient in the variances is that of the weighted losses.
        fit = (torch.exp(-self.log_variances) / 2).dot(everywhere)
        return self._weighted(values, counts) + penalty + (fit - fit.detach())
