"""The labels that an estimator is given, as targets of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from equipoise.errors import UserError
from equipoise.problems.parts import Rows
from equipoise.problems.table.kinds import Kind
from equipoise.problems.table.targets import Target

Column: TypeAlias = NDArray[Any]


def names_of(labels: Any, size: int) -> list[str]:
    """Names of the targets: those of a data frame or series, or y0, y1 and so on."""
    if isinstance(labels, pd.DataFrame):
        return list(map(str, labels.columns))
    if isinstance(labels, pd.Series) and labels.name is not None:
        return [str(labels.name)]
    return [f"y{place}" for place in range(size)]


def columns_of(labels: Column) -> list[Column]:
    """The labels of each target, of ``(samples,)`` or ``(samples, targets)``."""
    return list(labels[None] if labels.ndim == 1 else labels.T)


def class_target(name: str, column: Column) -> tuple[Target, Column]:
    """A target whose labels are classes, and these classes as they are given, in order.

    Raises:
        UserError: if the labels cannot be ordered.
        ValueError: from scikit-learn, if they are no classes.
    """
    missing = pd.isna(column)
    present = column[~missing]
    try:
        classes, codes = np.unique(present, return_inverse=True)
    except TypeError as error:
        raise UserError(
            f"target {name!r} of y mixes labels that cannot be put in order: write all of them as "
            "text, or all as numbers"
        ) from error
    if len(classes):
        # Of an array of objects scikit-learn cannot tell.
        check_classification_targets(np.array(present.tolist()))
    values = np.full(len(column), np.nan)
    values[~missing] = codes
    kind: Kind = "binary" if len(classes) == 2 else "multiclass"
    return Target(name, kind, values, tuple(map(str, classes.tolist()))), classes


def check_learnable(targets: Sequence[Target], rows: Rows) -> None:
    """Raise a :class:`UserError` unless each target has two different labels in these rows."""
    for target in targets:
        if len(np.unique(target.values[rows][~np.isnan(target.values[rows])])) < 2:
            what = "numbers" if target.kind == "regression" else "classes"
            raise UserError(
                f"target {target.name!r} of y must have two different {what} among the "
                f"{len(rows):,} rows to train on: leave it out, or give more rows"
            )
