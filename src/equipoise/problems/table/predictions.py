"""What networks say of new rows, in the words of a user's table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equipoise.problems.table.kinds import KINDS, Kind
from equipoise.problems.table.learned import Learned
from equipoise.problems.table.targets import Target

EXPECTED: dict[Kind, Callable[[Tensor], Tensor]] = {
    "regression": lambda outputs: outputs,
    "binary": torch.sigmoid,
    "multiclass": lambda logits: logits.softmax(-1),
}
"""Outputs of a network as what can be averaged over networks."""


def predicted(
    chunks: Sequence[Tensor],
    networks: Sequence[nn.Module],
    learned: Learned,
) -> pd.DataFrame:
    """What the networks predict together, a row a sample.

    Columns: of a number its mean over the networks; of a binary target the mean probability of
    the class that is 1; of a multiclass target the class of the highest mean probability, and that
    probability. Empty where a network overflows.

    Args:
        chunks: inputs, ``(rows, inputs)`` each.
        networks: they return ``Outputs``.
        learned: what they learned.
    """
    means = {kind: iter(part) for kind, part in _means(chunks, networks).items()}
    columns: dict[str, NDArray[Any]] = {}
    for target, middle, unit in zip(learned.targets, learned.centre, learned.scale, strict=True):
        mean = next(means[target.kind])
        cells = _classes(mean, target) if target.kind == "multiclass" else (middle + unit * mean,)
        columns |= zip(target.columns, cells, strict=True)
    return pd.DataFrame(columns)


def _classes(mean: NDArray[np.float64], target: Target) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The likeliest class of each row, and its probability."""
    top = mean.max(1)
    likeliest = np.array([*target.classes, None], object)
    return likeliest[np.where(np.isnan(top), -1, mean.argmax(1))], top


def _means(
    chunks: Sequence[Tensor], networks: Sequence[nn.Module]
) -> dict[Kind, NDArray[np.float64]]:
    """By kind ``(tasks, rows)``, of multiclass ``(tasks, rows, classes)``."""
    by_kind = defaultdict(list)
    for network in networks:
        for kind, outputs in _expected(chunks, network):
            by_kind[kind].append(outputs)
    return {
        kind: torch.stack(each).mean(0).transpose(0, 1).numpy() for kind, each in by_kind.items()
    }


def _expected(chunks: Sequence[Tensor], network: nn.Module) -> Iterator[tuple[Kind, Tensor]]:
    device = next(network.parameters()).device
    outputs = [network(chunk.to(device)) for chunk in chunks]
    for kind in KINDS:
        if kind in outputs[0]:
            yield kind, EXPECTED[kind](torch.cat([each[kind] for each in outputs]).cpu().double())
