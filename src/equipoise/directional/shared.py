"""The parameters that the tasks share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.directional.computation import Computation, is_sharded, random_state_kept, unwrapped

if TYPE_CHECKING:
    from equipoise.step import LossFunction

Shared = nn.Module | Iterable[Tensor] | Tensor


def parameters_of(shared: Shared) -> list[Tensor]:
    """The tensors that require a gradient in a module, an iterable of tensors, or a tensor.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(shared, nn.Module):
        shared = shared.parameters()
    candidates = [shared] if isinstance(shared, Tensor) else list(shared)
    parameters = [tensor for tensor in candidates if tensor.requires_grad]
    if not parameters:
        raise ValueError("shared holds no parameter that requires a gradient")
    return parameters


def shared_parameters(
    losses: LossFunction, model: nn.Module, batch: Any, main: int
) -> list[Tensor]:
    """The parameters that the main task and at least one other reach; of one task alone, all its.

    Found by passing NaN back from the losses, which spreads to exactly what they depend on, also
    where a gradient happens to be 0. One forward pass and two backward, which leave nothing behind.

    Args:
        losses: ``losses(model, batch)`` gives ``(samples, tasks)`` and the mask.
        model: the network.
        batch: whatever ``losses`` takes.
        main: the column of the main task.

    Returns:
        Parameters of ``model``, in its order.

    Raises:
        ValueError: if there is none.
    """
    computation = Computation(losses, unwrapped(model))
    parameters = [each for each in model.parameters() if each.requires_grad]
    if any(is_sharded(parameter) for parameter in parameters):
        raise ValueError("with sharded parameters, name those that are shared (shared=…)")
    with torch.enable_grad(), random_state_kept(model):
        values, _ = computation.call(batch, computation.copied_buffers())
    columns = torch.arange(values.shape[1], device=values.device)
    served = columns == main
    others = ~served if values.shape[1] > 1 else served
    reached = [
        [gradient is not None and bool(gradient.isnan().any()) for gradient in gradients]
        for gradients in (
            torch.autograd.grad(
                values,
                parameters,
                torch.where(column, torch.nan, 0).to(values.dtype).expand_as(values),
                retain_graph=True,
                allow_unused=True,
            )
            for column in (served, others)
        )
    ]
    found: list[Tensor] = [
        parameter for parameter, *both in zip(parameters, *reached, strict=True) if all(both)
    ]
    if not found:
        raise ValueError(
            "no parameter is reached by the main task and by another: tasks that share nothing "
            "cannot help each other; if they do share parameters, name them (shared=…)"
        )
    return found
