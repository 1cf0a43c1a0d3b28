"""Columns of a user's table: found, and what each holds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import (
    infer_dtype,
    is_datetime64_any_dtype,
    is_numeric_dtype,
)

from equipoise.errors import UserError

DATE = r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(\D|$)"
LARGEST = 1e150
"""Of numbers: squares of them can still be added up in float64."""
MIXED = 0.1
"""The share of numbers from which a column of text counts as mixed."""

ColumnType: TypeAlias = Literal["numbers", "text", "dates"]


def type_of(column: pd.Series[Any], where: str) -> ColumnType:
    """What a column holds.

    Raises:
        UserError: if it mixes numbers and text, or holds something else.
    """
    if is_number(column):
        return "numbers"
    if is_datetime64_any_dtype(column.dtype):
        return "dates"
    present = column.dropna()
    found = infer_dtype(present)
    if found in ("date", "datetime"):
        return "dates"
    if found == "categorical" or present.empty:
        return "text"
    if found != "string":
        raise _neither(column, found, where)
    if present.str.match(DATE).all():
        return "dates"
    numbers = pd.to_numeric(present, errors="coerce").notna()
    if numbers.mean() >= MIXED:
        raise UserError(
            f"column {column.name!r} of {where} mixes numbers ({numbers.sum():,} cells, such as "
            f"{present[numbers].iloc[0]!r}) and text ({(~numbers).sum():,}, such as "
            f"{present[~numbers].iloc[0]!r}); clean it, with an empty cell where a number is "
            "missing, or say that it holds categories: a feature with `categorical`, a target with "
            f"`kinds`, as in {column.name}=multiclass"
        )
    return "text"


def is_number(column: pd.Series[Any]) -> bool:
    """Whether a column holds numbers that can be ordered."""
    return is_numeric_dtype(column.dtype) and column.dtype.kind != "c"


def distinct(column: pd.Series[Any], where: str) -> int:
    """The number of distinct values that are there.

    Raises:
        UserError: if they are lists or the like, which cannot be compared.
    """
    try:
        return int(column.nunique())
    except TypeError:
        raise _neither(column, infer_dtype(column.dropna()), where) from None


def as_floats(column: pd.Series[Any], where: str) -> NDArray[np.float64]:
    """Numbers in float64, NaN where missing.

    Raises:
        UserError: if one is infinite, or so large that its square is.
    """
    values = column.to_numpy(float, na_value=np.nan)
    if (np.abs(values) > LARGEST).any():
        what = "an infinite value" if np.isinf(values).any() else f"a value beyond {LARGEST:g}"
        raise UserError(
            f"column {column.name!r} of {where} has {what}; clean it, with an empty cell where a "
            "number is missing, or write it in other units"
        )
    return values


TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


def as_truth(column: pd.Series[Any], where: str) -> NDArray[np.bool_]:
    """Which cells say yes; empty ones say no.

    Raises:
        UserError: if one says neither.
    """
    told = column.astype("string").fillna("").str.strip().str.lower()
    unclear = ~told.isin([*TRUE, *FALSE])
    if unclear.any():
        raise UserError(
            f"column {column.name!r} of {where} must say 1 or 0, true or false, or yes or no, "
            f"found {column[unclear].iloc[0]!r}"
        )
    return told.isin(TRUE).to_numpy(bool)


def _neither(column: pd.Series[Any], found: str, where: str) -> UserError:
    return UserError(
        f"column {column.name!r} of {where} holds {found} values, such as {first_of(column)}, "
        "which are neither numbers nor text; make them so or leave the column out"
    )


def as_times(column: pd.Series[Any], where: str) -> NDArray[Any]:
    """Values that order the rows in time: numbers as they are, dates parsed.

    Raises:
        UserError: if a cell is empty or no time.
    """
    if column.isna().any():
        raise UserError(f"`time`: column {column.name!r} of {where} has empty cells; fill them")
    if type_of(column, where) == "numbers":
        return column.to_numpy(float)
    for form in ("ISO8601", "%d.%m.%Y"):
        times = pd.to_datetime(column, format=form, errors="coerce", utc=True)
        if times.notna().all():
            return times.astype("int64").to_numpy()
    raise UserError(
        f"`time`: column {column.name!r} of {where} is not all numbers or dates such as 2024-01-31 "
        f"(its first value is {first_of(column)}); write it so"
    )


def check_column(name: str, frame: pd.DataFrame, parameter: str, where: str) -> None:
    """Raise a :class:`UserError` if the column that a parameter names is not there."""
    if name not in frame.columns:
        near = difflib.get_close_matches(name, frame.columns, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {some(frame.columns)}"
        raise UserError(f"{parameter}: there is no column {name!r} in {where}; {hint}")


def first_of(column: pd.Series[Any]) -> str:
    """The first value of a column to read."""
    present = column.dropna()
    return repr(present.iloc[0]) if len(present) else "missing, as all others"


def some(names: Iterable[str], most: int = 10) -> str:
    """Names to read: where there are many, the first ones and how many more."""
    quoted = [repr(name) for name in names]
    more = len(quoted) - most
    return ", ".join(quoted[:most]) + (f" and {more:,} more" if more > 0 else "")
