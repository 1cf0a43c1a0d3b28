"""Values with a tangent, and functions of PyTorch that treat them otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, overload

import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.nn import functional


class InseparableError(Exception):
    """A tensor whose tangent cannot be had apart: nested, sparse, or inside ``torch.vmap``."""


@overload
def split(dual: Tensor) -> tuple[Tensor, Tensor | None]: ...


@overload
def split(dual: Tensor | None) -> tuple[Tensor | None, Tensor | None]: ...


def split(dual: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The value with its graph, and the tangent if there is one; of nothing, nothing.

    Raises:
        InseparableError: if PyTorch cannot tell.
    """
    if dual is None:
        return None, None
    try:
        value, tangent = forward_mode.unpack_dual(dual)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise InseparableError from error
    return value, tangent


def joined(value: Tensor, tangent: Tensor) -> Tensor:
    """The value with a tangent, and with its graph."""
    dual: Tensor = forward_mode.make_dual(value, tangent.to(value.dtype))  # type: ignore[no-untyped-call]
    return dual


@contextmanager
def exchanged(formulas: dict[str, Callable[..., Tensor]]) -> Iterator[None]:
    """Inside, functions of :mod:`torch.nn.functional` go by other formulas.

    Calls under a name imported before go on as they would, and so do those with tensors that cannot
    be taken apart (:class:`InseparableError`).

    Args:
        formulas: by name; each gets the function itself, and what that is called with.
    """
    usual = {name: getattr(functional, name) for name in formulas}
    own = {name: partial(_unless_inseparable, formulas[name], usual[name]) for name in formulas}
    vars(functional).update(own)
    try:
        yield
    finally:
        vars(functional).update(usual)


def _unless_inseparable(
    formula: Callable[..., Tensor], original: Callable[..., Tensor], *arguments: Any, **options: Any
) -> Tensor:
    try:
        return formula(original, *arguments, **options)
    except InseparableError:
        return original(*arguments, **options)
