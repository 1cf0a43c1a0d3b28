"""Norms of gradients, exact, and the random directions that estimate them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from equipoise.directional.sharding import refuse_sharded, whole
from equipoise.directional.shared import Shared, parameters_of
from equipoise.directional.wrapping import unnoticed_by_wrappers
from equipoise.processes import processes, summed


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
        ValueError: if a task is present, and no loss depends on a shared parameter, or these are
            sharded.
    """
    parameters = parameters_of(shared)
    refuse_sharded(parameters)
    share = torch.ones_like(losses) if counts is None else counts.to(losses.dtype)
    share = share.detach().to(torch.promote_types(share.dtype, torch.float32))
    total = summed(share)
    share = share / torch.where(total > 0, total, 1)
    norms = []
    reached = False
    for index in range(len(losses)):
        # One at a time: the backward pass of unbind() would touch all losses for each.
        with unnoticed_by_wrappers():
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
        if processes() > 1:
            flat = summed(flat * share[index])
        norms.append(torch.linalg.vector_norm(flat))
    if not reached and (counts is None or (counts > 0).any()):
        raise ValueError("no loss depends on a shared parameter: are these the right parameters?")
    return torch.stack(norms)


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of all of them together, of sharded ones over all processes."""
    squares = [whole(tensor.detach().square().sum()) for tensor in tensors]
    return torch.stack(squares).sum().sqrt()


def random_direction(shared: Shared, *key: int) -> list[Tensor]:
    """A direction of independent standard normal numbers over the shared parameters.

    The same for the same key, on every process. The key is numbers of the host, so a step waits for
    no device.

    Args:
        shared: a module, an iterable of parameters, or one parameter.
        key: what the numbers depend on: a seed, the number of the step.

    Returns:
        A tensor for each of :func:`parameters_of` ``shared``, of its shape, dtype and device.
    """
    parameters = parameters_of(shared)
    refuse_sharded(parameters)
    generators: dict[torch.device, torch.Generator] = {}
    direction = []
    for parameter in parameters:
        device = parameter.device
        if device not in generators:
            # One seed in 32 bits, all that the generator of the CPU takes; the number of the device
            # keeps parts of a model on several devices apart. Meta tensors have no generator.
            seed = zlib.crc32(repr((key, len(generators))).encode())
            generator = torch.Generator("cpu" if parameter.is_meta else device)
            generators[device] = generator.manual_seed(seed)
        # In float32, so that a network in another precision is probed along the same direction.
        numbers = torch.randn(
            parameter.shape, generator=generators[device], dtype=torch.float32, device=device
        )
        direction.append(numbers.to(parameter.dtype))
    return direction
