"""A direction as one tensor, which a module can keep as a buffer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from equipoise.directional.sharding import local_part


def flattened(direction: Sequence[Tensor]) -> Tensor:
    """All parts one after the other: of sharded ones what this process holds.

    Args:
        direction: tensors of any shapes, floating dtypes and devices.

    Returns:
        ``(entries,)`` of a dtype that holds each of theirs, on the device of the first.
    """
    parts = [local_part(part.detach()).flatten() for part in direction]
    dtype = reduce(torch.promote_types, [part.dtype for part in parts])
    return torch.cat([part.to(parts[0].device, dtype) for part in parts])


def unflattened(flat: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The direction that :func:`flattened` gave, bit for bit.

    Args:
        flat: what it gave.
        parameters: those that the direction belongs to.

    Returns:
        A tensor for each of ``parameters``, of its shape, dtype, device and sharding.

    Raises:
        ValueError: if ``flat`` belongs to other parameters.
    """
    direction = [torch.empty_like(parameter, requires_grad=False) for parameter in parameters]
    places = [local_part(part) for part in direction]
    sizes = [place.numel() for place in places]
    if flat.shape != (sum(sizes),):
        raise ValueError(
            f"a direction in these parameters has {sum(sizes)} entries, found shape "
            f"{tuple(flat.shape)}"
        )
    for place, part in zip(places, torch.split(flat, sizes), strict=True):
        place.copy_(part.view_as(place))
    return direction
