"""Tables as text that a spreadsheet opens without running any of it."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""How a text begins that a spreadsheet takes for a formula."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def csv_text(frame: pd.DataFrame) -> str:
    """A table without its index as CSV; texts that look like formulas get an apostrophe first.

    Texts that are plain numbers stay. Line breaks in texts become line feeds.
    """
    plain = frame.set_axis([_plain(name) for name in frame.columns], axis="columns")
    for place, kind in enumerate(plain.dtypes):
        if not is_numeric_dtype(kind):
            texts = [_plain(cell) for cell in plain.iloc[:, place]]
            plain.isetitem(place, texts)
    return plain.to_csv(index=False, lineterminator="\n")


def _plain(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    # The writer quotes line feeds only, but readers end a row at a carriage return too.
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    formula = text.startswith(FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if formula else text
