"""Running mean and variance of each loss; stable, and the same on every process."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equipoise.processes import processes, summed


def whole_batch(losses: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Losses and label counts ``(tasks,)`` of the batches of all processes taken together.

    A loss of the whole batch is the mean of the processes' losses weighed by their counts. One
    all-reduce of ``2 × tasks`` numbers, which every process must join, also one without any label.
    A non-finite loss of any process stays non-finite. With one process nothing is done.
    """
    if processes() == 1:
        return losses, counts
    losses = losses.to(torch.promote_types(losses.dtype, torch.float32))
    labels = torch.ones_like(losses) if counts is None else counts.to(losses.dtype)
    total, labels = summed(torch.stack([torch.where(labels > 0, losses * labels, 0), labels]))
    return total / torch.where(labels > 0, labels, 1), labels


class Moments(nn.Module):
    r"""Exponential running mean and variance of ``size`` losses.

    .. math::
        \beta_t = \min(\beta, 1 - 1/t), \quad d = L - m, \quad
        m \leftarrow m + (1 - \beta_t) d, \quad
        v \leftarrow \beta_t (v + (1 - \beta_t) d^2)

    The same quantities as the running averages of :math:`L` and :math:`L^2` give
    (SLAW, arXiv 2109.08218), without their cancellation: plain averages over the first
    :math:`1/(1-\beta)` values of a task, exponential ones from then on. The mean is kept as the sum
    of two floats, since near 1e6 a float32 alone would not see steps of a hundredth.

    All state is allocated here, is saved, and is float32 (float64 after ``.double()``).

    Args:
        size: number of losses.
        beta: averaging factor :math:`\beta`, in [0, 1).
        corrected: ``False`` takes :math:`\beta_t = \beta` from the start, on averages that start
            at zero.

    Attributes:
        mean, variance: ``(size,)``, floating.
        offered: values that were present, for each loss, ``(size,)`` int64.
        updates: those of them that were taken in, ``(size,)`` int64.
    """

    mean: Tensor
    residual: Tensor
    variance: Tensor
    offered: Tensor
    updates: Tensor

    def __init__(self, size: int, beta: float = 0.99, *, corrected: bool = True) -> None:
        if not (isinstance(beta, (int, float)) and 0 <= beta < 1):
            raise ValueError(f"beta must be a number in [0, 1), found {beta!r}")
        super().__init__()
        self.beta = beta
        self.corrected = corrected
        for name in ("mean", "residual", "variance"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float32))
        for name in ("offered", "updates"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))

    @property
    def skipped(self) -> Tensor:
        """Values left out, ``(size,)`` int64: not finite, or too far from the mean to square."""
        return self.offered - self.updates

    def reset(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()

    def update(self, losses: Tensor, counts: Tensor | None = None) -> Tensor:
        """Take in the losses of one step.

        Args:
            losses: ``(size,)``, floating; of this process, where there are several.
            counts: labels behind each loss, ``(size,)``: numbers, or booleans for present and
                absent; ``None`` if all are present. Nothing changes for an absent loss.

        Returns:
            Which losses were taken in, boolean ``(size,)``.
        """
        losses, counts = whole_batch(losses.detach().to(self.mean.dtype), counts)
        mean, residual, variance, updates = self.mean, self.residual, self.variance, self.updates
        difference = (losses - mean).sub_(residual)
        square = difference * difference
        taken = square < torch.inf  # false for NaN too
        if counts is None:
            self.offered += 1
        else:
            present = counts > 0
            taken &= present
            self.offered += present
        updates += taken

        gain = (
            updates.reciprocal().clamp_(min=1 - self.beta)
            if self.corrected
            else mean.new_full((), 1 - self.beta)
        )
        change = torch.addcmul(residual, gain, difference)
        new_mean = mean + change
        new_residual = change.sub_(new_mean - mean)
        new_variance = torch.addcmul(variance, gain, square)
        new_variance.addcmul_(gain, new_variance, value=-1)
        torch.where(taken, new_mean, mean, out=mean)
        torch.where(taken, new_residual, residual, out=residual)
        torch.where(taken, new_variance, variance, out=variance)
        return taken
