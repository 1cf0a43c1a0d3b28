"""Training samples set apart, for weightings that ask held-out samples what helps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from equipoise.errors import UserError
from equipoise.problems.splits import Rows


def hold_out(train: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Training indices as those left to train on and a random share that is held out, in order.

    Raises:
        UserError: if the share is not between 0 and 1, or leaves one of the two empty.
    """
    if not 0 < share < 1:
        raise UserError(f"--held-out must be a share between 0 and 1, found {share}")
    size = round(share * len(train))
    if not 0 < size < len(train):
        raise UserError(
            f"--held-out {share} of {len(train):,} training samples leaves none to "
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


def labelled_in(labels: pd.DataFrame, main: str | None) -> NDArray[np.bool_]:
    """Which rows have a label of the main task: none, if there is no such task."""
    if main not in labels:
        return np.zeros(len(labels), bool)
    present: NDArray[np.bool_] = labels[main].notna().to_numpy()
    return present
