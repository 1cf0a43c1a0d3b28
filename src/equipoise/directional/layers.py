"""Layers whose tangents PyTorch computes at several times their cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from equipoise.directional.duals import exchanged, joined, split


def layers_without_zeros() -> AbstractContextManager[None]:
    """Inside, linear layers, convolutions and LayerNorm do not compute with tangents that are 0.

    Where only the inputs of a layer have a tangent, or only its weights, PyTorch multiplies with
    zeros in place of the other: in frozen layers, after the last layer that is moved and in the
    first. LayerNorm's tangent it composes of many small operations, and of zeros too.
    """
    products = dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), _product)
    return exchanged({**products, "layer_norm": _layer_norm})


def _product(
    original: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *arguments: Any,
    **options: Any,
) -> Tensor:
    r""":math:`\dot y = W \dot x`, or :math:`\dot y = \dot W x + \dot b`."""
    (x, d_x), (w, d_w), (b, d_b) = split(input), split(weight), split(bias)
    by_inputs = d_x is not None and d_w is None and d_b is None
    by_weights = d_x is None and d_w is not None and (b is None or d_b is not None)
    if not (by_inputs or by_weights):
        return original(input, weight, bias, *arguments, **options)
    value = original(x, w, b, *arguments, **options)
    with torch.no_grad():
        moved = (d_x, w, None) if by_inputs else (x, d_w, d_b)
        tangent = original(*moved, *arguments, **options)
    return joined(value, tangent)


def _layer_norm(
    original: Callable[..., Tensor],
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""LayerNorm, :math:`y = w n + b` with :math:`n = (x - \bar x) r`.

    .. math:: \dot y = w \dot n + \dot w n + \dot b, \qquad
        \dot n = r (\dot x - \overline{\dot x} - n \, \overline{n \dot x})
    """
    (x, d_x), (w, d_w), (b, d_b) = split(input), split(weight), split(bias)
    if all(tangent is None for tangent in (d_x, d_w, d_b)):
        return original(input, normalized_shape, weight, bias, eps)
    value = original(x, normalized_shape, w, b, eps)
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        n, _, r = torch.native_layer_norm(x.to(value), normalized_shape, None, None, eps)
        tangent = torch.zeros_like(value)
        if d_x is not None:
            over = tuple(range(-len(normalized_shape), 0))
            d_x = d_x.to(value)
            tangent = d_x - d_x.mean(over, keepdim=True)
            tangent.addcmul_(n, (n * d_x).mean(over, keepdim=True), value=-1).mul_(r)
            tangent = tangent if w is None else tangent.mul_(w)
        if d_w is not None:
            tangent.addcmul_(n, d_w)
        if d_b is not None:
            tangent.add_(d_b)
    return joined(value, tangent)
