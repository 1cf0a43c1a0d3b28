"""A user's file or data frame, read as one table: a row a line."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from equipoise.errors import UserError, reason_of
from equipoise.problems.frames.columns import some

PARQUET = (".parquet", ".pq")
LINES: dict[str, Any] = {"skipinitialspace": True, "skip_blank_lines": False}
"""How pandas is to read those of a CSV file."""

Source: TypeAlias = Path | pd.DataFrame
"""Where rows come from."""


def called(data: Source) -> str:
    """What messages call it."""
    return "the data frame" if isinstance(data, pd.DataFrame) else str(data)


def read_frame(data: Source) -> pd.DataFrame:
    """The rows of a data frame, or of a CSV or Parquet file (``.parquet`` or ``.pq``).

    A CSV file is in UTF-8, gzipped or not. A blank line is a row without a value, so that rows are
    lines. Numbers that no integer type holds become float64, and so does text that is numbers in
    each cell.

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
    return frame.assign(**dict(_as_numbers(frame, called(data))))


def _read_csv(data: Path) -> pd.DataFrame:
    try:
        # Read on its own, since pandas renames what occurs twice.
        names: dict[str, Any] = {"header": None, "nrows": 1, "dtype": str, "keep_default_na": False}
        _check_header(pd.read_csv(data, **LINES, **names).iloc[0], data)
        frame: pd.DataFrame = pd.read_csv(
            data, **LINES, low_memory=False, dtype_backend="numpy_nullable"
        )
    except pd.errors.EmptyDataError as error:
        raise UserError(
            f"cannot read {data} as a CSV file: it begins with a blank line, or has none; the "
            "first line must hold the names of the columns"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"cannot read {data} as a CSV file: it is not in UTF-8 ({error}); save it so"
        ) from error
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {data} as a CSV file: {reason_of(error)}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise UserError(f"{data} has rows with more cells than columns; give each column a name")
    return frame


def _check_header(header: pd.Series[str], data: Path) -> None:
    if header.str.contains("\0").any():
        raise UserError(f"cannot read {data} as a CSV file: it has NUL bytes, which are no text")
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
        raise UserError(f"cannot read {data} as a Parquet file: {reason_of(error)}") from error
    return frame


def _check_repeated(names: pd.Index[Any], where: str) -> None:
    repeated = names[names.duplicated()]
    if len(repeated):
        raise UserError(
            f"{where} has more than one column {some(repeated.unique())}; rename all but one"
        )


def _as_numbers(frame: pd.DataFrame, where: str) -> Iterator[tuple[str, pd.Series[Any]]]:
    """The columns of numbers that pandas takes for something else, as floats.

    These are integers beyond 64 bits, decimals, and text in which each cell is a number.
    """
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind == "O":
            present = column.dropna()
            found = infer_dtype(present)
            if found in ("integer", "decimal", "mixed-integer-float"):
                yield name, _as_floats(column, where)
            elif found == "string" and len(present):
                if present.str.contains("\0", regex=False).any():
                    raise UserError(
                        f"column {name!r} of {where} has NUL bytes, which are no text; the file is "
                        "damaged"
                    )
                if pd.to_numeric(present, errors="coerce").notna().all():
                    yield name, _as_floats(column, where)


def _as_floats(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    try:
        values = [np.nan if pd.isna(value) else float(value) for value in column]
    except OverflowError:
        raise UserError(
            f"column {column.name!r} of {where} has a number beyond what floats can hold; clean "
            "it, or write it in other units"
        ) from None
    return pd.Series(values, column.index, dtype="Float64", name=column.name)
