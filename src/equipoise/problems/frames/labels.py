"""Labels of a user's table, ``(rows, tasks)`` with NaN where missing: which can be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import UserError
from equipoise.problems.parts import Rows

Floats = NDArray[np.float64]

HELD_OUT = "Rows held out for the weightings of samples, trained on by no method"
"""What a note says of them."""
UNLEARNABLE = "Left out: targets without two different labels in the training part"


def learnable(
    labels: Floats, names: Sequence[str], train: Rows, main: str | None, where: str
) -> NDArray[np.bool_]:
    """Which tasks have two different labels in the training part.

    Raises:
        UserError: if none has, or the main task has not.
    """
    known = labels[train]
    there = ~np.isnan(known)
    most = np.where(there, known, -np.inf).max(0, initial=-np.inf)
    least = np.where(there, known, np.inf).min(0, initial=np.inf)
    found: NDArray[np.bool_] = most > least
    if not found.any():
        raise UserError(
            f"no target in {where} has two different labels among the rows to train on; choose "
            "others with `targets`, or another split"
        )
    if main in names and not found[names.index(main)]:
        raise UserError(
            f"`main`: nothing can be learned of {main!r}, which has no two different labels among "
            f"the rows of {where} to train on; choose another task, or another split"
        )
    return found


def standardised(
    labels: Floats, names: Sequence[str], train: Rows, numbers: NDArray[np.bool_], where: str
) -> tuple[Floats, Floats, Floats]:
    """Labels standardised by the training part where they are numbers.

    Args:
        labels: ``(rows, tasks)``.
        names: of the tasks.
        train: rows of the training part.
        numbers: which tasks are numbers ``(tasks,)``; the others stay as they are.
        where: what the labels are of.

    Returns:
        Labels ``(rows, tasks)``, and mean and standard deviation ``(tasks,)``, or 0 and 1.

    Raises:
        UserError: if numbers are so small that their squares are 0.
    """
    centre, scale = np.zeros(len(numbers)), np.ones(len(numbers))
    known = labels[train][:, numbers]
    centre[numbers], scale[numbers] = np.nanmean(known, 0), np.nanstd(known, 0)
    if not scale.all():
        raise UserError(
            f"column {names[int(scale.argmin())]!r} of {where} has numbers too close together to "
            "be standardised; write it in other units"
        )
    return (labels - centre) / scale, centre, scale


def counted(counts: Mapping[str, int]) -> list[str]:
    """A note of each thing of which there is any, and how often."""
    return [f"{what}: {count:,}." for what, count in counts.items() if count]
