"""How well a figure of every label tells clean labels from those that are known to be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score


def separation(values: npt.NDArray[np.floating[Any]], corrupted: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of values as a detector of clean labels; 0.5 is chance.

    The mean over the tasks that have wrong labels, as values of two tasks may differ for reasons
    of their own. Values that are NaN do not count; NaN if no task has both kinds left.

    Args:
        values: large where a label is taken for clean, ``(samples, tasks)``.
        corrupted: which labels are wrong, ``(samples, tasks)``.
    """
    known = ~np.isnan(values)
    columns = (
        (~wrong[there], value[there])
        for value, wrong, there in zip(values.T, corrupted.T, known.T, strict=True)
    )
    areas = [
        roc_auc_score(clean, value)
        for clean, value in columns
        if len(np.unique(clean)) == 2 and np.isfinite(value).all()
    ]
    return float(np.mean(areas)) if areas else float("nan")
