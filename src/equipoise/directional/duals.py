"""Values with a tangent, and functions of PyTorch that treat them otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import overload

import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.nn import functional


@overload
def split(dual: Tensor) -> tuple[Tensor, Tensor | None]: ...


@overload
def split(dual: Tensor | None) -> tuple[Tensor | None, Tensor | None]: ...


def split(dual: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The value with its graph, and the tangent if there is one; of nothing, nothing."""
    if dual is None:
        return None, None
    value, tangent = forward_mode.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return value, tangent


def joined(value: Tensor, tangent: Tensor) -> Tensor:
    """The value with a tangent, and with its graph."""
    dual: Tensor = forward_mode.make_dual(value, tangent.to(value.dtype))  # type: ignore[no-untyped-call]
    return dual


@contextmanager
def exchanged(functions: dict[str, Callable[..., Tensor]]) -> Iterator[None]:
    """Inside, :mod:`torch.nn.functional` has other functions by these names.

    Calls under a name imported before go on as they would.
    """
    usual = {name: getattr(functional, name) for name in functions}
    vars(functional).update(functions)
    try:
        yield
    finally:
        vars(functional).update(usual)
