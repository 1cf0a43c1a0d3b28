"""The losses of one step: names of tasks, every form in which losses come, and their means."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from equipoise.errors import near_match

__all__ = [
    "LossFunction",
    "Losses",
    "Mask",
    "loss_function",
    "present",
    "task_losses",
    "task_names",
]

Losses: TypeAlias = Tensor | Mapping[str, Tensor | None]
Mask: TypeAlias = Tensor | Mapping[str, Tensor]
LossFunction: TypeAlias = Callable[[nn.Module, Any], tuple[Tensor, Tensor | None]]
"""``losses(model, batch)`` → per-sample losses ``(samples, tasks)`` with their graph, and the
boolean mask ``(samples, tasks)`` of the labels present (``None`` if all are)."""

LOOKS = 3
"""Calls of :func:`task_losses` that look for a NaN behind the mask, which reads from the device."""

_looks = 0


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


def present(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels without their NaN, and which were there: for losses that can be differentiated.

    A loss computed on a NaN label is NaN, and masking it afterwards does not help: the gradient of
    what is masked is 0 × NaN. So fill the labels first, and mask then.

    Args:
        labels: of any shape and dtype, floating where some are missing: NaN there.

    Returns:
        The labels with 0 in place of NaN; and a boolean mask of their shape, false there.

    Example:
        >>> targets, mask = present(torch.tensor([[1.0, float("nan")]]))
        >>> targets, mask
        (tensor([[1., 0.]]), tensor([[ True, False]]))
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, found {type(labels).__name__}")
    mask = ~labels.isnan()
    return labels.masked_fill(~mask, 0), mask


def task_losses(losses: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Masked mean over the samples, for every task at once.

    .. math:: L_k = \\frac{\\sum_i m_{ik} l_{ik}}{\\sum_i m_{ik}}

    Args:
        losses: per-sample losses ``(samples, tasks)``. What stands where ``mask`` is false is
            ignored, and receives no gradient. But a NaN there that comes from a NaN label has made
            the gradient NaN before it gets here: see :func:`present`; the first calls warn of it.
        mask: labels present, boolean ``(samples, tasks)``; ``None`` if all are.

    Returns:
        Task losses ``(tasks,)``, 0 for a task without labels, in float32 if ``losses`` are of lower
        precision; and the number of labels of each task ``(tasks,)``, int64.

    Raises:
        ValueError: if the shapes are not as above.
    """
    if losses.ndim != 2:
        raise ValueError(f"losses must be (samples, tasks), found shape {tuple(losses.shape)}")
    dtype = torch.promote_types(losses.dtype, torch.float32)
    samples, tasks = losses.shape
    if mask is None:
        counts = torch.full((tasks,), samples, device=losses.device)
        return losses.sum(0, dtype=dtype) / max(samples, 1), counts
    _check_mask(mask, losses.shape)
    _look_behind(losses, mask)
    counts = mask.sum(0)
    sums = torch.where(mask, losses, 0).sum(0, dtype=dtype)
    return sums / counts.clamp(min=1), counts


