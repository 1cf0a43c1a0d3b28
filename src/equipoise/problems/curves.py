"""Exact areas under curves, of labels 0 and 1 of which both occur.

They equal scikit-learn's, whose checks of its arguments take several times as long as the areas:
too long where there are hundreds of tasks.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def roc_auc(labels: Array, predictions: Array) -> float:
    """The area under the ROC curve of predictions ``(samples,)``, equal ones taken together."""
    hits, misses = _counts(labels, predictions)
    widths, steps = np.diff(misses, prepend=0), np.diff(hits, prepend=0)
    return float(widths @ (hits - steps / 2) / (hits[-1] * misses[-1]))


def average_precision(labels: Array, predictions: Array) -> float:
    """The mean of the precision over the labels that are 1, at the prediction of each."""
    hits, misses = _counts(labels, predictions)
    return float(np.diff(hits, prepend=0) @ (hits / (hits + misses)) / hits[-1])


def _counts(labels: Array, predictions: Array) -> tuple[Array, Array]:
    """How many labels are 1 and 0 from the highest prediction down to each distinct one."""
    order = np.argsort(-predictions, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(predictions[order])), len(order) - 1)
    hits = labels[order].cumsum(dtype=np.float64)[ends]
    return hits, 1 + ends - hits
