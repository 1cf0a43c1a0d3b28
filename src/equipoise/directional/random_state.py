"""PyTorch's random numbers: to be drawn again, or left to be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class RandomState:
    """The random numbers that come next, on the CPU and on the CUDA devices of a model."""

    def __init__(self, model: nn.Module) -> None:
        self._on_cpu = torch.get_rng_state()
        self._on_devices = {index: torch.cuda.get_rng_state(index) for index in _devices(model)}

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Inside, they are drawn again; afterwards those come that would have come."""
        with torch.random.fork_rng(list(self._on_devices)):
            torch.set_rng_state(self._on_cpu)
            for index, state in self._on_devices.items():
                torch.cuda.set_rng_state(state, index)
            yield


@contextmanager
def random_state_kept(model: nn.Module) -> Iterator[None]:
    """Random numbers that are drawn inside will be drawn again."""
    with RandomState(model).repeated():
        yield


def _devices(model: nn.Module) -> set[int]:
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return set()
    return {parameter.device.index for parameter in model.parameters() if parameter.is_cuda}
