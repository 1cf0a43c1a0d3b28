"""The direction in which a held-out objective falls or rises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.directional.computation import Computation, unwrapped
from equipoise.directional.gradients import gradients_by_backward, gradients_of
from equipoise.directional.precision import in_float16
from equipoise.directional.sharding import is_sharded, reshard
from equipoise.processes import processes, summed

LOSS_SCALES = 2.0**16, 2.0**8, 1.0
"""For a backward pass in float16: the first with which no gradient overflows."""


def objective_gradient(
    objective: Callable[[nn.Module, Any], tuple[Tensor, Tensor]],
    model: nn.Module,
    batch: Any,
    parameters: list[Tensor],
    moved: Mapping[Tensor, Tensor] | None = None,
) -> list[Tensor]:
    """The gradient of a scalar in the shared parameters, which leaves nothing behind.

    Buffers, ``.grad`` and the graph of other passes stay as they are. Of several processes it is
    the mean over their batches, weighed by what ``objective`` counts. Under float16 autocast the
    backward pass is scaled, as by ``torch.amp.GradScaler``, and the gradient is not.

    Args:
        objective: ``objective(model, batch)`` gives the scalar, and how many samples or labels it
            is the mean of.
        model: the network.
        batch: whatever ``objective`` takes.
        parameters: what to differentiate in.
        moved: other values, without a graph, for some of the model's parameters.

    Returns:
        A tensor for each of ``parameters``, 0 for one that the objective does not reach.

    Raises:
        ValueError: if the objective is no scalar, or reaches none of them.
    """
    moved = moved or {}
    computation = Computation(objective, unwrapped(model))
    leaves = {parameter: moved.get(parameter, parameter) for parameter in parameters}
    leaves = {
        parameter: leaf if leaf is parameter else leaf.detach().requires_grad_()
        for parameter, leaf in leaves.items()
    }
    # Now: after the forward pass FSDP2 may have others in their place, which get no gradient.
    reshard(model)
    everything = computation.parameters()
    replaced = {**moved, **{each: leaf for each, leaf in leaves.items() if leaf is not each}}
    # On the way back too, where checkpointed parts run again.
    with torch.enable_grad(), computation.replacing(computation.copied_buffers() | replaced):
        value, count = objective(computation.model, batch)
        _check_scalar(value)
        gradients = _gradients(value * _share(value, count), list(leaves.values()), everything)
    if all(gradient is None for gradient in gradients):
        raise ValueError(
            "the held-out objective depends on no shared parameter: are these the right parameters?"
        )
    return _over_processes(
        [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _check_scalar(value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the held-out objective must be a scalar tensor, found {found}")
    if not value.requires_grad:
        raise ValueError("the held-out objective has no graph: does it run under no_grad()?")


def _gradients(
    value: Tensor, leaves: list[Tensor], parameters: list[Tensor]
) -> list[Tensor | None]:
    if any(map(is_sharded, leaves)):
        # What gathers sharded parameters hands gradients back in backward() only.
        return gradients_by_backward(value, leaves, parameters=parameters)
    if not in_float16(value):
        return gradients_of(value, leaves, parameters=parameters, keep=False)
    for scale in LOSS_SCALES:
        gradients = gradients_of(value * scale, leaves, parameters=parameters)
        if all(gradient is None or gradient.isfinite().all() for gradient in gradients):
            break
    return [None if gradient is None else gradient / scale for gradient in gradients]


def _share(value: Tensor, count: Tensor) -> Tensor | float:
    """What the objective of this process counts for; together they count as many as there are."""
    if processes() == 1:
        return 1.0
    dtype = torch.promote_types(value.dtype, torch.float32)
    count = torch.as_tensor(count, dtype=dtype, device=value.device)
    total = summed(count)
    return processes() * count / torch.where(total > 0, total, 1)


def _over_processes(gradients: list[Tensor]) -> list[Tensor]:
    """Their means over the processes, which sharded ones are already."""
    if processes() == 1 or any(is_sharded(gradient) for gradient in gradients):
        return gradients
    flat = summed(torch.cat([gradient.flatten() for gradient in gradients])) / processes()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
