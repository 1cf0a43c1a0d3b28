"""The ways to derivatives of losses along a direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from equipoise.directional.difference import difference_derivatives
from equipoise.directional.forward import forward_derivatives
from equipoise.directional.norms import norm
from equipoise.directional.precision import in_float16
from equipoise.directional.reverse import reverse_derivatives
from equipoise.losses import LossFunction

Engine: TypeAlias = Literal["forward", "reverse", "difference"]
ENGINES: dict[Engine, Callable[..., tuple[Tensor, Tensor | None, Tensor]]] = {
    "forward": forward_derivatives,
    "reverse": reverse_derivatives,
    "difference": difference_derivatives,
}


def derivatives_by(
    engine: Engine,
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    parameters: list[Tensor],
    *,
    update_buffers: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Losses, mask and derivatives by one engine; see :func:`~equipoise.directional.alignments`."""
    derive = partial(
        ENGINES[engine], losses, model, batch, parameters=parameters, update_buffers=update_buffers
    )
    # The step of a difference has a length of its own.
    if engine == "difference" or not in_float16(direction[0]):
        return derive(direction=direction)
    # Of a direction of length 1 float16 loses least.
    length = norm(direction)
    length = torch.where(length > 0, length, 1)
    values, mask, derivatives = derive(direction=[part / length for part in direction])
    return values, mask, derivatives.to(length.dtype) * length
