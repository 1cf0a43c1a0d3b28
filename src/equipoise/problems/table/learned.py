"""What is learned of a table: the targets that can be, with their numbers standardised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import UserError
from equipoise.problems.frames.labels import learnable, standardised
from equipoise.problems.parts import Rows
from equipoise.problems.table.targets import Target


@dataclass(frozen=True, eq=False)
class Learned:
    """Targets, those of a kind together, and their labels."""

    targets: list[Target]
    labels: NDArray[np.float64]
    """``(rows, tasks)``: standardised numbers, indices of classes; NaN where missing."""
    centre: NDArray[np.float64]
    """Mean of each target that is a number, in its units, else 0."""
    scale: NDArray[np.float64]
    """Standard deviation of each, else 1."""
    left_out: list[str]
    """Targets without two different labels in the training part."""

    @property
    def names(self) -> list[str]:
        """Of the targets."""
        return [target.name for target in self.targets]


def learn(found: Sequence[Target], train: Rows, main: str | None, where: str) -> Learned:
    """The targets with two different labels in the training part, standardised by it.

    Raises:
        UserError: if there is none, the main one is not among them, or predictions of two would
            have one name.
    """
    values, names = np.stack([target.values for target in found], 1), [each.name for each in found]
    known = learnable(values, names, train, main, where)
    targets = [found[index] for index in np.flatnonzero(known).tolist()]
    _check_columns(targets, where)
    labels, centre, scale = standardised(
        values[:, known],
        [target.name for target in targets],
        train,
        np.array([target.kind == "regression" for target in targets]),
        where,
    )
    left_out = [names[index] for index in np.flatnonzero(~known).tolist()]
    return Learned(targets, labels, centre, scale, left_out)


def _check_columns(targets: Sequence[Target], where: str) -> None:
    owners: dict[str, str] = {}
    for target in targets:
        for column in target.columns:
            if column in owners:
                raise UserError(
                    f"predictions of the columns {owners[column]!r} and {target.name!r} of {where} "
                    f"would both be called {column!r}: rename one of the two"
                )
            owners[column] = target.name
