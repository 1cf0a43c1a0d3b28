"""Weights of auxiliary tasks, learned from how far their gradients agree with the main one's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.directional import Engine, Shared
from equipoise.errors import positive
from equipoise.sample.base import task_means
from equipoise.sample.batch import BatchWeighting


class OLAUX(BatchWeighting):
    r"""Weights of auxiliary tasks, learned from how far their gradients agree with the main one's.

    .. math:: W_k = u_k, \qquad u_k \leftarrow \max \Big( u_k + \eta \sum_{t}
        \nabla L_\text{main}^{(t)} \cdot \nabla L_k^{(t)}, 0 \Big)

    every :math:`N` steps, over which the sum is; all :math:`u_k = 1` at first, and that of the main
    task always. :math:`W_k / B_k` is the weight of each of the :math:`B_k` samples of a task. The
    gradients are those of the training batch, over the shared parameters; inner products of
    gradients have the scale of the losses squared, to which the learning rate has to fit. Each of
    the :math:`u_k` that would become negative is 0, of which the paper does not speak.

    Source: Lin, Baweja, Kantor and Held, 2019, "Adaptive Auxiliary Task Weighting for Reinforcement
    Learning", NeurIPS.

    Args:
        losses: see :class:`~equipoise.sample.base.SampleWeighting`.
        model: see there.
        main: see there.
        shared: see there.
        lr: learning rate :math:`\eta` of the weights.
        horizon: steps :math:`N` from one update to the next.
        engine: see there.
        tasks: see there.

    Example:
        >>> olaux = OLAUX(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = olaux(batch)  # doctest: +SKIP
    """

    learned: Tensor
    products: Tensor
    source: ClassVar[str] = "Lin, Baweja, Kantor & Held 2019, NeurIPS"

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | Literal["border", "all"] = "all",
        lr: float = 1.0,
        horizon: int = 5,
        engine: Engine | Literal["auto"] = "auto",
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        super().__init__(losses, model, main=main, shared=shared, engine=engine, tasks=tasks)
        if not isinstance(horizon, int) or horizon < 1:
            raise ValueError(f"horizon must be an integer of at least 1, found {horizon!r}")
        self.lr = positive("lr", lr)
        self.horizon = horizon
        self.add_state("learned", 1.0)
        self.add_state("products", 0.0)

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        products = task_means(alignments, uniform)
        self.products += torch.where(products.isfinite(), products, 0)
        if (self.steps + 1) % self.horizon == 0:
            self.learned.add_(self.lr * self.products).clamp_(min=0)
            self.learned[self._main] = 1
            self.products.zero_()
        return uniform * torch.where(products.isnan(), torch.nan, self.learned)
