"""Columns of a user's file: read, found, checked, and said what was left out."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import (
    infer_dtype,
    is_datetime64_any_dtype,
    is_integer_dtype,
    is_numeric_dtype,
)

from equipoise.errors import UserError
from equipoise.problems.problem import OVERALL

PARQUET = (".parquet", ".pq")
DATE = r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(\D|$)"
MIXED = 0.1
"""The share of numbers from which a column of text counts as mixed."""

ColumnType: TypeAlias = Literal["numbers", "text", "dates"]


def read_table(data: Path) -> pd.DataFrame:
    """The rows of a CSV file, gzipped or not, or of a Parquet file (``.parquet`` or ``.pq``).

    Raises:
        UserError: if it cannot be read, has no rows, or two columns of one name.
    """
    frame = _read_parquet(data) if data.suffix.lower() in PARQUET else _read_csv(data)
    if frame.empty:
        raise UserError(f"{data} has no rows below the names of its columns")
    return frame


def _read_csv(data: Path) -> pd.DataFrame:
    try:
        # Read on its own, since pandas renames what occurs twice.
        header = pd.read_csv(
            data, header=None, nrows=1, dtype=str, keep_default_na=False, skipinitialspace=True
        ).iloc[0]
        frame = pd.read_csv(
            data, low_memory=False, skipinitialspace=True, dtype_backend="numpy_nullable"
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"cannot read {data} as a CSV file: {error}") from error
    _check_repeated(header[header != ""], data)
    if not isinstance(frame.index, pd.RangeIndex):
        raise UserError(f"{data} has rows with more cells than columns; give each column a name")
    return frame


def _read_parquet(data: Path) -> pd.DataFrame:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f"{data} needs one more package ({error}): pip install 'equipoise[table]'"
        ) from error
    try:
        table = parquet.ParquetFile(data).read()
        _check_repeated(pd.Series(table.column_names), data)
        # An index that pandas stored is a column as any other.
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True).convert_dtypes()
    except (OSError, ArrowException) as error:
        raise UserError(f"cannot read {data} as a Parquet file: {error}") from error
    return frame


def _check_repeated(names: pd.Series[str], data: Path) -> None:
    repeated = names[names.duplicated()]
    if len(repeated):
        raise UserError(
            f"{data} has more than one column {some(repeated.unique())}; rename all but one"
        )


def type_of(column: pd.Series[Any], data: Path) -> ColumnType:
    """What a column holds.

    Raises:
        UserError: if it mixes numbers and text, or holds something else.
    """
    if is_numeric_dtype(column.dtype):
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
        raise UserError(
            f"column {column.name!r} of {data} holds {found} values, such as {present.iloc[0]!r}, "
            "which are neither numbers nor text; make them so or leave the column out"
        )
    if present.str.match(DATE).all():
        return "dates"
    numbers = pd.to_numeric(present, errors="coerce").notna()
    if numbers.mean() >= MIXED:
        raise UserError(
            f"column {column.name!r} of {data} mixes numbers ({numbers.sum():,} cells, such as "
            f"{present[numbers].iloc[0]!r}) and text ({(~numbers).sum():,}, such as "
            f"{present[~numbers].iloc[0]!r}); clean it, with an empty cell where a number is "
            "missing, or say that it holds categories: --categorical for a feature, "
            "--kinds NAME=multiclass for a target"
        )
    return "text"


def as_times(column: pd.Series[Any], data: Path) -> NDArray[Any]:
    """Values that order the rows in time: numbers as they are, dates parsed.

    Raises:
        UserError: if a cell is empty or no time.
    """
    if column.isna().any():
        raise UserError(f"--time: column {column.name!r} of {data} has empty cells; fill them")
    if type_of(column, data) == "numbers":
        return column.to_numpy(float)
    for form in ("ISO8601", "%d.%m.%Y"):
        times = pd.to_datetime(column, format=form, errors="coerce", utc=True)
        if times.notna().all():
            return times.astype("int64").to_numpy()
    raise UserError(
        f"--time: column {column.name!r} of {data} is not all numbers or dates such as 2024-01-31 "
        f"(its first value is {column.iloc[0]!r}); write it so"
    )


def check_column(name: str, frame: pd.DataFrame, option: str, data: Path) -> None:
    """Raise a :class:`UserError` if the column that an option names is not there."""
    if name not in frame.columns:
        near = difflib.get_close_matches(name, frame.columns, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {some(frame.columns)}"
        raise UserError(f"{option}: there is no column {name!r} in {data}; {hint}")


def read_labels(
    frame: pd.DataFrame, targets: Sequence[str] | None, data: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Labels in float64, a column a target and NaN where missing; notes of columns left out."""
    if targets is None:
        targets, notes = _columns_of_numbers(frame)
    else:
        _check_targets(frame, targets, data)
        notes = []
    if not targets:
        raise UserError(
            f"{data} has no column of numbers to learn; name columns with --targets, "
            f"among {some(frame.columns)}"
        )
    if OVERALL in targets:
        raise UserError(
            f"no target can be called {OVERALL!r}, which stands for all of them; rename that "
            f"column of {data}"
        )
    values = frame[list(targets)].to_numpy(float, na_value=np.nan)
    labels = pd.DataFrame(values, columns=list(targets))
    infinite = labels.columns[np.isinf(values).max(axis=0)]
    if len(infinite):
        raise UserError(
            f"column {infinite[0]!r} of {data} has an infinite value; labels are finite numbers "
            "or empty cells"
        )
    return labels, notes


