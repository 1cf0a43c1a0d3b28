"""Training labels made wrong on purpose, and a record of which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from equipoise.errors import UserError

Noisy: TypeAlias = Literal["main", "all"]
"""Whose labels are made wrong: the main task's, or every task's."""


def draw_corrupted(
    samples: int,
    tasks: Sequence[str],
    main: str,
    noise: float,
    noisy: Noisy,
    generator: torch.Generator,
    *,
    exact: bool = False,
) -> Tensor:
    """Which labels to make wrong: each with probability ``noise``, boolean ``(samples, tasks)``.

    With ``exact`` exactly that share of the labels of a task, rounded down.

    The numbers that decide are drawn whatever the noise: those of a smaller noise are among those
    of a larger one, and the main task's are the same whether or not the others have any.

    Raises:
        UserError: if ``noise`` is no probability.
    """
    if not 0 <= noise <= 1:
        raise UserError(f"`noise` must be from 0 to 1, found {noise}")
    affected = torch.tensor([noisy == "all" or task == main for task in tasks])
    numbers = torch.rand(samples, len(tasks), generator=generator)
    if exact:
        return (numbers.argsort(0).argsort(0) < int(round(noise * samples, 6))) & affected
    return (numbers < noise) & affected


def noise_notes(corrupted: Tensor, tasks: Sequence[str]) -> list[str]:
    """A sentence that counts the wrong labels ``(samples, tasks)``; none where there are none."""
    counts = zip(tasks, corrupted.sum(0).tolist(), strict=True)
    wrong = [f"{task} {count:,}" for task, count in counts if count]
    if not wrong:
        return []
    return [f"Training labels made wrong, of {len(corrupted):,} each: {', '.join(wrong)}."]
