"""Running mean square of the change of each loss from one step to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise.state import Stateful

__all__ = ["Differences"]


class Differences(Stateful):
    r"""What a loss changes by from one value to the next, as a variance.

    .. math::
        \beta_t = \min(\beta, 1 - 1/t), \quad
        v \leftarrow \beta_t v + (1 - \beta_t) \frac{(L - L_\text{last})^2}{1 + m}

    for the :math:`t`-th difference; :math:`m` steps have passed since the task's last value, 1 for
    one that is never absent, and a step without any label does not count. A value is a signal that
    moves, and the noise of its batch. The noise of two values makes a difference of twice its
    variance, however long ago the last was; what the signal moves by has a variance that grows with
    :math:`m`. So :math:`1 + m` is right for noise where no task is absent, and where a task is, for
    a signal that a step moves by as much as the noise.

    Args:
        size: number of losses.
        beta: averaging factor :math:`\beta`, in [0, 1).

    Attributes:
        last: the last value of each, ``(size,)``, floating.
        variance: ``(size,)``, floating.
        updates: values that were taken in, for each loss, ``(size,)``, floating.
        absent: steps since the last value, ``(size,)``, floating.
    """

    last: Tensor
    variance: Tensor
    updates: Tensor
    absent: Tensor

    def __init__(self, size: int, beta: float = 0.99) -> None:
        if not (isinstance(beta, (int, float)) and 0 <= beta < 1):
            raise ValueError(f"beta must be a number in [0, 1), found {beta!r}")
        super().__init__(size)
        self.beta = beta
        for name in ("last", "variance", "updates", "absent"):
            self.add_state(name, 0.0)

    @property
    def mean(self) -> Tensor:
        """The size of each loss: its last value, ``(size,)``, floating."""
        return self.last

    def update(self, losses: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take in the losses of one step.

        Args:
            losses: ``(size,)``, finite, of the dtype of the state.
            counts: labels behind each, ``(size,)``; nothing changes where it is 0.

        Returns:
            ``last``, ``variance`` and ``updates``, which the next call overwrites.
        """
        state = self._state
        last, variance = state["last"], state["variance"]
        updates, absent = state["updates"], state["absent"]
        taken = counts.sign()
        square = (losses - last).square_().div_(absent + 2)
        # The first value has nothing to differ from.
        gain = (taken * updates.sign()) / updates.clamp(min=1, max=1 / (1 - self.beta))
        variance.lerp_(square, gain)
        torch.where(taken > 0, losses, last, out=last)
        updates.add_(taken)
        absent.add_(taken.amax()).mul_(1 - taken)
        return last, variance, updates
