"""Directional derivatives of losses in forward mode: one pass, exact."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn

from equipoise.directional.attention import fused_attention
from equipoise.directional.computation import Computation
from equipoise.directional.kernels import SWITCHES, differentiable_kernels
from equipoise.directional.layers import layers_without_zeros
from equipoise.directional.wrapping import unnoticed_by_wrappers
from equipoise.losses import LossFunction


def forward_derivatives(
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    parameters: list[Tensor],
    *,
    update_buffers: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Losses, mask and derivatives; see :func:`~equipoise.directional.alignments`.

    Every shared parameter carries its part of the direction, every operation passes on value and
    derivative, so dropout draws once for both and BatchNorm sees the batch once. Of several threads
    one at a time, since PyTorch has one forward mode for all.

    Raises:
        ValueError: if no derivative arrives.
        NotImplementedError: naming the operator, if one has no forward-mode formula.
        RuntimeError: inside another computation in forward mode.
    """
    computation = Computation(losses, model)
    replaced = {} if update_buffers else computation.copied_buffers()
    with (
        SWITCHES,
        _dual_level(),
        fused_attention(),
        layers_without_zeros(),
        differentiable_kernels(model),
        unnoticed_by_wrappers(),
    ):
        duals = _duals(parameters, direction)
        try:
            dual, mask = computation.call(batch, replaced | duals)
        except NotImplementedError as error:
            name = _operator_without_formula(error)
            if name is None:
                raise
            raise NotImplementedError(
                f"{name} has no forward-mode formula, so the losses have no directional "
                "derivatives in forward mode: replace it, take the engine 'reverse' where there is "
                "a choice, or weigh by a method that does not need them"
            ) from error
        values, derivatives = forward_mode.unpack_dual(dual)  # type: ignore[no-untyped-call]
    if derivatives is None:
        raise ValueError(
            "no loss depends on a shared parameter: are these the right parameters, and is nothing "
            "on the way detached or under no_grad()?"
        )
    return values, mask, derivatives.detach()


@contextmanager
def _dual_level() -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(forward_mode.dual_level())
        except RuntimeError as error:
            raise RuntimeError(
                "PyTorch has one forward mode, which is in use here: call this outside of "
                "dual_level(), torch.func.jvp and the like, or take the engine 'reverse'"
            ) from error
        yield


def _duals(parameters: list[Tensor], direction: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    with warnings.catch_warnings():
        # PyTorch loads its formulas at first use, by means of its own that it warns of.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return {
            parameter: forward_mode.make_dual(parameter, part)  # type: ignore[no-untyped-call]
            for parameter, part in zip(parameters, direction, strict=True)
        }


def _operator_without_formula(error: NotImplementedError) -> str | None:
    """The operator that PyTorch complains about; ``None`` if the error is another."""
    if found := re.search(r"forward AD with (\S+) that", str(error)):
        return found[1]
    if "jvp" in str(error):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            kind = frame.f_locals.get("cls")
            if isinstance(kind, type) and issubclass(kind, torch.autograd.Function):
                return kind.__name__
    return None
