"""Which rows are for what: to train on, to choose on, to test, and held out for weightings.

Eight tenths are to train on, one is to choose on and one to test; of those to train on some are set
apart for weightings that ask held-out samples what helps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from equipoise.errors import UserError

LEAST_OF_A_STRATUM = 10
"""Rows without which a tenth of them is nothing."""

Rows: TypeAlias = NDArray[np.int64]


class Samples(NamedTuple):
    """The samples of each part."""

    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset
    held_out: TensorDataset | None
    """``None`` where none are."""


@dataclass(frozen=True)
class Parts:
    """The rows of each part."""

    train: Rows
    validation: Rows
    test: Rows
    held_out: Rows

    def judged_by(self, rows: Rows) -> Parts:
        """The same with these rows held out, whichever part they were in."""
        train, validation, test = (
            part[~np.isin(part, rows)] for part in (self.train, self.validation, self.test)
        )
        return Parts(train, validation, test, rows)

    def samples(self, inputs: NDArray[Any], labels: NDArray[np.float64]) -> Samples:
        """The samples of inputs and labels ``(rows, tasks)``: see :func:`samples_of`."""
        train, validation, test, held_out = (
            samples_of(inputs[rows], labels[rows])
            for rows in (self.train, self.validation, self.test, self.held_out)
        )
        return Samples(train, validation, test, held_out if len(self.held_out) else None)


def parted(
    split: tuple[Rows, Rows, Rows],
    groups: NDArray[np.int64],
    useful: NDArray[np.bool_],
    share: float,
    seed: int,
) -> Parts:
    """A split with held-out rows where a share is asked for: see :func:`hold_out_groups`."""
    train, validation, test = split
    held_out = train[:0]
    if share and useful[train].any():
        train, held_out = hold_out_groups(train, groups, useful, share, seed)
    return Parts(train, validation, test, held_out)


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


def hold_out(train: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Training indices as those left to train on and a random share that is held out, in order.

    Raises:
        UserError: if the share is not between 0 and 1, or leaves one of the two empty.
    """
    if not 0 < share < 1:
        raise UserError(f"`held_out` must be a share between 0 and 1, found {share}")
    size = round(share * len(train))
    if not 0 < size < len(train):
        raise UserError(
            f"`held_out`: a share of {share} of {len(train):,} training samples leaves none to "
            f"{'train on' if size else 'hold out'}; give another share, or 0 to hold out none"
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).numpy()
    chosen = order < size
    return train[~chosen], train[chosen]


def hold_out_groups(
    train: Rows, groups: NDArray[np.int64], useful: NDArray[np.bool_], share: float, seed: int
) -> tuple[Rows, Rows]:
    """The same by whole groups: a share of those that hold a useful row, and of it those rows.

    Args:
        train: indices of rows.
        groups: the group of every row.
        useful: whether a row tells anything, such as by a label of the main task.
        share: of the groups.
        seed: of the choice.

    Raises:
        UserError: as :func:`hold_out`.
    """
    _, chosen = hold_out(np.unique(groups[train][useful[train]]), share, seed)
    held = np.isin(groups[train], chosen)
    return train[~held], train[held & useful[train]]


def samples_of(inputs: NDArray[Any], labels: NDArray[np.float64]) -> TensorDataset:
    """Inputs as they are, labels ``(samples, tasks)`` in float32, and the mask of those present.

    A missing label is NaN in ``labels``, and 0 here where the mask is false.
    """
    return TensorDataset(
        torch.from_numpy(inputs),
        torch.from_numpy(np.nan_to_num(labels).astype(np.float32)),
        torch.from_numpy(~np.isnan(labels)),
    )


def _shuffled(size: int, seed: int) -> Rows:
    order: Rows = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).numpy()
    return order


def _codes(values: NDArray[Any]) -> Rows:
    """Values as 0, 1, …, in the order in which they occur."""
    _, first, code = np.unique(values, return_index=True, return_inverse=True)
    found: Rows = np.argsort(np.argsort(first))[code]
    return found
