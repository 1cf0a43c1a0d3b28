"""Each loss as much as a step on it helps the main task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.directional import Engine, Shared, is_sharded, objective_gradient
from equipoise.errors import positive
from equipoise.sample.base import normalised
from equipoise.sample.heldout import HeldOutWeighting, Objective
from equipoise.step import Step

FALLBACKS = ("zero", "uniform", "main")


class SLGrad(HeldOutWeighting):
    r"""Each loss as much as a step on it helps the main task, on held-out samples.

    .. math:: w_{ik} = n \frac{\max(c_{ik}, 0)}{\sum_{jm} \max(c_{jm}, 0)}, \qquad
        c_{ik} = \nabla M(\hat\theta) \cdot \nabla l_{ik}(\theta), \qquad
        \hat\theta = \theta - \alpha \nabla \sum_k W_k L_k(\theta)

    where :math:`n` is the number of tasks (the paper's weights sum to 1, these to what equal ones
    sum to), :math:`M` the held-out objective, and :math:`\hat\theta` the parameters after a virtual
    step with the task weights :math:`W` of the step before (the samples of which are others), equal
    at first. Without look-ahead :math:`\hat\theta = \theta`. Parameters and buffers are not moved.

    The weights concentrate on few samples with large gradients, so a step is larger than one with
    uniform weights and the learning rate has to be smaller: ten times and more, where labels are
    clean. :class:`~equipoise.SLGate` has no such need, and is the one to try first.

    Source: Grégoire, Chaudhary and Verboven, 2023, arXiv 2306.04519.

    Args:
        losses: see :class:`~equipoise.sample.heldout.HeldOutWeighting`.
        model: see there.
        main: see there.
        shared: see there.
        lookahead: learning rate :math:`\alpha` of the virtual step; ``None`` for no look-ahead,
            which is a forward and a backward pass cheaper. The gradient of the virtual step is that
            of all parameters of the model.
        objective: see there.
        maximize: see there.
        fallback: weights of a step in which no sample helps: ``"zero"``, ``"uniform"``, or
            ``"main"``, uniform over the main task's samples only.
        engine: see there.
        tasks: see there.

    Example:
        >>> def losses(model, batch):
        ...     inputs, price, rent = batch
        ...     found = model(inputs)
        ...     return {"price": (found[:, 0] - price) ** 2, "rent": (found[:, 1] - rent) ** 2}
        >>> slgrad = SLGrad(losses, model, main="price", shared=model.trunk)  # doctest: +SKIP
        >>> loss = slgrad(batch, held_out)  # doctest: +SKIP
    """

    source: ClassVar[str] = "Grégoire, Chaudhary & Verboven 2023, arXiv 2306.04519"

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | Literal["border", "all"] = "all",
        lookahead: float | None = None,
        objective: Objective | None = None,
        maximize: bool = False,
        fallback: Literal["zero", "uniform", "main"] = "zero",
        engine: Engine | Literal["auto"] = "auto",
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        super().__init__(
            losses,
            model,
            main=main,
            shared=shared,
            objective=objective,
            maximize=maximize,
            engine=engine,
            tasks=tasks,
        )
        if fallback not in FALLBACKS:
            raise ValueError(f"fallback must be one of {', '.join(FALLBACKS)}, found {fallback!r}")
        self.fallback = fallback
        self.lookahead = None if lookahead is None else positive("lookahead", lookahead)

    def weigh_samples(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        fallback = torch.zeros_like(uniform)
        if self.fallback == "uniform":
            fallback = uniform
        elif self.fallback == "main":
            fallback[:, self._main] = uniform[:, self._main] * uniform.shape[1]
        return normalised(alignments.clamp(min=0), fallback)

    def _moved(self, step: Step) -> dict[Tensor, Tensor]:
        if self.lookahead is None:
            return {}
        parameters: list[Tensor] = [each for each in step.model.parameters() if each.requires_grad]
        if any(map(is_sharded, parameters)):
            raise ValueError("lookahead cannot be taken with sharded parameters: use None")
        gradients = objective_gradient(
            self._weighted_loss(step), step.model, step.batch, parameters
        )
        return {
            parameter: parameter.detach() - self.lookahead * gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        }

    def _weighted_loss(self, step: Step) -> Callable[[nn.Module, Any], tuple[Tensor, Tensor]]:
        def weighted_loss(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
            means = self._means_to_derive(self._losses_of(step)(model, batch))
            return (self.task_weights.to(means) * means).sum(), torch.ones(())

        return weighted_loss
