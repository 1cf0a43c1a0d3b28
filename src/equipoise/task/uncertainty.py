"""Uncertainty weighting: learned variances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.moments import whole_batch
from equipoise.task.base import Initial, Losses, LossWeighting


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

    needs: ClassVar[str] = "task losses; its parameters in the optimizer"
    source: ClassVar[str] = "Kendall et al. 2018, arXiv 1705.07115"

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        initial: Initial | None = None,
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not (self.initial > 0).all():
            raise ValueError(f"initial weights must be positive, found {initial}")
        self.log_variances = nn.Parameter(-torch.log(2 * self.initial))

    @property
    def weights(self) -> Tensor:
        """The weights as learned so far, detached, ``(tasks,)``."""
        return torch.exp(-self.log_variances.detach()) / 2

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        with torch.no_grad():
            self.log_variances.copy_(-torch.log(2 * self.initial))

    def forward(self, losses: Losses, mask: Tensor | None = None) -> Tensor:
        """Weighted sum of the losses plus the regularisation of the variances.

        See :meth:`LossWeighting.forward`. An absent task's variance receives no gradient.
        """
        values, counts = self._read(losses, mask)
        weights = torch.exp(-self.log_variances) / 2
        everywhere, counts = whole_batch(values.detach(), counts)
        learning = everywhere.isfinite() if counts is None else everywhere.isfinite() & (counts > 0)
        penalty = torch.where(learning, self.log_variances, 0).sum() / 2
        # Worth nothing, but its gradient in the variances is that of the weighted losses.
        fit = (weights * torch.where(learning, everywhere, 0)).sum()
        return (weights.detach() * values).sum() + penalty + (fit - fit.detach())
