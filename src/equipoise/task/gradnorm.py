"""GradNorm: weights that learn to equalise gradient norms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.directional import Shared
from equipoise.errors import positive
from equipoise.task.base import Initial, Nonfinite
from equipoise.task.of_gradients import GradientWeighting

_BETAS, _EPSILON, _LOWEST = (0.9, 0.999), 1e-8, 1e-3


class GradNorm(GradientWeighting):
    r"""Weights are learned so that gradient norms follow how fast each task learns.

    .. math::
        G_k = w_k \|g_k\|, \quad
        r_k = \frac{L_k / L_k(0)}{\operatorname{mean}_j L_j / L_j(0)}, \quad
        \min_w \sum_k | G_k - \bar G r_k^\alpha |

    with the target :math:`\bar G r_k^\alpha` held constant, so that the gradient in :math:`w_k` is
    :math:`\pm\|g_k\|` and no second derivative is needed. After each Adam step on the weights they
    are kept at 1e-3 or more, which is ours, and scaled back to the sum of the initial ones. A task
    that is absent keeps its weight, and so does one whose loss is not positive, which has no rate.

    Source: Chen et al., 2018, arXiv 1711.02257.

    Args:
        tasks: number of tasks, or their names.
        shared: see :class:`~equipoise.task.of_gradients.GradientWeighting`.
        alpha: the asymmetry :math:`\alpha`, positive: how strongly slow tasks are pulled. 0.12 for
            the regression of SLAW's experiments, 1.5 for its vision tasks.
        lr: learning rate of the weights, positive. 0.025 there.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = GradNorm(["depth", "normals"], shared=model.trunk[-1])  # doctest: +SKIP
        >>> loss = weighting(losses)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Chen et al. 2018, arXiv 1711.02257"

    first_losses: Tensor
    updates: Tensor
    momentum: Tensor
    squares: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        shared: Shared | None = None,
        alpha: float = 0.12,
        lr: float = 0.025,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, shared=shared, nonfinite=nonfinite)
        self.alpha = positive("alpha", alpha)
        self.lr = positive("lr", lr)
        for name in ("first_losses", "momentum", "squares", "updates"):
            self.add_state(name, 0.0)

    def update(self, losses: Tensor, counts: Tensor, norms: Tensor) -> Tensor:
        first = torch.where(self.updates == 0, losses, self.first_losses)
        rates = losses / first
        # Squares of the norms are what is kept of them.
        measured = (losses > 0) & rates.isfinite() & norms.square().isfinite()
        self.first_losses.copy_(torch.where(measured, first, self.first_losses))
        self.updates += measured

        pulls = self._task_weights * norms
        targets = _mean(pulls, measured) * (rates / _mean(rates, measured)) ** self.alpha
        gradient = torch.where(measured, torch.sign(pulls - targets) * norms, 0)

        kept = torch.where(measured, 0, self._task_weights)
        weights = (self._task_weights - self.lr * self._adam(gradient, measured)).clamp(min=_LOWEST)
        scale = (self.initial.sum() - kept.sum()) / torch.where(measured, weights, 0).sum()
        return torch.where(measured, weights * scale, kept)

    def _adam(self, gradient: Tensor, measured: Tensor) -> Tensor:
        """Direction of an Adam step, for each measured task after its own number of updates."""
        moments = ((self.momentum, gradient, _BETAS[0]), (self.squares, gradient**2, _BETAS[1]))
        unbiased = []
        for average, value, beta in moments:
            average.copy_(torch.where(measured, beta * average + (1 - beta) * value, average))
            unbiased.append(average / (1 - beta**self.updates))
        return unbiased[0] / (unbiased[1].sqrt() + _EPSILON)


def _mean(values: Tensor, measured: Tensor) -> Tensor:
    return torch.where(measured, values, 0).sum() / measured.sum().clamp(min=1)
