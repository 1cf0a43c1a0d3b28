"""Tensors of which each process holds a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a ``DTensor``, of which each process holds a part; found without its import."""
    return hasattr(tensor, "full_tensor")


def local_part(tensor: Any) -> Tensor:
    """What this process holds of a tensor, in the same memory."""
    local: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return local


def whole(tensor: Any) -> Tensor:
    """The tensor as one process would have it, gathered if it is sharded."""
    gathered: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return gathered


def reshard(model: nn.Module) -> None:
    """Let FSDP2 gather parameters anew at their next use, after their parts were changed.

    A module that keeps them gathered from its forward to its backward pass would go on with those.
    """
    for module in model.modules():
        if hasattr(module, "_get_fsdp_state"):
            sharded: Any = module
            sharded.reshard()


def refuse_low_precision(model: nn.Module) -> None:
    """Refuse a policy that gathers parameters in a precision in which a small step is lost.

    Raises:
        ValueError: naming it.
    """
    for module in model.modules():
        state: Any = getattr(module, "_get_fsdp_state", None)
        dtype = None if state is None else state()._mp_policy.param_dtype
        if dtype is not None and dtype.itemsize < 4:
            raise ValueError(
                f"FSDP2 gathers parameters in {dtype} here, in which the small step of a central "
                "difference is lost, and sharded parameters have no other derivatives: leave "
                "param_dtype out of the policy, and use torch.autocast"
            )


def refuse_sharded(parameters: Iterable[Tensor]) -> None:
    """Refuse sharded parameters, whose gradients are there after a backward pass of all only.

    Raises:
        ValueError: if there is one.
    """
    if any(map(is_sharded, parameters)):
        raise ValueError(
            "the shared parameters are sharded, and a gradient or a derivative of each task by "
            "itself would need all of them: take a weighting of losses, such as SLAW, or name "
            "parameters that are not sharded (shared=…)"
        )


def refuse_fsdp1(model: nn.Module) -> None:
    """Refuse FSDP1, which flattens parameters: those that are shared are none of the model's there.

    Raises:
        ValueError: if a module of the model is wrapped so.
    """
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ValueError(
            "FullyShardedDataParallel (FSDP1) flattens the parameters that derivatives are of: "
            "shard the model by fully_shard (FSDP2), or take a weighting of losses, such as SLAW"
        )
