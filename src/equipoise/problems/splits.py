"""Which rows to train on, to choose on and to test: eight tenths, one and one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

LEAST_OF_A_STRATUM = 10
"""Rows without which a tenth of them is nothing."""

Rows: TypeAlias = NDArray[np.int64]


def strata(columns: Iterable[NDArray[np.int64]], size: int) -> Rows:
    """The stratum of each row: rows alike in all columns, as far as there are enough of them.

    Column by column, each stratum is parted by the column's values; what has fewer than ten rows
    stays together as one stratum.
    """
    found = np.zeros(size, np.int64)
    for column in columns:
        _, parted, counts = np.unique(
            np.stack([found, column]), axis=1, return_inverse=True, return_counts=True
        )
        rare = counts[parted] < LEAST_OF_A_STRATUM
        found = _codes(np.where(rare, found, found.max() + 1 + parted))
    return found


def split_at_random(stratum: Rows, seed: int) -> tuple[Rows, Rows, Rows]:
    """Random rows, of each stratum a tenth each for validation and test."""
    order = _shuffled(len(stratum), seed)
    order = order[np.argsort(stratum[order], kind="stable")]
    # Every tenth row of the shuffled strata, laid end to end.
    place = np.arange(len(order)) % 10
    return order[place > 1], order[place == 0], order[place == 1]


def split_by_group(groups: NDArray[Any], seed: int) -> tuple[Rows, Rows, Rows]:
    """Whole groups at random; groups that are large for a tenth are the last to be held out."""
    group = _codes(groups)
    sizes = np.bincount(group)
    held = max(len(group) // 10, 1)
    order = _shuffled(len(sizes), seed)
    order = order[np.argsort(sizes[order] <= held / 2, kind="stable")]
    # From the end of that order groups go to the test until it has a tenth, then to validation.
    rows = np.append(0, sizes[order][::-1].cumsum())
    test = int(np.searchsorted(rows, held))
    validation = int(np.searchsorted(rows, rows[test] + held))
    from_end = np.empty_like(order)
    from_end[order[::-1]] = np.arange(len(order))
    place = from_end[group]
    ordered = np.argsort(-place, kind="stable")
    first, second = (int((place >= end).sum()) for end in (validation, test))
    return ordered[:first], ordered[first:second], ordered[second:]


def split_by_time(times: NDArray[Any]) -> tuple[Rows, Rows, Rows]:
    """The earliest rows to train on, the latest to test; rows of one time stay together."""
    order = np.argsort(times, kind="stable")
    held = max(len(order) // 10, 1)
    ordered = times[order]
    test = int(np.searchsorted(ordered, ordered[-held]))
    validation = int(np.searchsorted(ordered, ordered[max(test - held, 0)]))
    return order[:validation], order[validation:test], order[test:]


def _shuffled(size: int, seed: int) -> Rows:
    order: Rows = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).numpy()
    return order


def _codes(values: NDArray[Any]) -> Rows:
    """Values as 0, 1, …, in the order in which they occur."""
    _, first, code = np.unique(values, return_index=True, return_inverse=True)
    found: Rows = np.argsort(np.argsort(first))[code]
    return found
