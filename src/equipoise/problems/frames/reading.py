"""A user's file or data frame, read as one table: a row a line."""

from __future__ import annotations

import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_object_dtype

from equipoise.errors import UserError
from equipoise.problems.frames.columns import some

PARQUET = (".parquet", ".pq")

Source: TypeAlias = Path | pd.DataFrame
"""Where rows come from."""


def called(data: Source) -> str:
    """What messages call it."""
    return "the data frame" if isinstance(data, pd.DataFrame) else str(data)


def read_frame(data: Source) -> pd.DataFrame:
    """The rows of a data frame, or of a CSV or Parquet file (``.parquet`` or ``.pq``).

    A CSV file is in UTF-8, gzipped or not. A blank line is a row without a value, so that rows are
    lines. Numbers that no integer type holds become float64.

    Raises:
        UserError: if it cannot be read, has no rows, or two columns of one name.
    """
    if isinstance(data, pd.DataFrame):
        _check_repeated(pd.Index(map(str, data.columns)), called(data))
        frame = data.reset_index(drop=True).set_axis(list(map(str, data.columns)), axis=1)
        frame = frame.convert_dtypes()
    elif Path(data).suffix.lower() in PARQUET:
        frame = _read_parquet(Path(data))
    else:
        frame = _read_csv(Path(data))
    if frame.empty:
        raise UserError(f"{called(data)} has no rows below the names of its columns")
    return _without_large_integers(frame, called(data))


def _read_csv(data: Path) -> pd.DataFrame:
    try:
        # Read on its own, since pandas renames what occurs twice.
        header = pd.read_csv(
            data,
            header=None,
            nrows=1,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=False,
        ).iloc[0]
        _check_header(header, data)
        frame = pd.read_csv(
            data,
            low_memory=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            dtype_backend="numpy_nullable",
        )
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {data} as a CSV file: it is not in UTF-8 ({error}); save it so"
        ) from error
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {data} as a CSV file: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise UserError(f"{data} has rows with more cells than columns; give each column a name")
    return frame


def _check_header(header: pd.Series[str], data: Path) -> None:
    if (header == "").all():
        raise UserError(f"{data} begins with a blank line; begin it with the names of the columns")
    if header.str.contains("\0").any():
        raise UserError(f"cannot read {data} as a CSV file: it has bytes that are no text")
    _check_repeated(pd.Index(header[header != ""]), str(data))


def _read_parquet(data: Path) -> pd.DataFrame:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f"{data} needs one more package ({error}): pip install 'equipoise[table]'"
        ) from error
    try:
        table = parquet.ParquetFile(data).read()
        _check_repeated(pd.Index(table.column_names), str(data))
        # An index that pandas stored is a column as any other.
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True).convert_dtypes()
    except (OSError, ArrowException) as error:
        raise UserError(f"cannot read {data} as a Parquet file: {error}") from error
    return frame


def _check_repeated(names: pd.Index[Any], where: str) -> None:
    repeated = names[names.duplicated()]
    if len(repeated):
        raise UserError(
            f"{where} has more than one column {some(repeated.unique())}; rename all but one"
        )


def _without_large_integers(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Columns of Python's integers or decimals as floats."""
    found = {
        name: _as_floats(column, where)
        for name, column in frame.items()
        if is_object_dtype(column.dtype)
        and infer_dtype(column.dropna()) in ("integer", "decimal", "mixed-integer-float")
    }
    return frame.assign(**{str(name): column for name, column in found.items()})


def _as_floats(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    def as_float(value: int | float | Decimal) -> float:
        try:
            return float(value)
        except OverflowError:
            raise UserError(
                f"column {column.name!r} of {where} has a number beyond what floats can hold; "
                "clean it, or write it in other units"
            ) from None

    values = [np.nan if pd.isna(value) else as_float(value) for value in column]
    return pd.Series(values, column.index, dtype="Float64", name=column.name)
