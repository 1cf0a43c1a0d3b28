"""Tensors of which each process holds a part."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a ``DTensor``, of which each process holds a part; found without its import."""
    return hasattr(tensor, "full_tensor")


def local_part(tensor: Any) -> Tensor:
    """What this process holds of a tensor, in the same memory."""
    local: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return local


def whole(tensor: Any) -> Tensor:
    """The tensor as one process would have it, gathered if it is sharded."""
    gathered: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return gathered
