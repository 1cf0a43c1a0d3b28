"""Scalars with gradients of their own making."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def with_gradients(
    value: Tensor, gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> Tensor:
    """A scalar of this value that has these gradients in these parameters, and no others."""
    given: Tensor = _Given.apply(value.detach(), gradients, *parameters)  # type: ignore[no-untyped-call]
    return given


def with_parts(parts: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> Tensor:
    """The first of several scalars, whose gradient in each group of parameters is another's.

    The backward passes of the scalars run inside its own, so that they get the scale of a gradient
    scaler.

    Args:
        parts: each scalar with its graph, and the parameters that are to have its gradient.
    """
    value = parts[0][0].detach()
    filled = [(part, list(parameters)) for part, parameters in parts if parameters]
    flat = [parameter for _, group in filled for parameter in group]
    joined: Tensor = _Parts.apply(value, filled, *flat)  # type: ignore[no-untyped-call]
    return joined


class _Given(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if gradient is None else scale * gradient for gradient in ctx.gradients)
        return (None, None, *scaled)


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, parts: list[tuple[Tensor, list[Tensor]]], *parameters: Tensor
    ) -> Tensor:
        ctx.parts = parts
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [
            gradient
            for value, group in ctx.parts
            for gradient in torch.autograd.grad(
                value, group, scale.to(value.dtype), retain_graph=True, allow_unused=True
            )
        ]
        return (None, None, *gradients)
