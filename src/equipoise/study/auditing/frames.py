"""Samples and labels that are given apart, as one table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from equipoise.errors import UserError

TRUSTED = "trusted"


def frame_of(
    samples: Any, labels: Any, trusted: Any
) -> tuple[pd.DataFrame, tuple[str, ...], str | None]:
    """The table, its columns to judge, and the one that says which rows are trusted.

    Raises:
        UserError: if they are not of the same samples, or two columns have one name.
    """
    features = _frame(samples, "samples", "x")
    targets = _frame(labels, "labels", "y")
    column = None if trusted is None else TRUSTED
    parts = [features, targets]
    if trusted is not None:
        parts.append(pd.DataFrame({TRUSTED: np.asarray(trusted, bool)}))
    sizes = {len(part) for part in parts}
    if len(sizes) > 1:
        raise UserError(
            f"there are {len(features):,} samples and {len(targets):,} rows of labels"
            + (f", and {len(parts[-1]):,} of `trusted`" if column else "")
        )
    whole = pd.concat([part.reset_index(drop=True) for part in parts], axis=1)
    twice = whole.columns[whole.columns.duplicated()]
    if len(twice):
        raise UserError(f"samples and labels both have a column {twice[0]!r}: rename one of them")
    return whole, tuple(targets.columns), column


def _frame(values: Any, what: str, letter: str) -> pd.DataFrame:
    """A data frame of a data frame, a series or an array; columns without a name get one."""
    if isinstance(values, pd.Series):
        values = values.to_frame(letter if values.name is None else str(values.name))
    if isinstance(values, pd.DataFrame):
        return values.set_axis(list(map(str, values.columns)), axis=1)
    array = np.asarray(values)
    if array.ndim not in (1, 2):
        raise UserError(f"{what} must have one or two dimensions, found {array.ndim}")
    if array.ndim == 1:
        return pd.DataFrame({letter: array})
    return pd.DataFrame(array, columns=[f"{letter}{place}" for place in range(array.shape[1])])
