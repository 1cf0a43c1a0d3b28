"""Directional derivatives of losses from two reverse passes: exact, without forward mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.directional.computation import Computation
from equipoise.directional.kernels import differentiable_kernels
from equipoise.directional.wrapping import unnoticed_by_wrappers
from equipoise.losses import LossFunction


def reverse_derivatives(
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    parameters: list[Tensor],
    *,
    update_buffers: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    r"""Losses, mask and derivatives; see :func:`~equipoise.directional.alignments`.

    .. math:: d_{ik} = \frac{\partial}{\partial u_{ik}} \Big( v \cdot \nabla_\theta \sum_{jm}
        u_{jm} l_{jm}(\theta) \Big)

    The gradient is linear in :math:`u`, so that of its product with :math:`v` in :math:`u` are all
    derivatives at once.

    Raises:
        ValueError: if no loss depends on a shared parameter.
    """
    computation = Computation(losses, model)
    with torch.enable_grad(), differentiable_kernels(model):
        values, mask = computation.call(
            batch, {} if update_buffers else computation.copied_buffers()
        )
        # Checkpointed parts run again on the way back.
        with computation.replacing(computation.copied_buffers()), unnoticed_by_wrappers():
            derivatives = _products(values, mask, direction, parameters)
    return values, mask, derivatives


def _products(
    values: Tensor, mask: Tensor | None, direction: Sequence[Tensor], parameters: list[Tensor]
) -> Tensor:
    """Products of the direction and the gradient of each loss, from their graph, which is kept."""
    counted = values if mask is None else torch.where(mask, values, 0)
    factors = torch.ones_like(values, requires_grad=True)
    gradients = torch.autograd.grad(
        (factors * counted).sum(), parameters, create_graph=True, allow_unused=True
    )
    products = [
        (gradient * part).sum()
        for gradient, part in zip(gradients, direction, strict=True)
        if gradient is not None
    ]
    if not products:
        raise ValueError(
            "no loss depends on a shared parameter: are these the right parameters, and is nothing "
            "on the way detached or under no_grad()?"
        )
    (derivatives,) = torch.autograd.grad(torch.stack(products).sum(), factors, retain_graph=True)
    return derivatives
