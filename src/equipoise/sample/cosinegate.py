"""An auxiliary task counts only while its gradient agrees with that of the main task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.directional import Engine, Shared, gradient_norms
from equipoise.sample.base import task_means
from equipoise.sample.batch import BatchWeighting
from equipoise.step import Step


class CosineGate(BatchWeighting):
    r"""An auxiliary task counts only while its gradient agrees with that of the main task.

    .. math:: W_k = [\cos(\nabla L_\text{main}, \nabla L_k) > 0], \qquad W_\text{main} = 1

    and :math:`W_k / B_k` for each of the :math:`B_k` samples of a task. The gradients are those of
    the training batch, over the shared parameters, and these alone are gated: the head of a task
    learns its own loss always. No held-out batch is needed. Where a batch has no label of the main
    task, no gradient agrees with it.

    Source: Du, Czarnecki, Jayakumar, Farajtabar, Pascanu and Lakshminarayanan, 2018,
    arXiv 1812.02224.

    Args:
        losses: see :class:`~equipoise.sample.base.SampleWeighting`.
        model: see there.
        main: see there.
        shared: see there.
        weighted: whether :math:`W_k = \max(\cos(\nabla L_\text{main}, \nabla L_k), 0)`, which takes
            the norm of each task's gradient: a backward pass per task.
        engine: see there.
        tasks: see there.

    Example:
        >>> gate = CosineGate(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = gate(batch)  # doctest: +SKIP
    """

    shared_only = True
    source: ClassVar[str] = "Du et al. 2018, arXiv 1812.02224"

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | Literal["border", "all"] = "all",
        weighted: bool = False,
        engine: Engine | Literal["auto"] = "auto",
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        super().__init__(losses, model, main=main, shared=shared, engine=engine, tasks=tasks)
        self.weighted = weighted

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        products = task_means(alignments, uniform)
        gates = (products > 0).to(uniform.dtype)
        if self.weighted:
            gates *= products / (self._norms * self._norms[self._main]).clamp(min=1e-30)
        gates[self._main] = 1
        return uniform * torch.where(products.isnan(), torch.nan, gates)

    def _align(self, step: Step) -> Tensor | None:
        alignments = super()._align(step)
        if self.weighted and self._shared is not None:
            self._norms = gradient_norms(step.losses, self._shared, step.counts)
        return alignments
