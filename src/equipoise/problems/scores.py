"""Metrics of labels and outputs, and where they are undefined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Score: TypeAlias = tuple[Callable[[Any, Any], float], int]
"""A metric of labels and outputs, and the distinct labels without which it is undefined."""


def score_of(score: Score, labels: NDArray[np.floating], outputs: NDArray[np.floating]) -> float:
    """NaN where the metric is undefined, or an output is not a number."""
    metric, least = score
    if len(np.unique(labels)) < least or not np.isfinite(outputs).all():
        return float("nan")
    return float(metric(labels, outputs))
