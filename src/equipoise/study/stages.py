"""The stages of a study: the runs of each are kept apart from those of the others."""

from __future__ import annotations

COMPARISON = "runs"
"""Every method with every seed: what the table is made of."""
CONFIRMATION = "confirmation"
"""The leading methods and equal weights with fresh seeds."""

TUNING = "tuning"
"""Methods with the values that are tried, in a folder a training."""

EQUAL_TIME = "equal-time"
"""Methods whose steps cost more than those of equal weights, with fewer of them."""

STAGES = (COMPARISON, CONFIRMATION, TUNING, EQUAL_TIME)
"""Folders of a study that hold runs."""

CONFIRMING = 1_000_000
"""First seed of a confirmation, beyond all that a comparison can have."""
TRYING = 2_000_000
"""First seed of what is tried to tune."""


def staged(stage: str, name: str) -> str:
    """A run in words, with its stage unless that is the comparison."""
    return name if stage == COMPARISON else f"{stage}: {name}"
