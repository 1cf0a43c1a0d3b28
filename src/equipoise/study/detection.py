"""How well a figure of every label tells clean labels from those that are known to be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

Values = npt.NDArray[np.floating[Any]]


def separation(
    values: Values,
    corrupted: npt.NDArray[np.bool_],
    classes: npt.NDArray[np.int64] | None = None,
) -> float:
    """Area under the ROC curve of values as a detector of clean labels; 0.5 is chance.

    Within labels of one class where there are classes, over all its pairs of a clean and a wrong
    label: else a detector of rare classes, whose labels are wrong more often, would do well. The
    mean over the tasks that have wrong labels, as values of two tasks may differ for reasons of
    their own. Values that are NaN do not count; NaN if no task has both kinds left.

    Args:
        values: large where a label is taken for clean, ``(samples, tasks)``.
        corrupted: which labels are wrong, ``(samples, tasks)``.
        classes: of the labels as they are given, ``(samples, tasks)``.
    """
    strata = np.zeros(values.shape, np.int64) if classes is None else classes
    areas = [
        _area(value[there], ~wrong[there], stratum[there])
        for value, wrong, stratum, there in zip(
            values.T, corrupted.T, strata.T, ~np.isnan(values.T), strict=True
        )
        if np.isfinite(value[there]).all()
    ]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def _area(value: Values, clean: npt.NDArray[np.bool_], stratum: npt.NDArray[np.int64]) -> float:
    """The share of pairs of a clean and a wrong label of one stratum that are told right."""
    right = pairs = 0.0
    for each in np.unique(stratum):
        own = stratum == each
        number = float(clean[own].sum() * (~clean[own]).sum())
        if number:
            right += number * roc_auc_score(clean[own], value[own])
            pairs += number
    return right / pairs if pairs else float("nan")
