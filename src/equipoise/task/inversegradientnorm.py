"""The exact form of what SLAW estimates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equipoise.moments import whole_batch
from equipoise.task.base import GradientWeighting, Initial, inverse_weights


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
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = InverseGradientNorm(["depth", "normals"])
        >>> loss = weighting(losses, shared=model.trunk)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Crawshaw & Košecká 2021, arXiv 2109.08218"

    norms: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        initial: Initial | None = None,
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        self.register_buffer("norms", torch.zeros_like(self.initial))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self.norms.zero_()

    def _update(self, losses: Tensor, counts: Tensor | None, norms: Tensor) -> Tensor:
        losses, _ = whole_batch(losses, counts)
        usable = losses.isfinite() & norms.isfinite() & (norms > 0)
        self.norms.copy_(torch.where(usable, norms, self.norms))
        known = self.norms > 0
        return inverse_weights(1 / torch.where(known, self.norms, 1), known, self.initial)
