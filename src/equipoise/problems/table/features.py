"""Columns of features in a user's file: chosen, checked, and turned into numbers."""

from __future__ import annotations

from dataclasses import dataclass
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
from equipoise.problems.frames.columns import as_floats, distinct, is_number, some, type_of
from equipoise.problems.table.roles import Roles

RARE = 10
"""Training rows below which a category counts as infrequent."""
MANY = 0.5
"""The share of distinct values above which a column of text counts as ids."""
EXACT = 2**53
"""Whole numbers below which float64 tells all of them apart."""


@dataclass(frozen=True)
class Features:
    """The columns that a network sees."""

    numbers: list[str]
    """Columns of numbers."""
    categories: list[str]
    """Columns of categories."""
    notes: list[str]
    """How many there are, and what was left out."""

    @property
    def names(self) -> list[str]:
        """Of all columns."""
        return [*self.numbers, *self.categories]


def choose_features(frame: pd.DataFrame, roles: Roles, where: str) -> Features:
    """The columns that are named as features; without any all but those of other roles.

    Raises:
        UserError: if there is none, or one is constant, holds dates, or mixes numbers and text.
    """
    features, categorical = roles.features, roles.categorical
    left_out: dict[str, list[str]] = {}
    numbers: list[str] = []
    categories: list[str] = []
    for name in features or [name for name in frame.columns if name not in roles.others]:
        is_category = name in categorical or _type(frame[name], where) == "text"
        reason = _useless(frame[name], is_category and name not in categorical, where)
        if reason and features is None:
            left_out.setdefault(reason, []).append(name)
        elif reason == CONSTANT:
            raise UserError(
                f"`features`: column {name!r} of {where} has one value only; leave it out"
            )
        else:
            (categories if is_category else numbers).append(name)
    if not numbers and not categories:
        raise UserError(
            f"{where} has no column left to learn from; name columns with `features`, among "
            f"{some(frame.columns)}"
        )
    notes = [
        f"Features: {len(numbers):,} columns of numbers and {len(categories):,} of categories.",
        *(f"Left out: {reason}, {some(names)}." for reason, names in left_out.items()),
    ]
    return Features(numbers, categories, notes)


CONSTANT = "columns of one value"
TEXT_IDS = "columns of text that differs in most rows (`features` can name them)"
COUNTERS = "columns that number the rows (`features` can name them)"


def _useless(column: pd.Series[Any], is_text: bool, where: str) -> str | None:
    """Why a column is no use as a feature."""
    values = distinct(column, where)
    if values + column.hasnans <= 1:
        return CONSTANT
    if is_text:
        return TEXT_IDS if values > MANY * column.count() else None
    if is_integer_dtype(column.dtype) and values == len(column):
        return COUNTERS if int(column.max()) - int(column.min()) == len(column) - 1 else None
    return None


def _type(column: pd.Series[Any], where: str) -> str:
    found = type_of(column, where)
    if found == "dates":
        raise UserError(
            f"column {column.name!r} of {where} holds dates, which are no feature as they are. "
            "To train on the past and test on the future, name it as `time`. To learn from it, "
            "write what matters (month, weekday, days since an event) into columns of numbers. "
            "To ignore it, name it in `leave_out`"
        )
    if found == "numbers":
        as_floats(column, where)
    return found


@dataclass(frozen=True)
class Encoder:
    """From the columns of a table to what a network sees.

    A missing number becomes the median and is marked by a feature of its own; all are
    standardised. A missing category is a category; rare and unknown ones are one together.
    """

    columns: Features
    fitted: ColumnTransformer

    def encode(self, frame: pd.DataFrame, where: str) -> NDArray[np.float32]:
        """Inputs ``(rows, inputs)`` of rows whose index is their place in the table.

        Raises:
            UserError: if a number is out of all proportion.
        """
        with np.errstate(over="ignore"):
            inputs: NDArray[np.float32] = self.fitted.transform(
                _as_fitted(frame, self.columns, where)
            ).astype(np.float32)
        (far,) = np.nonzero(~np.isfinite(inputs).all(axis=1))
        if len(far):
            raise UserError(
                f"row {frame.index[far[0]] + 1} of {where} holds a number too far from those that "
                "are learned from; clean it"
            )
        return inputs

    def encode_new(self, frame: pd.DataFrame, where: str) -> NDArray[np.float32]:
        """Inputs ``(rows, inputs)`` of another table; columns that are no feature are ignored.

        Raises:
            UserError: if a column is missing, or one of numbers holds something else, or numbers
                out of all proportion.
        """
        for name in self.columns.names:
            if name not in frame.columns:
                raise UserError(
                    f"{where} has no column {name!r}, which the networks learned from; add it, "
                    "with empty cells where it is not known"
                )
        for name in self.columns.numbers:
            _check_numbers(frame[name], where)
        return self.encode(frame, where)


def fit_encoder(
    frame: pd.DataFrame, chosen: Features, train: NDArray[np.int64], where: str
) -> Encoder:
    """An encoder of the columns ``chosen``, fitted to the rows to train on."""
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
    return Encoder(chosen, encoder.fit(_as_fitted(frame.iloc[train], chosen, where)))


def _as_fitted(frame: pd.DataFrame, chosen: Features, where: str) -> pd.DataFrame:
    """Numbers in float64, categories as text, empty where missing."""
    numbers = {name: as_floats(frame[name], where) for name in chosen.numbers}
    texts = {name: _as_text(frame[name]) for name in chosen.categories}
    return pd.DataFrame({**numbers, **texts})


def _as_text(column: pd.Series[Any]) -> NDArray[Any]:
    """Categories by name; the same one whether its file holds it as text, number or truth value.

    What a file makes of a column depends on the other cells: 1 beside 3+ is text, beside 2 a
    number.
    """
    texts = column.astype("string").fillna("")
    numbers = pd.to_numeric(texts, errors="coerce").astype("Float64")
    exact = (numbers.abs() < EXACT).fillna(False)
    lower = texts.str.lower()
    texts = texts.mask(lower.isin(["true", "false"]), lower)
    return texts.mask(exact, numbers.astype("string")).to_numpy(object)


def _check_numbers(column: pd.Series[Any], where: str) -> None:
    present = column.dropna()
    if len(present) and not is_number(column):
        unlike = present[pd.to_numeric(present, errors="coerce").isna()]
        raise UserError(
            f"column {column.name!r} of {where} holds {[*unlike, *present][0]!r}, and the networks "
            "learned from numbers there; clean it, with an empty cell where a number is missing"
        )
    as_floats(column, where)
