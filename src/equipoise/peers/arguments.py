"""What the classes of TorchJD want to be told, and those that cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

PREFIX = "torchjd/"

ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "CAGrad": lambda n: {"c": 0.5},
    "Constant": lambda n: {"weights": torch.ones(n)},
    "COSMOS": lambda n: {"lambda_": 1.0, "weights": torch.full((n,), 1 / n)},
    "FairGrad": lambda n: {"alpha": 1.0},
    "FAMO": lambda n: {"shape": n},
    "IMTLL": lambda n: {"shape": n},
    "Krum": lambda n: {"n_byzantine": 0},
    "NashMTL": lambda n: {"n_tasks": n},
    "PBI": lambda n: {"theta": 5.0, "weights": torch.full((n,), 1 / n)},
    "STCH": lambda n: {"mu": 0.1},
    "TrimmedMean": lambda n: {"trim_number": min(1, (n - 1) // 2)},
    "UW": lambda n: {"shape": n},
}
"""What a constructor needs for ``n`` tasks, where it has no default."""

LEFT_OUT = {
    "CRMOGM": "it smooths the weights of another method",
    "DWA": "it has to be told when an epoch ends; dwa has not",
    "MoDo": "it needs the gradients of two batches a step",
    "SDMGrad": "it needs the gradients of two batches a step",
}
"""What cannot be compared, and why."""

NOT_SAVED = ("FAMO", "NashMTL")
"""What keeps more than its ``state_dict()`` says: an optimizer, a batch, the last solution."""
