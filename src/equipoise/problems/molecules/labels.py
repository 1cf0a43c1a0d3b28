"""Columns of labels in a user's table of molecules: chosen, checked, and of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import pandas as pd
from pandas.api.types import is_integer_dtype

from equipoise.errors import UserError
from equipoise.problems.frames.columns import as_floats, check_column, first_of, is_number, some
from equipoise.problems.scores import OVERALL

Kind: TypeAlias = Literal["binary", "regression"]


def read_labels(
    frame: pd.DataFrame, targets: Sequence[str] | None, where: str
) -> tuple[pd.DataFrame, list[str]]:
    """Labels in float64, a column a target and NaN where missing; notes of columns left out."""
    if targets is None:
        targets, notes = _columns_of_numbers(frame)
    else:
        _check_targets(frame, targets, where)
        notes = []
    if not targets:
        raise UserError(
            f"{where} has no column of numbers to learn; name columns with `targets`, "
            f"among {some(frame.columns)}"
        )
    if OVERALL in targets:
        raise UserError(
            f"no target can be called {OVERALL!r}, which stands for all of them; rename that "
            f"column of {where}"
        )
    return pd.DataFrame({name: as_floats(frame[name], where) for name in targets}), notes


def _columns_of_numbers(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The columns of numbers but ids, and notes of the others."""
    # A blank line makes an id no label.
    filled = frame.dropna(how="all")
    text = [name for name in frame.columns if not is_number(frame[name])]
    ids = [
        name
        for name in frame.columns
        if is_integer_dtype(filled[name]) and filled[name].notna().all() and filled[name].is_unique
    ]
    notes = []
    if text:
        notes.append(f"Left out: columns that are not all numbers, {some(text)}.")
    if ids:
        notes.append(
            f"Left out as ids: columns of integers that differ in every row, {some(ids)}; "
            "`targets` can name them."
        )
    return [name for name in frame.columns if name not in {*text, *ids}], notes


def _check_targets(frame: pd.DataFrame, targets: Sequence[str], where: str) -> None:
    for name in targets:
        check_column(name, frame, "`targets`", where)
        if targets.count(name) > 1:
            raise UserError(f"`targets` names {name!r} more than once")
        if not is_number(frame[name]):
            raise UserError(
                f"`targets`: column {name!r} of {where} is not all numbers (its first value is "
                f"{first_of(frame[name])}); leave it out or clean it"
            )


def kind_of(labels: pd.DataFrame, kind: Literal["auto", "binary", "regression"]) -> Kind:
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
            "labels are 0 or 1; give regression as `kind`, or leave it out of `targets`"
        )
    if kind != "auto":
        return kind
    # A column of one value does not tell.
    told = labels.min() < labels.max()
    binary = labels.columns[told & ~not_binary]
    numbers = labels.columns[told & not_binary]
    if len(binary) and len(numbers):
        raise UserError(
            f"columns mix binary labels ({some(binary)}) and other numbers ({some(numbers)}); "
            "choose columns of one kind with `targets`, or learn all with regression as `kind`"
        )
    return "regression" if len(numbers) else "binary"