def read_losses(
    losses: Losses,
    mask: Mask | None,
    tasks: tuple[str, ...],
    *,
    per_sample: bool,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Losses in one form, whichever they come in; every check of them is here.

    Args:
        losses: a tensor ``(tasks,)``, or by name scalars; per sample ``(samples, tasks)``, or by
            name ``(samples,)``. A key that is missing or ``None`` is an absent task.
        mask: which are present: boolean, in one of the same forms; ``None`` for all.
        tasks: the names, in the order of the columns; ``()`` for whatever there is.
        per_sample: which of the two it is.
        device: of the result where every task is absent.

    Returns:
        ``(tasks,)`` or ``(samples, tasks)``, and a boolean mask of that shape, or ``None`` if
        nothing is absent. Losses of absent tasks are 0.

    Raises:
        TypeError, ValueError: if something is not as above.
    """
    there = None
    if not isinstance(losses, Tensor) and isinstance(losses, Mapping):  # the latter alone is slow
        names = tasks or tuple(losses)
        if isinstance(mask, Mapping):
            _check_keys(mask, names)
        losses, there = _columns(losses, names, per_sample, device)
        if isinstance(mask, Mapping):
            mask = _mask_columns(mask, names, losses)
    if not isinstance(losses, Tensor) or not losses.is_floating_point():
        found = losses.dtype if isinstance(losses, Tensor) else type(losses).__name__
        raise TypeError(
            f"losses must be a floating tensor {_shape(tasks, per_sample)} or a mapping by task, "
            f"found {found}"
        )
    if losses.ndim != 1 + per_sample or (tasks and losses.shape[-1] != len(tasks)):
        mean = per_sample and losses.ndim < 2
        hint = ": take no mean over the samples (reduction='none')" if mean else ""
        raise ValueError(
            f"losses must be {_shape(tasks, per_sample)}, found {tuple(losses.shape)}{hint}"
        )
    if mask is not None:
        mask = _check_mask(mask, losses.shape)
        there = mask if there is None else mask & there
    return losses, there


def loss_function(
    losses: Callable[[nn.Module, Any], Any], tasks: tuple[str, ...] = ()
) -> LossFunction:
    """``losses(model, batch)`` in one form, whichever of these it gives.

    - a tensor ``(samples, tasks)``;
    - a mapping from names to tensors ``(samples,)``, where a key that is missing or ``None`` is a
      task without a label in this batch;
    - a pair of one of those and the labels present: boolean, in the same form, or ``None``.

    Args:
        losses: the function.
        tasks: the names, in order; ``()`` for the order of a mapping.

    Returns:
        A function that gives losses ``(samples, tasks)`` and the mask ``(samples, tasks)`` or
        ``None``, and raises ``TypeError`` or ``ValueError`` for anything else.
    """

    def read(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | None]:
        found = losses(model, batch)
        values, mask = found if isinstance(found, tuple) else (found, None)
        return read_losses(values, mask, tasks, per_sample=True)

    return read


def any_given(losses: Mapping[str, Tensor | None]) -> bool:
    """Whether there is a loss of any task."""
    return any(loss is not None for loss in losses.values())


def by_task(values: Tensor, tasks: tuple[str, ...]) -> dict[str, float]:
    """A tensor ``(tasks,)`` as a dict of floats by name. Reads from the device."""
    return dict(zip(tasks, values.tolist(), strict=True))


def _shape(tasks: tuple[str, ...], per_sample: bool) -> str:
    size = str(len(tasks)) if tasks else "tasks"
    return f"(samples, {size})" if per_sample else f"({size},)"


def _columns(
    losses: Mapping[str, Tensor | None],
    tasks: tuple[str, ...],
    per_sample: bool,
    device: torch.device | None,
) -> tuple[Tensor, Tensor | None]:
    """The losses by name side by side, and what is there: ``None`` for all."""
    _check_keys(losses, tasks)
    given = {name: loss for name, loss in losses.items() if loss is not None}
    for name, loss in given.items():
        _check_one(name, loss, per_sample)
    if not given:
        if per_sample:
            raise ValueError(
                f"there are no losses: give those of one task at least of {list(tasks)}"
            )
        # A step without any label still ends in loss.backward(): give it a graph.
        return (
            torch.zeros(len(tasks), device=device, requires_grad=True),
            torch.zeros(len(tasks), device=device, dtype=torch.bool),
        )
    sizes = {name: len(loss) for name, loss in given.items() if per_sample}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all tasks must have a loss for each sample, found {sizes}")
    if len(given) == len(tasks):
        return torch.stack([given[name] for name in tasks], -1), None
    # Filled on the device: a tensor from a Python list would be a transfer.
    like = next(iter(given.values())).detach()
    absent = torch.zeros_like(like)
    yes, no = (torch.full_like(like, value, dtype=torch.bool) for value in (True, False))
    return (
        torch.stack([given.get(name, absent) for name in tasks], -1),
        torch.stack([yes if name in given else no for name in tasks], -1),
    )


def _mask_columns(mask: Mapping[str, Tensor], tasks: tuple[str, ...], losses: Tensor) -> Tensor:
    """A mask by name side by side; a task without one has all its labels."""
    everything = torch.ones_like(losses[..., 0], dtype=torch.bool)
    for name, each in mask.items():
        _check_mask(each, everything.shape, f" of task {name!r}")
    return torch.stack([mask.get(name, everything) for name in tasks], -1)


def _check_keys(names: Iterable[str], tasks: tuple[str, ...]) -> None:
    for name in names:
        if name not in tasks:
            raise ValueError(
                f"there is no task {name!r}: {near_match(str(name), tasks)} If a batch can lack a "
                "task, name them all: tasks=[…]"
            )


def _check_one(name: str, loss: Any, per_sample: bool) -> None:
    if not isinstance(loss, Tensor):
        raise TypeError(f"the loss of task {name!r} must be a tensor, found {type(loss).__name__}")
    if loss.ndim != per_sample:
        form = "a tensor (samples,), one loss a sample" if per_sample else "a scalar"
        hint = "" if per_sample else "; take its mean over the samples"
        raise ValueError(
            f"the loss of task {name!r} must be {form}, found shape {tuple(loss.shape)}{hint}"
        )


def _check_mask(mask: Any, shape: torch.Size, of: str = "") -> Tensor:
    if not isinstance(mask, Tensor) or mask.shape != shape or mask.dtype != torch.bool:
        found = (
            f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        )
        raise ValueError(
            f"mask{of} must be boolean and of the shape of losses, {tuple(shape)}, found {found}"
        )
    return mask


def _look_behind(losses: Tensor, mask: Tensor) -> None:
    """Warn once of a NaN that the mask hides from the total and not from the gradient."""
    global _looks
    if _looks >= LOOKS or torch.compiler.is_compiling() or losses.is_meta:
        return
    _looks += 1
    if losses.requires_grad and bool((losses.isnan() & ~mask).any()):
        _looks = LOOKS
        warnings.warn(
            "a loss is NaN where its label is missing: the total does not show it, but the "
            "gradient of the network may be NaN (0 × NaN); fill the labels before the loss is "
            "computed: labels, mask = equipoise.present(labels)",
            stacklevel=3,
        )
