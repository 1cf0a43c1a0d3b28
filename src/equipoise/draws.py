"""Numbers that look random, as a function of a seed, a step and what they are for.

So they are the same on every process, after a restart and, to rounding, on every kind of device;
they need no host, and leave PyTorch's own random numbers alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 2**32
"""Seeds, steps and purposes are integers below this."""


def uniform(seed: Tensor, step: Tensor, purpose: Tensor | int = 0) -> Tensor:
    """Uniform in (−1, 1), float32, of the shape of the int64 arguments broadcast together."""
    words = _mixed(_mixed(_mixed(seed) ^ step) ^ purpose)
    # Odd multiples of 2⁻²⁴, which float32 holds exactly: none is rounded to ±1.
    return (2 * (words >> 8) + 1 - 2**24).to(torch.float32) / 2**24


def normal(
    seed: Tensor, step: Tensor, purpose: Tensor | int = 0, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Standard normal, of the shape of the int64 arguments broadcast together."""
    return 2**0.5 * torch.erfinv(uniform(seed, step, purpose).to(dtype))


def _mixed(words: Tensor) -> Tensor:
    """Each of 32 bits of the result depends on each bit of ``words``, integers below 2³²."""
    words = (words + 0x9E3779B9) % WORD
    for _ in range(2):
        words = ((words >> 16) ^ words) * 0x45D9F3B % WORD  # below 2⁶³ on the way
    return (words >> 16) ^ words
