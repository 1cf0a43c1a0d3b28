"""Sums over the processes of a distributed run; of one process, what it has."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same on each."""
    if processes() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total
