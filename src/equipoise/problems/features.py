"""Columns of features in a user's file: chosen, checked, and turned into numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_integer_dtype
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from equipoise.errors import UserError
from equipoise.problems.columns import check_column, some, type_of

RARE = 10
"""Training rows below which a category counts as infrequent."""
MANY = 0.5
"""The share of distinct values above which a column of text counts as ids."""


@dataclass(frozen=True)
class Features:
    """The columns that a network sees."""

    numbers: list[str]
    """Columns of numbers."""
    categories: list[str]
    """Columns of categories."""
    notes: list[str]
    """What was left out."""


def choose_features(
    frame: pd.DataFrame,
    features: Sequence[str] | None,
    categorical: Sequence[str],
    excluded: Collection[str],
    data: Path,
) -> Features:
    """The columns that ``features`` names; without it all but those ``excluded`` and useless ones.

    Raises:
        UserError: if there is none, or one is constant, holds dates, or mixes numbers and text.
    """
    for name in features or ():
        check_column(name, frame, "--features", data)
    for name in categorical:
        check_column(name, frame, "--categorical", data)
    left_out: dict[str, list[str]] = {}
    numbers: list[str] = []
    categories: list[str] = []
    for name in features or [name for name in frame.columns if name not in excluded]:
        is_category = name in categorical or _type(frame[name], data) == "text"
        reason = _useless(frame[name], is_category and name not in categorical)
        if reason and features is None:
            left_out.setdefault(reason, []).append(name)
        elif reason == CONSTANT:
            raise UserError(
                f"--features: column {name!r} of {data} has one value only; leave it out"
            )
        else:
            (categories if is_category else numbers).append(name)
    if not numbers and not categories:
        raise UserError(
            f"{data} has no column left to learn from; name columns with --features, among "
            f"{some(frame.columns)}"
        )
    notes = [f"Left out: {reason}, {some(names)}." for reason, names in left_out.items()]
    return Features(numbers, categories, notes)


CONSTANT = "columns of one value"
TEXT_IDS = "columns of text that differs in most rows (--features can name them)"
COUNTERS = "columns that number the rows (--features can name them)"


def _useless(column: pd.Series[Any], is_text: bool) -> str | None:
    """Why a column is no use as a feature."""
    distinct = column.nunique()
    if distinct + column.hasnans <= 1:
        return CONSTANT
    if is_text:
        return TEXT_IDS if distinct > MANY * column.count() else None
    if is_integer_dtype(column.dtype) and distinct == len(column):
        return COUNTERS if int(column.max()) - int(column.min()) == len(column) - 1 else None
    return None


def _type(column: pd.Series[Any], data: Path) -> str:
    found = type_of(column, data)
    if found == "dates":
        raise UserError(
            f"column {column.name!r} of {data} holds dates, which are no feature as they are. "
            f"To train on the past and test on the future: --time {column.name}. To learn from it, "
            "write what matters (month, weekday, days since an event) into columns of numbers. "
            f"To ignore it: --leave-out {column.name}"
        )
    if found == "numbers" and np.isinf(as_floats(column)).any():
        raise UserError(
            f"column {column.name!r} of {data} has an infinite value; features are finite numbers "
            "or empty cells"
        )
    return found


def encode(frame: pd.DataFrame, chosen: Features, train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Inputs ``(rows, features)``, fitted to the rows to train on.

    A missing number becomes the median and is marked by a feature of its own; all are
    standardised. A missing category is a category; rare and unknown ones are one together.
    """
    numbers = {name: as_floats(frame[name]) for name in chosen.numbers}
    texts = {name: frame[name].astype("string").fillna("") for name in chosen.categories}
    table = pd.DataFrame(
        {**numbers, **{name: text.to_numpy(object) for name, text in texts.items()}}
    )
    encoder = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
                    StandardScaler(),
                ),
                chosen.numbers,
            ),
            (
                "categories",
                OneHotEncoder(
                    handle_unknown="infrequent_if_exist", min_frequency=RARE, sparse_output=False
                ),
                chosen.categories,
            ),
        ]
    )
    encoder.fit(table.iloc[train])
    inputs: NDArray[np.float32] = encoder.transform(table).astype(np.float32)
    return inputs


def as_floats(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Numbers in float64, NaN where missing."""
    return column.to_numpy(float, na_value=np.nan)
