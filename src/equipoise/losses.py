"""The losses of one step: names of tasks, and from per-sample losses to task losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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


def loss_function(
    losses: Callable[[nn.Module, Any], Any], tasks: tuple[str, ...] | None = None
) -> Callable[[nn.Module, Any], tuple[Tensor, Tensor | None]]:
    """``losses(model, batch)`` in one form, whichever of these it gives.

    - a tensor ``(samples, tasks)``;
    - a mapping from names to tensors ``(samples,)``, where a key that is missing or ``None`` is a
      task without a label in this batch;
    - a pair of one of those and the labels present: boolean, in the same form, or ``None``.

    Args:
        losses: the function.
        tasks: the names, in order; ``None`` for the order of a mapping.

    Returns:
        A function that gives losses ``(samples, tasks)`` and the mask ``(samples, tasks)`` or
        ``None``, and raises ``TypeError`` or ``ValueError`` for anything else.
    """

    def normalised(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | None]:
        found = losses(model, batch)
        values, mask = found if isinstance(found, tuple) else (found, None)
        if isinstance(values, Mapping):
            names = tuple(values) if tasks is None else tasks
            values, mask = _by_columns(values, mask, names)
        _check_samples(values, mask, tasks)
        return values, mask

    return normalised


def _by_columns(
    values: Mapping[str, Tensor | None],
    mask: Mapping[str, Tensor] | None,
    tasks: tuple[str, ...],
) -> tuple[Tensor, Tensor | None]:
    for name in [*values, *(mask or ())]:
        if name not in tasks:
            raise ValueError(f"there is no task {name!r}: {near_match(str(name), tasks)}")
    present = {name: value for name, value in values.items() if value is not None}
    for name, value in present.items():
        if not isinstance(value, Tensor) or value.ndim != 1:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"the losses of task {name!r} must be a tensor (samples,), one loss a sample, "
                f"found {found}"
            )
    if not present:
        raise ValueError(f"there are no losses: give those of one task at least of {list(tasks)}")
    sizes = {name: len(value) for name, value in present.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all tasks must have a loss for each sample, found {sizes}")
    like = next(iter(present.values())).detach()
    columns = torch.stack([present.get(name, torch.zeros_like(like)) for name in tasks], 1)
    if mask is None and len(present) == len(tasks):
        return columns, None
    everything, nothing = (torch.full_like(like, each, dtype=torch.bool) for each in (True, False))
    given = mask or {}
    return columns, torch.stack(
        [given.get(name, everything) if name in present else nothing for name in tasks], 1
    )


def _check_samples(values: Any, mask: Any, tasks: tuple[str, ...] | None) -> None:
    size = "tasks" if tasks is None else len(tasks)
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim != 2:
        found = (
            f"{values.dtype} {tuple(values.shape)}"
            if isinstance(values, Tensor)
            else type(values).__name__
        )
        raise ValueError(
            f"losses must be floating (samples, {size}), one loss for each sample of each task, or "
            f"by name (samples,), found {found}: take no mean over the samples (reduction='none')"
        )
    if tasks is not None and values.shape[1] != len(tasks):
        raise ValueError(f"losses must be (samples, {size}), found {tuple(values.shape)}")
    if mask is not None and (
        not isinstance(mask, Tensor) or mask.shape != values.shape or mask.dtype != torch.bool
    ):
        found = (
            f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        )
        raise ValueError(
            f"mask must be boolean and of the shape of losses, {tuple(values.shape)}, found {found}"
        )


def by_task(values: Tensor, tasks: tuple[str, ...]) -> dict[str, float]:
    """A tensor ``(tasks,)`` as a dict of floats by name. Reads from the device."""
    return dict(zip(tasks, values.tolist(), strict=True))
