"""Samples with all their labels, as an audit looks at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from equipoise.problems.table.targets import Target

_Kind = TypeVar("_Kind", bound=np.generic)

ON_TABLES = ("boosting",)
"""Models that take minutes on pixels, and find nothing there that a network does not."""
HELD_OUT = "held out"
"""The name of the part that judges."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Every sample that has a label, whichever part of a problem it is in."""

    inputs: NDArray[np.float32]
    """What models learn from, ``(samples, inputs)``, all finite."""
    targets: Sequence[Target]
    """The labels as they are given, ``(samples,)`` each."""
    rows: NDArray[np.int64]
    """Place of each sample in the user's file, from 1 and without the header."""
    shown: pd.DataFrame
    """What a person is shown of each sample, such as the columns of its row."""
    groups: NDArray[np.int64] | None = None
    """A number for each sample, equal where they belong together, such as one molecule's rows."""
    trusted: NDArray[np.bool_] | None = None
    """Which samples have labels that are known to be right."""
    main: str | None = None
    """The target that decides."""
    held_out: NDArray[np.bool_] | None = None
    """Which samples are held out to judge, by their labels of the main target."""
    wrong: NDArray[np.bool_] | None = None
    """Which labels are known to be wrong, ``(samples, targets)``; of made-up noise."""
    pictures: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None
    """Samples at indices as pictures ``(samples, height, width, 1 or 3)``."""
    network: Callable[[int], nn.Module] | None = None
    """From a number of outputs to a network on ``inputs``, where one serves better than trees."""
    without: tuple[str, ...] = ()
    """Models of an audit that take long on such inputs and tell little."""

    def of(self, samples: NDArray[np.int64], targets: Sequence[int]) -> Labelled:
        """Some of the samples with some of the targets, without pictures and a network."""

        def some(column: NDArray[_Kind] | None) -> NDArray[_Kind] | None:
            return None if column is None else column[samples]

        return replace(
            self,
            inputs=self.inputs[samples],
            targets=[
                replace(self.targets[place], values=self.targets[place].values[samples])
                for place in targets
            ],
            rows=self.rows[samples],
            shown=self.shown.iloc[samples],
            groups=some(self.groups),
            trusted=some(self.trusted),
            held_out=some(self.held_out),
            wrong=None if self.wrong is None else self.wrong[samples][:, list(targets)],
            pictures=None,
            network=None,
        )


def labelled_parts(
    parts: Mapping[str, TensorDataset],
    targets: Callable[[NDArray[np.float64]], Sequence[Target]],
    corrupted: Mapping[str, Tensor],
    *,
    main: str | None,
    network: Callable[[int], nn.Module] | None = None,
    drawn: bool = False,
) -> Labelled:
    """The samples of all parts, one after the other.

    Args:
        parts: inputs and labels ``(samples, tasks)`` of each part, by name; training first.
        targets: from all labels to targets.
        corrupted: which labels are wrong, of parts by name; none of the others.
        main: the target that decides, by which the part "held out" judges.
        network: from a number of outputs to a network on pictures, which inputs are then,
            ``(samples, channels, height, width)`` and uint8.
        drawn: whether the problem is made up, so that all other labels are known to be right.
    """
    tensors = [part.tensors for part in parts.values()]
    inputs, labels = (torch.cat(each) for each in zip(*tensors, strict=True))
    sizes = [len(each) for each, _ in tensors]
    right = torch.zeros_like(labels, dtype=torch.bool)
    pairs = zip(parts, torch.split(right, sizes), strict=True)
    wrong = torch.cat([corrupted.get(part, none) for part, none in pairs]).numpy()
    pictures, on_inputs = None, None
    if network is not None:
        pictures = inputs.movedim(1, -1).numpy()
        on_inputs = partial(_on_rows, network, inputs.shape[1:])
    return Labelled(
        inputs=inputs.flatten(1).numpy().astype(np.float32),
        targets=targets(labels.double().numpy()),
        rows=np.arange(1, len(inputs) + 1),
        shown=pd.DataFrame(
            {
                "part": np.repeat(list(parts), sizes),
                "sample": np.concatenate([np.arange(size) for size in sizes]),
            }
        ),
        main=main,
        held_out=np.repeat([part == HELD_OUT for part in parts], sizes),
        wrong=wrong if drawn or wrong.any() else None,
        pictures=None if pictures is None else pictures.__getitem__,
        network=on_inputs,
        without=() if network is None else ON_TABLES,
    )


def _on_rows(network: Callable[[int], nn.Module], shape: torch.Size, outputs: int) -> nn.Module:
    """A network on pictures that lie as rows."""
    return nn.Sequential(nn.Unflatten(1, shape), network(outputs))
