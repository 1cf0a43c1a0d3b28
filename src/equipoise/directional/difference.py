"""Directional derivatives of losses from a central difference: approximate, for any parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from equipoise.directional.computation import Computation
from equipoise.directional.norms import norm
from equipoise.directional.random_state import random_state_kept
from equipoise.directional.sharding import local_part, refuse_low_precision, reshard
from equipoise.losses import LossFunction


def difference_derivatives(
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    parameters: list[Tensor],
    *,
    update_buffers: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    r"""Losses, mask and derivatives; see :func:`~equipoise.directional.alignments`.

    .. math:: d_{ik} \approx \frac{l_{ik}(\theta + h v) - l_{ik}(\theta - h v)}{2h}, \quad
        h = \sqrt{\varepsilon} \, \frac{\max(\|\theta\|, 1)}{\|v\|}

    Two passes without a graph, with the random numbers of the third, which gives the losses. The
    parameters are moved in place and restored bit for bit. :math:`\varepsilon` is the precision of
    the parameters: the step balances rounding against the kinks of ReLU networks, whose error falls
    with the step, not with its square. So the two passes are taken without autocast, in whose
    precision such a step is lost. Of sharded parameters each process moves its part.
    """
    refuse_low_precision(model)
    computation = Computation(losses, model)
    length = norm(direction)
    precision = min(torch.finfo(parameter.dtype).eps for parameter in parameters) ** 0.5
    size = precision * norm(parameters).clamp(min=1) / torch.where(length > 0, length, 1)
    start = [parameter.detach().clone() for parameter in parameters]
    moved = []
    with (
        torch.no_grad(),
        torch.autocast(parameters[0].device.type, enabled=False),
        _unnoticed(parameters),
    ):
        try:
            for sign in (1, -1):
                for parameter, origin, part in zip(parameters, start, direction, strict=True):
                    local_part(parameter).copy_(local_part(origin) + sign * size * local_part(part))
                reshard(model)
                with random_state_kept(model):
                    values, _ = computation.call(batch, computation.copied_buffers())
                moved.append(values)
        finally:
            for parameter, origin in zip(parameters, start, strict=True):
                local_part(parameter).copy_(local_part(origin))
            reshard(model)
    values, mask = computation.call(batch, {} if update_buffers else computation.copied_buffers())
    return values, mask, (moved[0] - moved[1]) / (2 * size)


@contextmanager
def _unnoticed(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Graphs that are there already may be used after changes that are undone inside."""
    with ExitStack() as stack:
        for parameter in parameters:
            stack.enter_context(_unsafe_preserve_version_counter(local_part(parameter)))
        yield
