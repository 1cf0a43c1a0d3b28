"""Batches in a random order that can be taken up where it was left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from equipoise.problems.problem import Data
from equipoise.processes import processes, rank


class Batches:
    """Rows, drawn without replacement until none is left, and the batch of them, for ever.

    Of several processes each takes its share of the rows of a batch.

    Args:
        data: the samples.
        size: rows of a batch of all processes together, or all there are.
        seed: of the order.
        drop_last: whether rows that do not fill a batch are left out until the next epoch, as a
            small batch would be a judge of its own; else the last batch of an epoch is smaller.
    """

    def __init__(self, data: Data, size: int, seed: int, *, drop_last: bool = False) -> None:
        self.data = data
        self.size = min(size, len(data))
        self.least = self.size if drop_last else 1
        self.generator = torch.Generator().manual_seed(seed)
        self._shuffle()

    def __next__(self) -> tuple[Tensor, Any]:
        if self.taken + self.least > len(self.order):
            self._shuffle()
        rows = self.order[self.taken : self.taken + self.size]
        self.taken += len(rows)
        own = rows[rank() :: processes()]
        return own, self.data[own]

    def state_dict(self) -> dict[str, Any]:
        """The epoch's beginning, and how many rows of it are taken."""
        return {"epoch": self.epoch, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.generator.set_state(state["epoch"])
        self._shuffle()
        self.taken = state["taken"]

    def _shuffle(self) -> None:
        self.epoch = self.generator.get_state()
        self.order = torch.randperm(len(self.data), generator=self.generator)
        self.taken = 0


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors, wherever they are in it, on a device."""
    return tree_map_only(Tensor, lambda part: part.to(device), batch)
