"""Attention by fused kernels, with the forward-mode derivative that these lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def fused_attention() -> Iterator[None]:
    """Inside, ``scaled_dot_product_attention`` has a forward-mode derivative by fused kernels too.

    Its value and its gradient come from the kernels that are enabled on entering, whatever is
    enabled inside, so that no attention weights are kept. Calls with dropout, a learned mask or
    nested tensors, and calls under an imported name, go on as they would.
    """
    usual = _enabled()
    original: Callable[..., Tensor] = functional.scaled_dot_product_attention

    def fused(*arguments: Any, **options: Any) -> Tensor:
        with sdpa_kernel(usual):
            return original(*arguments, **options)

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        learned = attn_mask is not None and attn_mask.requires_grad
        as_it_is = dropout_p or learned or query.is_nested
        if as_it_is or not any(map(_has_tangent, (query, key, value))):
            attend = original if as_it_is else fused
            options = {"scale": scale, "enable_gqa": enable_gqa}
            return attend(query, key, value, attn_mask, dropout_p, is_causal, **options)
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (each.repeat_interleave(groups, -3) for each in (key, value))
        scale = query.shape[-1] ** -0.5 if scale is None else scale

        result: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
            query, key, value, attn_mask, is_causal, scale, fused
        )
        return result

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


def _has_tangent(tensor: Tensor) -> bool:
    return forward_mode.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    r"""Attention :math:`O = PV` with :math:`P = \text{softmax}(S)`, :math:`S = s Q K^\top`.

    .. math:: \dot O = \dot P V + P \dot V, \qquad \dot P = P \odot (\dot S - \text{rowsum}(P \odot
        \dot S)), \qquad \dot S = s (\dot Q K^\top + Q \dot K^\top)
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        scale: float,
        fused: Callable[..., Tensor],
    ) -> Tensor:
        query, key, value = parts = [
            part.detach().requires_grad_(part.requires_grad) for part in (query, key, value)
        ]
        with torch.enable_grad():
            result = fused(query, key, value, mask, 0.0, is_causal, scale=scale)
        ctx.parts, ctx.result = parts, result
        ctx.mask, ctx.is_causal, ctx.scale = mask, is_causal, scale
        return result.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [part for part in ctx.parts if part.requires_grad]
        # Whoever keeps the graph for a second backward pass needs this one again.
        found = iter(torch.autograd.grad(ctx.result, wanted, gradient, retain_graph=True))
        gradients = [next(found) if part.requires_grad else None for part in ctx.parts]
        return (*gradients, None, None, None, None)

    @staticmethod
    @torch.no_grad()
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        query, key, value = (part.detach() for part in ctx.parts)
        d_query, d_key, d_value = tangents[:3]
        weights = _weights(ctx.scale * query @ key.mT, ctx.mask, ctx.is_causal)
        products = weights * (d_query @ key.mT + query @ d_key.mT).mul_(ctx.scale)
        products -= weights * products.sum(-1, keepdim=True)
        tangent: Tensor = products @ value + weights @ d_value
        return tangent.to(ctx.result.dtype)


def _weights(scores: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Softmax of the scores, 0 where a mask leaves nothing to attend to."""
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores.softmax(-1)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).masked_fill(scores.isneginf().all(-1, keepdim=True), 0)


def _enabled() -> list[SDPBackend]:
    backends = torch.backends.cuda
    states: dict[SDPBackend, Callable[[], bool]] = {
        SDPBackend.FLASH_ATTENTION: backends.flash_sdp_enabled,
        SDPBackend.EFFICIENT_ATTENTION: backends.mem_efficient_sdp_enabled,
        SDPBackend.CUDNN_ATTENTION: backends.cudnn_sdp_enabled,
        SDPBackend.MATH: backends.math_sdp_enabled,
    }
    return [backend for backend, enabled in states.items() if enabled()]
