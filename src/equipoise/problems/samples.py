"""Samples in memory, with labels that may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset


def samples_of(inputs: NDArray[Any], labels: NDArray[np.float64]) -> TensorDataset:
    """Inputs as they are, labels ``(samples, tasks)`` in float32, and the mask of those present.

    A missing label is NaN in ``labels``, and 0 here where the mask is false.
    """
    return TensorDataset(
        torch.from_numpy(inputs),
        torch.from_numpy(np.nan_to_num(labels).astype(np.float32)),
        torch.from_numpy(~np.isnan(labels)),
    )
