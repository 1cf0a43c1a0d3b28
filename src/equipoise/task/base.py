"""What the weightings of tasks share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from equipoise.directional import Shared
from equipoise.losses import Losses, Mask, by_task, read_losses, task_losses
from equipoise.processes import processes, summed, whole_batch
from equipoise.step import Step
from equipoise.weighting import Weighting

if TYPE_CHECKING:
    from equipoise.task.constant import Constant

__all__ = [
    "Initial",
    "Nonfinite",
    "TaskWeighting",
    "inverse_weights",
]

AVERAGED = 0.01
"""Of an average of the weights, the part of each update."""
LARGEST_SQUARE = 8e37
"""Of what is taken in, so that squares of differences are float32 numbers too."""

Nonfinite: TypeAlias = Literal["propagate", "raise"]
Initial: TypeAlias = Sequence[float] | Mapping[str, float] | Tensor


class TaskWeighting(Weighting):
    r"""Task losses in, the scalar :math:`\sum_k w_k L_k` out, the weights constants to autograd.

    Args:
        tasks: number of tasks, or their names.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``. Their sum is the
            sum of the weights of those methods that normalise.
        shared: the parameters that the tasks share: a module, parameters, or one parameter.
            ``None`` for a method that needs none, or that is to find them.
        nonfinite: what to do about a loss that is NaN or infinite. It never enters a statistic.
            ``"propagate"``: the scalar shows it. ``"raise"``: a ``FloatingPointError`` names the
            task (this reads from the device at every call).

    Attributes:
        initial: the weights to start from, ``(tasks,)``.
        resolution: the relative precision of the losses of the last call.
    """

    initial: Tensor
    _average: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        initial: Initial | None = None,
        shared: Shared | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, shared=shared)
        if nonfinite not in ("propagate", "raise"):
            raise ValueError(f"nonfinite must be 'propagate' or 'raise', found {nonfinite!r}")
        self.nonfinite = nonfinite
        weights = initial_weights(initial, self.tasks)
        self.add_state("initial", weights, persistent=False)
        self.add_state("_task_weights", weights)
        self.add_state("_average", weights)
        self._last: tuple[Tensor, Tensor | None] | None = None
        self.resolution = torch.finfo(torch.float32).eps
        self._dtypes = torch.float32, torch.float32

    @property
    def weights(self) -> Tensor:
        """The weights that the last call used, detached, ``(tasks,)``."""
        return self.task_weights

    @property
    def average_weights(self) -> Tensor:
        """The weights averaged over about the last hundred updates, detached, ``(tasks,)``."""
        return self._average.clone()

    def freeze(self) -> Constant:
        """Constant weights, those of :attr:`average_weights`: for when they have settled.

        What adapts costs little, but its weights follow every change of the learning rate or the
        data. Frozen ones make the total comparable from step to step, and a run repeatable.
        """
        from equipoise.task.constant import Constant  # which is one of these itself

        frozen = Constant(self.tasks, initial=self.average_weights)
        return frozen.to(self.average_weights)

    def metrics(self) -> dict[str, float]:
        """See :meth:`Weighting.metrics`; the loss of a task that was absent is left out."""
        if self._last is None:
            return super().metrics()
        losses, counts = self._last
        there = torch.ones_like(losses) if counts is None else counts.to(losses)
        rows = torch.stack([losses, there, self.task_weights.to(losses)]).T.tolist()
        named = list(zip(self.tasks, rows, strict=True))
        return {
            **{f"loss/{name}": loss for name, (loss, labels, _) in named if labels},
            **{f"weight/{name}": weight for name, (*_, weight) in named},
        }

    def _read(
        self, losses: Losses, counts: Tensor | None, mask: Mask | None
    ) -> tuple[Tensor, Tensor | None]:
        """Losses ``(tasks,)``, 0 where absent, and labels behind them: ``None`` for one each."""
        zero = self._state["_zero"]
        per_sample = _per_sample(losses)
        values, mask = read_losses(
            losses, mask, self.tasks, per_sample=per_sample, device=zero.device
        )
        if values.device != zero.device:
            self.to(values.device)
        if counts is not None:
            self._check_counts(counts, per_sample)
        if per_sample:
            values, counts = task_losses(values, mask)
        elif mask is not None:
            counts = mask if counts is None else torch.where(mask, counts, 0)
        if processes() > 1:  # of which another may lack a task, and all have to sum alike
            counts = torch.ones_like(values) if counts is None else counts
            counts = counts.to(zero.dtype)
        if counts is not None:
            values = torch.where(counts > 0, values, zero)
        if self.nonfinite == "raise":
            _raise_nonfinite(by_task(values.detach(), self.tasks))
        dtypes = values.dtype, zero.dtype
        if dtypes != self._dtypes:
            self._dtypes = dtypes
            self.resolution = max(torch.finfo(dtype).eps for dtype in dtypes)
        self._last = values.detach(), counts
        return values, counts

    def _check_counts(self, counts: Any, per_sample: bool) -> None:
        if per_sample:
            raise ValueError("losses of samples are counted by their mask: give mask, not counts")
        if isinstance(counts, Tensor) and counts.dtype == torch.bool:
            raise ValueError("counts must be numbers of labels: give what is boolean as mask=…")
        if not isinstance(counts, Tensor) or counts.shape != (len(self.tasks),):
            found = tuple(counts.shape) if isinstance(counts, Tensor) else counts
            raise ValueError(f"counts must be a tensor ({len(self.tasks)},), found {found}")

    @staticmethod
    def _of(step: Step) -> tuple[Tensor, Tensor | None]:
        """A step's losses; and their counts, where labels are missing or processes many."""
        samples, mask = step.sample_losses
        complete = mask is None and len(samples) > 0 and processes() == 1
        return step.losses, None if complete else step.counts

    def _gathered(self, values: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of all processes, detached and in the precision of the state: usable losses and counts.

        Both are 0 where a task is absent, or its loss too large to square: NaN and infinity too.
        ``values`` are ``(tasks,)`` or rows of that, such as derivatives, with the same counts.
        """
        zero = self._state["_zero"]
        losses, counts = whole_batch(values.detach(), counts)
        if losses.dtype != zero.dtype:
            losses = losses.to(zero.dtype)
        known = losses * losses < LARGEST_SQUARE
        if counts is None:
            return torch.where(known, losses, zero), known.to(zero.dtype)
        known &= counts > 0
        return torch.where(known, losses, zero), torch.where(known, counts.to(zero.dtype), zero)

    def _weighted(
        self, values: Tensor, counts: Tensor | None, weights: Tensor | None = None
    ) -> Tensor:
        """The scalar, with new weights that are kept, or those of the last call.

        Of several processes its mean, and that of its gradients, which DistributedDataParallel
        takes, is that of the whole batch, however labels are spread over them.
        """
        if counts is not None and processes() > 1:
            everywhere = summed(counts)  # or shares, in front of a weighting of samples
            everywhere = torch.where(everywhere > 0, everywhere, 1)
            values = values * (counts * processes() / everywhere).to(values.dtype)
        weights = self.task_weights if weights is None else self._keep(weights)
        # Not the buffer, which the next call may overwrite before this one's backward().
        if values.dtype != weights.dtype:
            dtype = torch.promote_types(values.dtype, weights.dtype)
            weights, values = weights.to(dtype), values.to(dtype)
        return weights.dot(values)

    def _keep(self, weights: Tensor) -> Tensor:
        """The new weights, kept; in place of one that is not finite the last, or it would stay."""
        last = self._state["_task_weights"]
        weights = torch.where(weights < torch.inf, weights, last)
        # Of a task about which nothing was learned the average stays too.
        average = self._state["_average"]
        average.lerp_(torch.where(weights != last, weights, average), AVERAGED)
        last.copy_(weights)
        return weights


def inverse_weights(inverse: Tensor, measured: Tensor, initial: Tensor) -> Tensor:
    r"""Weights :math:`\propto` ``inverse`` for the measured tasks, in place of their initial ones.

    Together the measured tasks keep the sum of their initial weights; the others keep theirs. All
    arguments are ``(tasks,)``; ``inverse`` is finite, also where not measured.
    """
    counted = measured.to(initial.dtype)
    share = counted.dot(initial) / counted.dot(inverse)
    return torch.where(measured, share * inverse, initial)


def _raise_nonfinite(losses: Mapping[str, float]) -> None:
    bad = [(name, loss) for name, loss in losses.items() if loss - loss]
    if bad:
        raise FloatingPointError(
            "not finite: " + ", ".join(f"loss of task {name!r} is {loss}" for name, loss in bad)
        )


def _per_sample(losses: Any) -> bool:
    if isinstance(losses, Tensor):
        return losses.ndim == 2
    given = losses.values() if isinstance(losses, Mapping) else ()
    return any(isinstance(each, Tensor) and each.ndim == 1 for each in given)


def initial_weights(initial: Initial | None, tasks: tuple[str, ...]) -> Tensor:
    """Weights to start from, float64, checked: see :class:`TaskWeighting`."""
    if initial is None:
        return torch.ones(len(tasks), dtype=torch.float64)
    if isinstance(initial, Mapping):
        if set(initial) != set(tasks):
            raise ValueError(f"initial must name each task once: {list(tasks)}")
        initial = [initial[name] for name in tasks]
    try:
        weights = torch.as_tensor(initial, dtype=torch.float64).detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"initial must be numbers, one a task, found {initial!r}") from error
    if weights.shape != (len(tasks),):
        raise ValueError(f"initial must be ({len(tasks)},), found {tuple(weights.shape)}")
    if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"initial weights must be finite, not negative and not all 0: {initial}")
    return weights
