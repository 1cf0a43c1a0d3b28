"""What float16 loses, and how little of it."""

from __future__ import annotations

import torch
from torch import Tensor


def in_float16(tensor: Tensor) -> bool:
    """Whether autocast computes with this tensor in float16, which loses what is below 6e-8."""
    kind = tensor.device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return enabled and torch.get_autocast_dtype(kind) == torch.float16
