"""What the weightings of tasks share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from equipoise.directional import Shared, gradient_norms
from equipoise.losses import by_task, stack_losses, task_names
from equipoise.step import Step

Losses: TypeAlias = Tensor | Mapping[str, Tensor | None]
Initial: TypeAlias = Sequence[float] | Mapping[str, float] | Tensor


class TaskWeighting(nn.Module):
    r"""Task losses in, the scalar :math:`\sum_k w_k L_k` out, the weights constants to autograd.

    In training mode a call updates the weights first, after ``.eval()`` it uses them as they are.
    All state is in ``state_dict()``. A method subclasses :class:`LossWeighting` or
    :class:`GradientWeighting`, and says in ``_update`` how its weights follow.

    Args:
        tasks: number of tasks, or their names.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``. Their sum is the
            sum of the weights of those methods that normalise.
        nonfinite: what to do about a loss that is NaN or infinite. It never enters a statistic.
            ``"propagate"``: the scalar shows it. ``"raise"``: a ``FloatingPointError`` names the
            task (this reads from the device at every call).

    Attributes:
        tasks: the names.
        passes: extra passes that a step costs, for people to read.
        needs: what the method asks of a step, for people to read.
        source: where the method comes from.
    """

    passes: ClassVar[str] = "none"
    needs: ClassVar[str] = "task losses"
    source: ClassVar[str] = ""

    initial: Tensor
    _weights: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        initial: Initial | None = None,
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__()
        self.tasks = task_names(tasks)
        if nonfinite not in ("propagate", "raise"):
            raise ValueError(f"nonfinite must be 'propagate' or 'raise', found {nonfinite!r}")
        self.nonfinite = nonfinite
        self.register_buffer("initial", _initial_weights(initial, self.tasks), persistent=False)
        self.register_buffer("_weights", self.initial.clone())

    @property
    def weights(self) -> Tensor:
        """The weights that the last call used, detached, ``(tasks,)``."""
        return self._weights.clone()

    def weights_by_task(self) -> dict[str, float]:
        """The weights that the last call used, by name. Reads from the device."""
        return by_task(self.weights, self.tasks)

    def reset(self) -> None:
        """Forget everything: as new."""
        self._weights.copy_(self.initial)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`: how the study tool calls every method."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """The names, so that a checkpoint of other tasks is refused."""
        return torch.frombuffer(bytearray(json.dumps(self.tasks).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of other tasks, or of the same in another order."""
        saved = json.loads(bytes(state.tolist()))
        if saved != list(self.tasks):
            raise ValueError(f"this state is for the tasks {saved}, not {list(self.tasks)}")

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # PyTorch looks at the names last: what is to be refused would be half loaded by then.
        if f"{prefix}_extra_state" in state_dict:
            self.set_extra_state(state_dict[f"{prefix}_extra_state"])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Names of the tasks, or their number where there are many."""
        return ", ".join(self.tasks) if len(self.tasks) <= 8 else f"{len(self.tasks)} tasks"

    def _read(self, losses: Losses, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Losses ``(tasks,)``, 0 where absent, and what says which are present."""
        if isinstance(losses, Mapping):
            losses, present = stack_losses(losses, self.tasks, self._weights.device)
            if present is not None:
                mask = present if mask is None else mask * present
        if not isinstance(losses, Tensor) or not losses.is_floating_point():
            found = losses.dtype if isinstance(losses, Tensor) else type(losses).__name__
            raise TypeError(f"losses must be a floating tensor or a mapping, found {found}")
        size = len(self.tasks)
        if losses.shape != (size,):
            raise ValueError(f"losses must be ({size},), one scalar a task, found {_shape(losses)}")
        if mask is not None:
            if not isinstance(mask, Tensor) or mask.shape != (size,):
                given = _shape(mask) if isinstance(mask, Tensor) else mask
                raise ValueError(f"mask must be a tensor ({size},), found {given}")
            losses = torch.where(mask > 0, losses, 0)
        if self.nonfinite == "raise":
            self._raise_nonfinite(losses.detach())
        return losses, mask

    def _raise_nonfinite(self, losses: Tensor) -> None:
        bad = [(name, loss) for name, loss in by_task(losses, self.tasks).items() if loss - loss]
        if bad:
            raise FloatingPointError(
                "not finite: " + ", ".join(f"loss of task {name!r} is {loss}" for name, loss in bad)
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TaskWeighting:
        """Move and cast as any module, but never below float32: statistics need the digits."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            lowered = moved.is_floating_point() and moved.dtype.itemsize < 4
            return tensor.to(moved.device) if lowered else moved

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self


class LossWeighting(TaskWeighting):
    """A weighting that needs nothing but the losses."""

    def forward(self, losses: Losses, mask: Tensor | None = None) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        Args:
            losses: a tensor ``(tasks,)``, or scalars by name, of any floating dtype. A key that is
                missing or ``None`` is an absent task: it contributes nothing, and nothing that the
                weighting knows of it changes.
            mask: which tasks are present, boolean ``(tasks,)``; or how many labels each loss is the
                mean of, by which processes are weighed where there are several.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if ``losses`` or ``mask`` are not as above.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        values, counts = self._read(losses, mask)
        if not self.training:
            return _total(self.weights, values)
        weights = self._update(values.detach(), counts)
        self._weights.copy_(weights)
        return _total(weights, values)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        total: Tensor = self(step.losses, step.counts)
        return total

    def _update(self, losses: Tensor, counts: Tensor | None) -> Tensor:
        """New weights ``(tasks,)`` from detached losses; 0 counts mark absent tasks."""
        raise NotImplementedError


class GradientWeighting(TaskWeighting):
    """A weighting that needs the norm of each task's gradient in the shared parameters."""

    passes: ClassVar[str] = "tasks backward"
    needs: ClassVar[str] = "gradients of the shared parameters"

    def forward(self, losses: Losses, mask: Tensor | None = None, *, shared: Shared) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        Args:
            losses: see :meth:`LossWeighting.forward`. Their graph is kept.
            mask: see :meth:`LossWeighting.forward`.
            shared: whose gradients are compared: a module, parameters, or one parameter.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if an argument is not as above, or no loss depends on ``shared``.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        values, counts = self._read(losses, mask)
        if not self.training:
            return _total(self.weights, values)
        norms = gradient_norms(values, shared, counts).to(self._weights.dtype)
        weights = self._update(values.detach(), counts, norms)
        self._weights.copy_(weights)
        return _total(weights, values)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        total: Tensor = self(step.losses, step.counts, shared=step.shared)
        return total

    def _update(self, losses: Tensor, counts: Tensor | None, norms: Tensor) -> Tensor:
        """New weights ``(tasks,)`` from detached losses and gradient norms."""
        raise NotImplementedError


def _total(weights: Tensor, losses: Tensor) -> Tensor:
    # Not the buffer, which the next call may overwrite before this one's backward().
    return (weights * losses).sum()


def inverse_weights(inverse: Tensor, measured: Tensor, initial: Tensor) -> Tensor:
    r"""Weights :math:`\propto` ``inverse`` for the measured tasks, in place of their initial ones.

    Together the measured tasks keep the sum of their initial weights; the others keep theirs. All
    arguments are ``(tasks,)``; ``inverse`` is finite, also where not measured.
    """
    counted = measured.to(initial.dtype)
    share = counted.dot(initial) / counted.dot(inverse)
    return torch.where(measured, share * inverse, initial)


def _initial_weights(initial: Initial | None, tasks: tuple[str, ...]) -> Tensor:
    if initial is None:
        return torch.ones(len(tasks), dtype=torch.float32)
    if isinstance(initial, Mapping):
        if set(initial) != set(tasks):
            raise ValueError(f"initial must name each task once: {list(tasks)}")
        initial = [initial[name] for name in tasks]
    try:
        weights = torch.as_tensor(initial, dtype=torch.float32).detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"initial must be numbers, one a task, found {initial!r}") from error
    if weights.shape != (len(tasks),):
        raise ValueError(f"initial must be ({len(tasks)},), found {_shape(weights)}")
    if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"initial weights must be finite, not negative and not all 0: {initial}")
    return weights


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
