"""Gradients of several losses, and what TorchJD makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torchjd.aggregation import GramianWeightedAggregator
from torchjd.autojac import jac, jac_to_grad


def jacobians_of(losses: Tensor, shared: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of all losses, one tensor ``(losses, …)`` for each parameter."""
    if losses.is_cuda:
        return jac(losses, shared, retain_graph=True)
    # On a processor the losses at once, TorchJD's default, take as long and more memory.
    jacobians = tuple(losses.new_zeros(len(losses), *parameter.shape) for parameter in shared)
    for index in range(len(losses)):
        gradients = torch.autograd.grad(losses[index], shared, retain_graph=True, allow_unused=True)
        for jacobian, gradient in zip(jacobians, gradients, strict=True):
            if gradient is not None:
                jacobian[index] = gradient
    return jacobians


def aggregated(jacobians: Iterable[Tensor], method: Any) -> tuple[list[Tensor], Tensor | None]:
    """TorchJD's own way from Jacobians to gradients and weights, on tensors nobody else sees."""
    carriers: list[Any] = []
    for jacobian in jacobians:
        carrier: Any = torch.empty_like(jacobian[0], requires_grad=True)
        carrier.jac = jacobian
        carriers.append(carrier)
    gramian = isinstance(method, GramianWeightedAggregator)
    weights = jac_to_grad(carriers, method, optimize_gramian_computation=gramian)
    return [carrier.grad for carrier in carriers], weights
