"""What the processes of a distributed run have together; of one process, what it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def of_first(value: Any) -> Any:
    """What the first process has, on all of them."""
    if processes() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def of_all(value: Any) -> list[Any]:
    """What each process has."""
    values = [value] * processes()
    if processes() > 1:
        dist.all_gather_object(values, value)
    return values


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same on each."""
    if processes() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total


def whole_batch(losses: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Losses and label counts ``(tasks,)`` of the batches of all processes taken together.

    A loss of the whole batch is the mean of the processes' losses weighed by their counts. One
    all-reduce of ``2 × tasks`` numbers, which every process must join, also one without any label.
    A non-finite loss of any process stays non-finite. With one process nothing is done.
    """
    if processes() == 1:
        return losses, counts
    losses = losses.to(torch.promote_types(losses.dtype, torch.float32))
    labels = losses.new_ones(()) if counts is None else counts.to(losses.dtype)
    labels = labels.expand_as(losses)
    total, labels = summed(torch.stack([torch.where(labels > 0, losses * labels, 0), labels]))
    return total / torch.where(labels > 0, labels, 1), labels


def gathered(parts: Sequence[Tensor]) -> tuple[Sequence[Tensor], slice]:
    """The rows ``(samples, …)`` of all processes one after another, and where our own are.

    Args:
        parts: tensors of one shape, of each of which the rows are gathered.

    Two all-gathers, which every process must join. Reads the sizes from the device.
    """
    if processes() == 1:
        return parts, slice(None)
    rows = torch.stack(list(parts), 1)
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(processes())]
    dist.all_gather(sizes, own)
    counts = [int(size) for size in sizes]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    found = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(found, padded)
    first = sum(counts[: rank()])
    together = torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])
    return together.unbind(1), slice(first, first + len(rows))
