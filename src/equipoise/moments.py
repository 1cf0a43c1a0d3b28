"""Running mean and variance of each loss, stable."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from equipoise.state import Stateful

__all__ = ["Moments"]

Start: TypeAlias = Literal["plain", "first", "zero"]


class Moments(Stateful):
    r"""Exponential running mean and variance of ``size`` losses.

    .. math::
        \beta_t = \min(\beta, 1 - 1/t), \quad d = L - m, \quad
        m \leftarrow m + (1 - \beta_t) d, \quad
        v \leftarrow \beta_t (v + (1 - \beta_t) d^2)

    The same quantities as the running averages of :math:`L` and :math:`L^2` give
    (SLAW, arXiv 2109.08218), without their cancellation: plain averages over the first
    :math:`1/(1-\beta)` values of a task, exponential ones from then on. What is kept is not the
    mean, whose steps of a hundredth a float32 near 1e6 would not see, but how far the last value is
    above it, :math:`e = \beta_t d`, so that the next :math:`d = (L - L_\text{last}) + e`, and
    :math:`v \leftarrow v + (1 - \beta_t) (d e - v)`.

    Args:
        size: number of losses.
        beta: averaging factor :math:`\beta`, in [0, 1).
        start: how averages begin: ``"plain"`` as above; ``"first"`` at the first value,
            :math:`\beta_1 = 0`, and exponential from then on; ``"zero"`` at zero, :math:`\beta_t =
            \beta` always.

    Attributes:
        last: the last value of each, ``(size,)``, floating.
        above: how far that is above the mean, ``(size,)``, floating.
        variance: ``(size,)``, floating.
        updates: values that were taken in, for each loss, ``(size,)``, floating (in float32 it
            stays at 2²⁴, where a plain average would not move either).
    """

    last: Tensor
    above: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(self, size: int, beta: float = 0.99, *, start: Start = "plain") -> None:
        if not (isinstance(beta, (int, float)) and 0 <= beta < 1):
            raise ValueError(f"beta must be a number in [0, 1), found {beta!r}")
        super().__init__(size)
        self.beta = beta
        self.start = start
        for name in ("last", "above", "variance", "updates"):
            self.add_state(name, 0.0)

    @property
    def mean(self) -> Tensor:
        """``(size,)``, floating."""
        return self.last - self.above

    def update(self, losses: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take in the losses of one step.

        Args:
            losses: ``(size,)``, finite, of the dtype of the state.
            counts: labels behind each, ``(size,)``; nothing changes where it is 0.

        Returns:
            ``last``, ``variance`` and ``updates``, which the next call overwrites.
        """
        state = self._state
        last, above = state["last"], state["above"]
        variance, updates = state["variance"], state["updates"]
        taken = counts.sign()
        updates.add_(taken)
        gain = self._gain(taken, updates)
        difference = (losses - last).mul_(taken)
        last.add_(difference)
        difference.add_(above)
        torch.addcmul(difference, gain, difference, value=-1, out=above)
        variance.lerp_(difference.mul_(above), gain)
        return last, variance, updates

    def _gain(self, taken: Tensor, updates: Tensor) -> Tensor:
        """:math:`1 - \beta_t` where a value was taken, else 0."""
        if self.start == "plain":
            return taken / updates.clamp(min=1, max=1 / (1 - self.beta))
        gain = taken * (1 - self.beta)
        if self.start == "first":
            gain += taken * (updates == 1) * self.beta
        return gain
