"""Training samples set apart, for weightings that ask held-out samples what helps."""

from __future__ import annotations

import torch

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
            f"{'train on' if size else 'hold out'}; give another share"
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).numpy()
    chosen = order < size
    return train[~chosen], train[chosen]
