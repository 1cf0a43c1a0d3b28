"""The parameters that the tasks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.directional.computation import Computation, unwrapped
from equipoise.directional.gradients import leaves_of
from equipoise.directional.kernels import differentiable_kernels
from equipoise.directional.random_state import random_state_kept
from equipoise.directional.reach import reach
from equipoise.directional.sharding import is_sharded
from equipoise.losses import LossFunction

Shared = nn.Module | Iterable[Tensor] | Tensor


def parameters_of(shared: Shared) -> list[Tensor]:
    """The tensors that require a gradient in a module, an iterable of tensors, or a tensor.

    Raises:
        ValueError: if there is none, or one occurs twice.
    """
    if isinstance(shared, nn.Module):
        shared = shared.parameters()
    candidates = [shared] if isinstance(shared, Tensor) else list(shared)
    parameters = [tensor for tensor in candidates if tensor.requires_grad]
    if not parameters:
        raise ValueError("shared holds no parameter that requires a gradient")
    if len(set(parameters)) < len(parameters):
        raise ValueError("shared holds the same parameter twice: name each once")
    return parameters


def shared_parameters(
    losses: LossFunction, model: nn.Module, batch: Any, main: int
) -> list[Tensor] | None:
    """The parameters that the main task and at least one other reach; of one task alone, all its.

    Both have to reach the same entry: of a layer with an output for each task they do not. Found
    by one forward pass and two backward, which leave nothing behind; see
    :func:`~equipoise.directional.reach.reach`.

    Args:
        losses: ``losses(model, batch)`` gives ``(samples, tasks)`` and the mask.
        model: the network.
        batch: whatever ``losses`` takes.
        main: the column of the main task.

    Returns:
        Parameters of ``model``, in its order; ``None`` if the batch cannot tell, since it has no
        label of the main task or none of any other.

    Raises:
        ValueError: if there is none.
    """
    search = _Search(losses, model, batch, main)
    if not search.telling:
        return None
    found = search.common(search.parameters, search.sides)
    if not found:
        raise ValueError(
            "no parameter is reached by the main task and by another: tasks that share nothing "
            "cannot help each other; if they do share parameters, name them (shared=…)"
        )
    return found


def border_parameters(
    losses: LossFunction, model: nn.Module, batch: Any, main: int
) -> list[Tensor] | None:
    """The parameters of the last layer that every task passes.

    That is the last with a weight matrix, and with it what follows on the way to the heads, such as
    a LayerNorm. Found by one forward pass, and a backward pass for each task as far as that layer.

    The arguments are those of :func:`shared_parameters`; tasks without a label in the batch do not
    count.

    Returns:
        Parameters of ``model``, in its order; ``None`` if the batch cannot tell, as there.

    Raises:
        ValueError: if no parameter is reached by all tasks.
    """
    search = _Search(losses, model, batch, main)
    if not search.telling:
        return None
    uses = leaves_of(search.values)
    # Of heads little is left by two backward passes, whatever the number of tasks.
    left = [each for each in search.common(search.parameters, search.sides) if each in uses]
    while left:
        layer = _last_layer(left, uses, model)
        found = search.common(layer, [[task] for task in (main, *search.others)])
        if found and (len(layer) == len(left) or any(each.ndim >= 2 for each in found)):
            return found
        left = [each for each in left if each not in set(layer) - set(found)]
    raise ValueError(
        "no parameter is reached by all tasks, so there is no last layer that they share: name the "
        "parameters that they share (shared=…)"
    )


def parameters_of_graph(losses: Tensor) -> list[Tensor] | None:
    """The parameters that more than one task reaches; of one task alone, all its.

    At least two have to reach the same entry. Found by a backward pass for each task, which leave
    nothing behind; what reentrant checkpointing hides from the graph cannot be found.

    Args:
        losses: ``(tasks,)`` with their graph, which is kept.

    Returns:
        The leaves of the graph, the first used first; ``None`` if the losses cannot tell, since
        fewer than two tasks are present.

    Raises:
        ValueError: if there is no graph, or the tasks share nothing.
    """
    if not losses.requires_grad:
        raise ValueError(
            "the losses have no graph: are they detached, or computed under no_grad()?"
        )
    uses = leaves_of(losses)
    leaves = sorted(uses, key=uses.__getitem__)
    times: list[Tensor] = [torch.zeros_like(leaf, dtype=torch.int32) for leaf in leaves]
    present = 0
    for task in range(len(losses)):
        reached = reach(losses, [task], leaves)
        present += any(map(torch.any, reached))
        times = [count + part for count, part in zip(times, reached, strict=True)]
    if present < min(2, len(losses)):
        return None
    found = [
        leaf
        for leaf, count in zip(leaves, times, strict=True)
        if (count >= min(2, len(losses))).any()
    ]
    if not found:
        raise ValueError(
            "no parameter is reached by more than one task: if they do share parameters, name them "
            "(shared=…)"
        )
    return found


class _Search:
    """One pass, and what its tasks reach."""

    def __init__(self, losses: LossFunction, model: nn.Module, batch: Any, main: int) -> None:
        self.parameters: list[Tensor] = [each for each in model.parameters() if each.requires_grad]
        if any(map(is_sharded, self.parameters)):
            raise ValueError("with sharded parameters, name those that are shared (shared=…)")
        model = unwrapped(model)
        self.computation = computation = Computation(losses, model)
        with torch.enable_grad(), random_state_kept(model), differentiable_kernels(model):
            self.values, mask = computation.call(batch, computation.copied_buffers())
        labels = torch.ones_like(self.values, dtype=torch.bool) if mask is None else mask
        present: list[int] = labels.any(0).nonzero().flatten().tolist()
        self.others = [task for task in present if task != main]
        self.sides = [[main], self.others] if self.others else [[main]]
        self.telling = main in present and (bool(self.others) or self.values.shape[1] == 1)

    def common(self, parameters: Sequence[Tensor], groups: Iterable[Sequence[int]]) -> list[Tensor]:
        """Those of which an entry is reached by every one of the groups of tasks."""
        left = {parameter: torch.ones_like(parameter, dtype=torch.bool) for parameter in parameters}
        for group in groups:
            # Checkpointed parts run again on the way back.
            with self.computation.replacing(self.computation.copied_buffers()):
                reached = reach(self.values, group, list(left), hidden=self.parameters)
            both = [old & new for old, new in zip(left.values(), reached, strict=True)]
            left = {each: mask for each, mask in zip(left, both, strict=True) if mask.any()}
            if not left:
                break
        return list(left)


def _last_layer(
    parameters: list[Tensor], uses: dict[Tensor, int], model: nn.Module
) -> list[Tensor]:
    """Of the parameters, those of the layer of the last weight matrix, and what is used later."""
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    if not matrices:
        return parameters
    last = max(matrices, key=uses.__getitem__)
    layer = _layer_of(last, model)
    return [each for each in parameters if each in layer or uses[each] >= uses[last]]


def _layer_of(parameter: Tensor, model: nn.Module) -> set[Tensor]:
    """The parameters of the module that it is one of, unless other modules are parts of that."""
    for module in model.modules():
        own: set[Tensor] = set(module.parameters(recurse=False))
        if parameter in own and len(own) == len(list(module.parameters())):
            return own
    return {parameter}
