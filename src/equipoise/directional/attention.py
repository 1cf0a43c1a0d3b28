"""Attention by fused kernels, with the forward-mode derivative that these lack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from equipoise.directional.duals import exchanged, joined, split


def fused_attention() -> AbstractContextManager[None]:
    """Inside, ``scaled_dot_product_attention`` has a forward-mode derivative by fused kernels too.

    Its value and its gradient come from the kernels that are enabled on entering, whatever is
    enabled inside, so that no attention weights are kept. Calls with dropout, a learned mask or
    nested tensors, and calls under an imported name, go on as they would.
    """
    return exchanged({"scaled_dot_product_attention": partial(_attention, kernels=_enabled())})


def _attention(
    original: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    kernels: list[SDPBackend],
) -> Tensor:
    options: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
    learned = attn_mask is not None and attn_mask.requires_grad
    if dropout_p or learned:
        return original(query, key, value, attn_mask, dropout_p, is_causal, **options)
    parts = [split(part) for part in (query, key, value)]
    values = [part for part, _ in parts]
    with sdpa_kernel(kernels):
        result = original(*values, attn_mask, 0.0, is_causal, **options)
    if all(tangent is None for _, tangent in parts):
        return result
    tangents = [torch.zeros_like(part) if moved is None else moved for part, moved in parts]
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        values, tangents = _repeated(values, groups), _repeated(tangents, groups)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return joined(result, _tangent(values, tangents, attn_mask, is_causal, scale))


def _repeated(parts: list[Tensor], groups: int) -> list[Tensor]:
    """Keys and values of each group of queries, for every query of it."""
    query, *others = parts
    return [query, *(each.repeat_interleave(groups, -3) for each in others)]


@torch.no_grad()
def _tangent(
    values: list[Tensor],
    tangents: list[Tensor],
    mask: Tensor | None,
    is_causal: bool,
    scale: float,
) -> Tensor:
    r"""The tangent of :math:`O = PV` with :math:`P = \text{softmax}(S)`, :math:`S = s Q K^\top`.

    .. math:: \dot O = \dot P V + P \dot V, \qquad \dot P = P \odot (\dot S - \text{rowsum}(P \odot
        \dot S)), \qquad \dot S = s (\dot Q K^\top + Q \dot K^\top)
    """
    query, key, value = values
    d_query, d_key, d_value = tangents
    weights = _weights(scale * query @ key.mT, mask, is_causal)
    products = weights * (d_query @ key.mT + query @ d_key.mT).mul_(scale)
    products -= weights * products.sum(-1, keepdim=True)
    return products @ value + weights @ d_value


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
