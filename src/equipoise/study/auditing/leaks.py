"""What holds the very target whose labels are to be judged, and their errors with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from equipoise.errors import UserError
from equipoise.problems.frames.columns import is_number
from equipoise.problems.table.targets import Target

PERFECT = 0.99999
"""Correlation from which one is the other in other units."""
LEAST = 20
"""Labels below which two columns may agree by chance."""
FIRST = 1_000
"""Labels that most columns are told from a target by."""


def check_columns(shown: pd.DataFrame, targets: Sequence[Target]) -> None:
    """Raise a :class:`UserError` if a column tells a target without one exception."""
    for target in targets:
        for name in shown.columns:
            if _tells(shown[name], target):
                raise UserError(
                    f"column {name!r} tells {target.name!r} without a single exception, so it "
                    "holds that target, and cannot tell which of its labels are wrong; name it "
                    "in `leave_out`"
                )


def copies(targets: Sequence[Target]) -> NDArray[np.bool_]:
    """Which targets are one another, or in other units, ``(targets, targets)``."""
    values = pd.DataFrame({place: target.values for place, target in enumerate(targets)})
    alike: NDArray[np.bool_] = values.corr(min_periods=LEAST).abs().to_numpy() > PERFECT
    np.fill_diagonal(alike, False)
    return alike


def _tells(column: pd.Series[Any], target: Target) -> bool:
    both = column.notna().to_numpy() & ~np.isnan(target.values)
    labels, values = target.values[both], column[both]
    found = _perfect(labels[:FIRST], values[:FIRST], target)
    return found and (len(labels) <= FIRST or _perfect(labels, values, target))


def _perfect(labels: NDArray[np.float64], values: pd.Series[Any], target: Target) -> bool:
    if len(labels) < LEAST or len(np.unique(labels)) < 2:
        return False
    if not target.classes:
        if not is_number(values) or values.nunique() < 3:
            return False
        ranks = (pd.Series(each).rank() for each in (values.to_numpy(float), labels))
        return abs(next(ranks).corr(next(ranks))) > PERFECT
    if is_number(values):
        # In the order of the column each class stands together, and no value has two classes.
        order = np.lexsort((labels, values.to_numpy(float)))
        changes = np.count_nonzero(np.diff(labels[order]))
        several = pd.Series(labels).groupby(values.to_numpy(float)).nunique().max() > 1
        return changes == len(np.unique(labels)) - 1 and not several
    # Names that are nearly as many as the rows would tell anything.
    of_value = pd.Series(labels, values.index).groupby(values).nunique()
    return len(of_value) < len(values) / 2 and bool((of_value == 1).all())
