"""Kernels that can be differentiated again, and the switches that all threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

SWITCHES = threading.RLock()
"""Held while settings are changed that PyTorch keeps once for all threads, and until they are as
before: forward mode's level, the kernels, the names that :mod:`torch.nn.functional` has."""


@contextmanager
def differentiable_kernels(model: nn.Module) -> Iterator[None]:
    """Kernels that have derivatives of derivatives, and forward-mode formulas.

    Attention takes the math kernel, LSTM on the CPU does without mkldnn, and compiled modules run
    uncompiled. One thread at a time.
    """
    with SWITCHES, ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        if any(isinstance(module, nn.LSTM) for module in model.modules()):
            mkldnn: Any = torch.backends.mkldnn  # its flag, typed as what it is made of
            stack.callback(setattr, mkldnn, "enabled", mkldnn.enabled)
            mkldnn.enabled = False
        yield
