"""The exact form of what SLAW estimates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.directional import Shared
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_gradients import GradientWeighting


class InverseGradientNorm(GradientWeighting):
    r"""Every task pulls on the shared parameters equally hard.

    .. math:: w_k = n \frac{1/\|g_k\|}{\sum_j 1/\|g_j\|}

    where :math:`g_k` is the gradient of the loss of task :math:`k` in the shared parameters, from a
    backward pass of its own, and :math:`n` the sum of the initial weights. A task keeps its initial
    weight until it has had a gradient that is finite and not 0; its last such norm counts in steps
    where it has none.

    Source: Crawshaw and Košecká, 2021, arXiv 2109.08218, the form that SLAW approximates.

    Args:
        tasks: number of tasks, or their names.
        shared: see :class:`~equipoise.task.of_gradients.GradientWeighting`.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = InverseGradientNorm(2, shared=model.trunk)  # doctest: +SKIP
        >>> loss = weighting(losses)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Crawshaw & Košecká 2021, arXiv 2109.08218"

    norms: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        shared: Shared | None = None,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, shared=shared, nonfinite=nonfinite)
        self.add_state("norms", 0.0)

    def update(self, losses: Tensor, counts: Tensor, norms: Tensor) -> Tensor:
        usable = (counts > 0) & norms.isfinite() & (norms > 0)
        self.norms.copy_(torch.where(usable, norms, self.norms))
        known = self.norms > 0
        smallest = torch.where(known, self.norms, torch.inf).min()
        # At most 1, so that no norm is too small to be inverted.
        inverse = torch.where(known, smallest / self.norms, 1)
        return inverse_weights(inverse, known, self.initial)
