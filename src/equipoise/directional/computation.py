"""The losses as a function of the model's parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Computation:
    """``function(model, batch)``, in which tensors of the model can be replaced.

    They are known by identity, not by name: a tensor may be part of several modules, and a module
    may be registered under several names. A function that is a module itself may hold some too.
    """

    def __init__(self, function: Callable[[nn.Module, Any], Any], model: nn.Module) -> None:
        self.function = function
        self.model = model
        parts = [model, function] if isinstance(function, nn.Module) else [model]
        self._modules = tuple(dict.fromkeys(each for part in parts for each in part.modules()))

    def call(self, batch: Any, replaced: Mapping[Tensor, Tensor]) -> Any:
        """What the function gives with other tensors in place of some of the model's.

        Raises:
            ValueError: if one to be replaced is none of the model's.
        """
        with self.replacing(replaced):
            return self.function(self.model, batch)

    @contextmanager
    def replacing(self, replaced: Mapping[Tensor, Tensor]) -> Iterator[None]:
        """Inside, the modules hold other tensors; afterwards, after an error too, their own."""
        places: list[tuple[dict[str, Any], str, Tensor]] = [
            (tensors, name, tensor)
            for module in self._modules
            for tensors in (module._parameters, module._buffers)
            for name, tensor in tensors.items()
            if tensor is not None and tensor in replaced
        ]
        if len({tensor for *_, tensor in places}) < len(replaced):
            raise ValueError("shared holds a parameter that is none of the model's")
        try:
            for tensors, name, tensor in places:
                tensors[name] = replaced[tensor]
            yield
        finally:
            for tensors, name, tensor in places:
                tensors[name] = tensor

    def parameters(self) -> list[Tensor]:
        """All parameters, of the function too if it is a module."""
        return [
            parameter
            for module in self._modules
            for parameter in module._parameters.values()
            if parameter is not None
        ]

    def copied_buffers(self) -> dict[Tensor, Tensor]:
        """Buffers for a call that is to leave the model's alone."""
        return {
            buffer: buffer.clone()
            for module in self._modules
            for buffer in module._buffers.values()
            if buffer is not None
        }


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without DistributedDataParallel, for a pass whose gradients are its own affair."""
    return model.module if isinstance(model, DistributedDataParallel) else model
