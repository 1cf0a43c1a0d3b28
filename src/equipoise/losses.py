"""The losses of one step: names of tasks, and from per-sample losses to task losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from equipoise.errors import near_match


def task_names(tasks: int | Iterable[str]) -> tuple[str, ...]:
    """Names of the tasks, from their number (``"0"``, ``"1"``, …) or from the names themselves.

    Raises:
        TypeError: if ``tasks`` is neither a number nor names.
        ValueError: if there is no task, or a name is empty or occurs twice.
    """
    if isinstance(tasks, (bool, str)) or not isinstance(tasks, (int, Iterable)):
        raise TypeError(f"tasks must be a number of tasks or a list of names, found {tasks!r}")
    if isinstance(tasks, int):
        names: tuple[str, ...] = tuple(str(index) for index in range(tasks))
    else:
        names = tuple(tasks)
    if not names:
        raise ValueError(f"at least one task is needed, found {tasks!r}")
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"names of tasks must be strings, found {name!r}")
        if not name.strip():
            raise ValueError(f"the name of task {position} is empty")
    duplicates = [name for name, times in Counter(names).items() if times > 1]
    if duplicates:
        raise ValueError(f"names of tasks occur twice: {', '.join(map(repr, duplicates))}")
    return names


def task_losses(losses: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Masked mean over the samples, for every task at once.

    .. math:: L_k = \\frac{\\sum_i m_{ik} l_{ik}}{\\sum_i m_{ik}}

    Args:
        losses: per-sample losses ``(samples, tasks)``. What stands where ``mask`` is false is
            ignored, NaN too, and receives no gradient.
        mask: labels present, boolean ``(samples, tasks)``; ``None`` if all are.

    Returns:
        Task losses ``(tasks,)``, 0 for a task without labels, in float32 if ``losses`` are of lower
        precision; and the number of labels of each task ``(tasks,)``, int64.

    Raises:
        ValueError: if the shapes are not as above.
    """
    if losses.ndim != 2:
        raise ValueError(f"losses must be (samples, tasks), found shape {tuple(losses.shape)}")
    if mask is None:
        mask = torch.ones_like(losses, dtype=torch.bool)
    elif mask.shape != losses.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"mask must be boolean and of the shape of losses, {tuple(losses.shape)}, "
            f"found {mask.dtype} {tuple(mask.shape)}"
        )
    counts = mask.sum(0)
    dtype = torch.promote_types(losses.dtype, torch.float32)
    sums = torch.where(mask, losses, 0).sum(0, dtype=dtype)
    return sums / counts.clamp(min=1), counts


def stack_losses(
    losses: Mapping[str, Tensor | None], tasks: tuple[str, ...], device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """A mapping from names to scalar losses as a tensor ``(tasks,)`` in the order of ``tasks``.

    A key that is missing or ``None`` is an absent task: its entry is 0, and false in the boolean
    mask ``(tasks,)`` that comes second (``None`` where no task is absent). ``device`` is used
    where every task is absent.

    Raises:
        TypeError: if a loss is not a tensor.
        ValueError: if a key is not a task, or a loss not a scalar.
    """
    for name in losses:
        if name not in tasks:
            raise ValueError(f"there is no task {name!r}: {near_match(str(name), tasks)}")
    present = {name: _scalar(name, loss) for name, loss in losses.items() if loss is not None}
    if len(present) == len(tasks):
        return torch.stack([present[name] for name in tasks]), None
    if not present:
        # A step without any label still ends in loss.backward(): give it a graph.
        return (
            torch.zeros(len(tasks), device=device, requires_grad=True),
            torch.zeros(len(tasks), device=device, dtype=torch.bool),
        )
    like = next(iter(present.values())).detach()
    # Filled on the device: a tensor from a Python list would be a transfer.
    absent, yes, no = (
        like.new_full((), value, dtype=dtype)
        for value, dtype in ((0, like.dtype), (True, torch.bool), (False, torch.bool))
    )
    return (
        torch.stack([present.get(name, absent) for name in tasks]),
        torch.stack([yes if name in present else no for name in tasks]),
    )


def _scalar(name: str, loss: Tensor) -> Tensor:
    if not isinstance(loss, Tensor):
        raise TypeError(f"the loss of task {name!r} must be a tensor, found {type(loss).__name__}")
    if loss.ndim:
        raise ValueError(
            f"the loss of task {name!r} must be a scalar, found shape {tuple(loss.shape)}; "
            "take its mean over the samples"
        )
    return loss


def by_task(values: Tensor, tasks: tuple[str, ...]) -> dict[str, float]:
    """A tensor ``(tasks,)`` as a dict of floats by name. Reads from the device."""
    return dict(zip(tasks, values.tolist(), strict=True))
