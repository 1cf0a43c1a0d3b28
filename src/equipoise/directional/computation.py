"""The losses as a function of the model's parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel


class Computation(nn.Module):
    """``function(model, batch)`` as a module, in which the model's tensors can be replaced."""

    def __init__(self, function: Callable[[nn.Module, Any], Any], model: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.model = model

    def forward(self, batch: Any) -> Any:
        """What the function gives."""
        return self.function(self.model, batch)

    def call(self, batch: Any, replaced: Mapping[str, Tensor]) -> Any:
        """What the function gives with these tensors, by name, in place of the model's."""
        return functional_call(self, dict(replaced), (batch,))

    def copied_buffers(self) -> dict[str, Tensor]:
        """Buffers for a call that is to leave the model's alone."""
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def named(self, parameters: list[Tensor], tensors: list[Tensor]) -> dict[str, Tensor]:
        """``tensors`` by the names of the ``parameters`` that they are to replace.

        Raises:
            ValueError: if a parameter is none of the model's.
        """
        names: dict[Tensor, str] = {tensor: name for name, tensor in self.named_parameters()}
        if not names.keys() >= set(parameters):
            raise ValueError("shared holds a parameter that is none of the model's")
        return {
            names[parameter]: tensor for parameter, tensor in zip(parameters, tensors, strict=True)
        }


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without DistributedDataParallel, for a pass whose gradients are its own affair."""
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextmanager
def differentiable_kernels(model: nn.Module) -> Iterator[None]:
    """Kernels that have derivatives of derivatives, and forward-mode formulas.

    Attention takes the math kernel, LSTM on the CPU does without mkldnn, and compiled modules run
    uncompiled.
    """
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        if any(isinstance(module, nn.LSTM) for module in model.modules()):
            mkldnn: Any = torch.backends.mkldnn  # its flag, typed as what it is made of
            stack.callback(setattr, mkldnn, "enabled", mkldnn.enabled)
            mkldnn.enabled = False
        yield


@contextmanager
def random_state_kept(model: nn.Module) -> Iterator[None]:
    """Random numbers that are drawn inside will be drawn again."""
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(sorted(device.index for device in devices)):
        yield


def in_float16(tensor: Tensor) -> bool:
    """Whether autocast computes with this tensor in float16, which loses what is below 6e-8."""
    kind = tensor.device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return enabled and torch.get_autocast_dtype(kind) == torch.float16


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a ``DTensor``, of which each process holds a part; found without its import."""
    return hasattr(tensor, "full_tensor")