def _columns_of_numbers(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The columns of numbers but ids, and notes of the others."""
    text = [name for name in frame.columns if not is_numeric_dtype(frame[name])]
    ids = [
        name
        for name in frame.columns
        if is_integer_dtype(frame[name]) and frame[name].notna().all() and frame[name].is_unique
    ]
    notes = []
    if text:
        notes.append(f"Left out: columns that are not all numbers, {some(text)}.")
    if ids:
        notes.append(
            f"Left out as ids: columns of integers that differ in every row, {some(ids)}; "
            "--targets can name them."
        )
    return [name for name in frame.columns if name not in {*text, *ids}], notes


def _check_targets(frame: pd.DataFrame, targets: Sequence[str], data: Path) -> None:
    for name in targets:
        check_column(name, frame, "--targets", data)
        if targets.count(name) > 1:
            raise UserError(f"--targets names {name!r} more than once")
        if not is_numeric_dtype(frame[name]):
            raise UserError(
                f"--targets: column {name!r} of {data} is not all numbers (its first value is "
                f"{frame[name].dropna().iloc[0]!r}); leave it out or clean it"
            )


def kind_of(
    labels: pd.DataFrame, kind: Literal["auto", "binary", "regression"]
) -> Literal["binary", "regression"]:
    """The kind of all columns of labels, unless it is given.

    Raises:
        UserError: if they are of both kinds, or not of the kind that is given.
    """
    other = labels.notna() & ~labels.isin([0, 1])
    not_binary = other.any()
    if kind == "binary" and not_binary.any():
        name = not_binary.idxmax()
        raise UserError(
            f"column {name!r} has the value {labels[name][other[name]].iloc[0]:g}, and binary "
            "labels are 0 or 1; use --kind regression, or leave it out of --targets"
        )
    if kind != "auto":
        return kind
    # A column of one value does not tell.
    told = varied(labels)
    binary = labels.columns[told & ~not_binary]
    numbers = labels.columns[told & not_binary]
    if len(binary) and len(numbers):
        raise UserError(
            f"columns mix binary labels ({some(binary)}) and other numbers ({some(numbers)}); "
            "choose columns of one kind with --targets, or learn all with --kind regression"
        )
    return "regression" if len(numbers) else "binary"


def varied(labels: pd.DataFrame) -> NDArray[np.bool_]:
    """Which columns have two different labels."""
    return (labels.min() < labels.max()).to_numpy()


def some(names: Iterable[str], most: int = 10) -> str:
    """Names to read: where there are many, the first ones and how many more."""
    quoted = [repr(name) for name in names]
    more = len(quoted) - most
    return ", ".join(quoted[:most]) + (f" and {more:,} more" if more > 0 else "")
