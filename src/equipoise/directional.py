"""Gradients of task losses with respect to the parameters that the tasks share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

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


def gradient_norms(losses: Tensor, shared: Shared, counts: Tensor | None = None) -> Tensor:
    r"""Exact norms :math:`\|\nabla L_k\|` over the shared parameters, one backward pass per task.

    Under ``torch.distributed`` the gradients are those of the losses of the whole batch: the
    processes' gradients, weighed by their counts. Memory: one copy of the shared parameters.

    Args:
        losses: ``(tasks,)`` with their graph, which is kept.
        shared: a module, an iterable of parameters, or one parameter.
        counts: labels behind each loss, ``(tasks,)``; ``None`` if every task is present.

    Returns:
        ``(tasks,)``, float32 or the parameters' dtype if that is wider; without a graph.

    Raises:
        ValueError: if a task is present, and no loss depends on a shared parameter.
    """
    parameters = parameters_of(shared)
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if processes > 1:
        share = losses.new_ones(len(losses), dtype=torch.float32) if counts is None else counts
        share = share.float()
        total = share.clone()
        dist.all_reduce(total)
        share = share / torch.where(total > 0, total, 1)
    norms = []
    reached = False
    for index in range(len(losses)):
        # One at a time: the backward pass of unbind() would touch all losses for each.
        gradients = torch.autograd.grad(
            losses[index], parameters, retain_graph=True, allow_unused=True
        )
        reached = reached or any(gradient is not None for gradient in gradients)
        flat = torch.cat(
            [
                torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
                for parameter, gradient in zip(parameters, gradients, strict=True)
            ]
        )
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        if processes > 1:
            flat = flat * share[index]
            dist.all_reduce(flat)
        norms.append(torch.linalg.vector_norm(flat))
    if not reached and (counts is None or (counts > 0).any()):
        raise ValueError("no loss depends on a shared parameter: are these the right parameters?")
    return torch.stack(norms)
