"""Columns to learn in a user's table, and the kind of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from equipoise.errors import UserError, near_match
from equipoise.problems.frames.columns import (
    as_floats,
    check_column,
    distinct,
    first_of,
    is_number,
    some,
    type_of,
)
from equipoise.problems.table.kinds import KINDS, Kind

MOST_GRADES = 10
"""Whole numbers of more distinct values are measured, not classes."""


@dataclass(frozen=True, eq=False)
class Target:
    """A column to learn."""

    name: str
    kind: Kind
    values: NDArray[np.float64]
    """Numbers, or indices of classes; NaN where missing."""
    classes: tuple[str, ...] = ()
    """The classes, in order; none where numbers are predicted."""

    def named(self, values: NDArray[np.float64]) -> list[str | float | None]:
        """Labels as the user has them, ``None`` where missing."""
        return [
            None if np.isnan(value) else self.classes[int(value)] if self.classes else value
            for value in values.tolist()
        ]

    @property
    def columns(self) -> list[str]:
        """Names of the columns that its predictions are in."""
        if self.kind == "regression":
            return [self.name]
        if self.kind == "binary":
            return [f"{self.name} probability of {self.classes[1]}"]
        return [self.name, f"{self.name} probability"]


def read_targets(
    frame: pd.DataFrame, names: Sequence[str], kinds: Sequence[str], where: str
) -> list[Target]:
    """The targets, those of a kind together; kinds are told from the columns unless given.

    Raises:
        UserError: if a column is not there, or cannot be learned so.
    """
    for name in names:
        check_column(name, frame, "`targets`", where)
        if names.count(name) > 1:
            raise UserError(f"`targets` names {name!r} more than once")
    given = _given_kinds(kinds, names)
    _check_varied(frame[list(names)], where)
    targets = [_target(frame[name], given.get(name), where) for name in names]
    return sorted(targets, key=lambda target: KINDS.index(target.kind))


def _given_kinds(kinds: Sequence[str], targets: Sequence[str]) -> Mapping[str, Kind]:
    given = {}
    for each in kinds:
        name, equals, kind = each.rpartition("=")
        if not equals:
            raise UserError(f"`kinds`: {each!r} is not of the form NAME=KIND, such as price=binary")
        if name not in targets:
            raise UserError(f"`kinds`: {name!r} is not a target: {near_match(name, targets)}")
        if kind not in KINDS:
            raise UserError(f"`kinds`: there is no kind {kind!r}: {near_match(kind, KINDS)}")
        given[name] = kind
    return given


def _check_varied(labels: pd.DataFrame, where: str) -> None:
    constant = [name for name in labels.columns if distinct(labels[name], where) < 2]
    if constant:
        raise UserError(
            f"nothing can be learned of columns of {where} that have one value only or none, "
            f"{some(constant)}: leave them out of `targets`"
        )


def _target(column: pd.Series[Any], kind: Kind | None, where: str) -> Target:
    kind = kind or _kind_of(column, where)
    name = str(column.name)
    if kind == "regression":
        return Target(name, kind, _numbers(column, where))
    codes, found = pd.factorize(column, sort=True)
    _check_classes(column, kind, len(found), where)
    values = np.where(codes < 0, np.nan, codes)
    return Target(name, kind, values, tuple(map(str, found)))


def _kind_of(column: pd.Series[Any], where: str) -> Kind:
    found = type_of(column, where)
    if found == "dates":
        raise UserError(
            f"`targets`: column {column.name!r} of {where} holds dates; write what is to be "
            "predicted, such as days since an event, into a column of numbers"
        )
    classes = column.nunique()
    if classes == 2:
        return "binary"
    if found == "text":
        return "multiclass"
    values = column.dropna().to_numpy(float)
    whole = classes <= MOST_GRADES and (values == np.floor(values)).all()
    return "multiclass" if whole else "regression"


def _numbers(column: pd.Series[Any], where: str) -> NDArray[np.float64]:
    if not is_number(column):
        raise UserError(
            f"column {column.name!r} of {where} is to be predicted as a number and holds "
            f"{first_of(column)}; clean it, or give it another kind with `kinds`"
        )
    return as_floats(column, where)


def _check_classes(column: pd.Series[Any], kind: Kind, classes: int, where: str) -> None:
    name, rows = column.name, column.count()
    if kind == "binary" and classes != 2:
        raise UserError(
            f"`kinds`: column {name!r} of {where} has {classes:,} values, and a binary target has 2"
        )
    if 2 * classes > rows and classes > 2:
        raise UserError(
            f"column {name!r} of {where} has {classes:,} classes in {rows:,} rows, as an id or "
            "free text has: leave it out of `targets`, or merge its values into fewer classes"
            + (
                f", or learn it as a number with `kinds`, as in {name}=regression"
                if is_number(column)
                else ""
            )
        )
