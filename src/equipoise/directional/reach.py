"""What a loss depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from equipoise.directional.gradients import gradients_of


def reach(
    losses: Tensor,
    tasks: Sequence[int],
    parameters: Sequence[Tensor],
    *,
    hidden: Iterable[Tensor] = (),
) -> list[Tensor]:
    """The entries of the parameters that the losses of some tasks depend on.

    Found by passing NaN back from these losses, which spreads to exactly what they depend on, also
    where a gradient happens to be 0.

    Args:
        losses: ``(samples, tasks)`` or ``(tasks,)`` with their graph, which is kept.
        tasks: columns of ``losses``.
        parameters: where to look.
        hidden: see ``parameters`` of :func:`~equipoise.directional.gradients.gradients_of`.

    Returns:
        A boolean tensor for each of ``parameters``, of its shape.
    """
    factors = torch.zeros_like(losses)
    factors[..., list(tasks)] = torch.nan
    gradients = gradients_of(losses, parameters, factors, parameters=hidden)
    return [
        torch.zeros_like(parameter, dtype=torch.bool) if gradient is None else gradient.isnan()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
