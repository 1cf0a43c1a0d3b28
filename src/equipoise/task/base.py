"""What the weightings of tasks share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from equipoise.directional import Shared, gradient_norms, parameters_of_graph
from equipoise.losses import Losses, Mask, any_given, by_task, read_losses, task_losses
from equipoise.processes import processes, summed, whole_batch
from equipoise.step import Step
from equipoise.weighting import Needs, Weighting

if TYPE_CHECKING:
    from equipoise.task.constant import Constant

__all__ = [
    "GradientWeighting",
    "Initial",
    "LossWeighting",
    "Nonfinite",
    "SharedWeighting",
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


class LossWeighting(TaskWeighting):
    """A weighting that needs nothing but the losses. A method says in :meth:`update` how."""

    takes_losses = True
    _closing: bool | None = None
    """Of a micro-batch, whether it is the last of its step; ``None`` for a whole batch."""

    _parts: Tensor | None = None
    """Sums of the losses of the micro-batches so far, and labels behind them, ``(2, tasks)``. No
    buffer, which DistributedDataParallel would copy from the first process; and as gradients are,
    nothing that a checkpoint keeps."""

    @contextmanager
    def accumulate(self, *, closing: bool) -> Iterator[None]:
        """Around the call for a micro-batch, of several whose gradients make a step together.

        Micro-batches are weighed as the step before has left the weights. With the last one,
        ``closing``, the weights become what they are after a call with the whole batch: losses are
        the means of all micro-batches, of all processes, by the labels behind them. The gradient
        is so the one of equal weights for all parts of a step; what a call with the whole batch
        has at once comes a step later.

        Args:
            closing: whether the optimizer steps after this one: what hosts call
                ``sync_gradients``.

        Example:
            >>> weighting = LossWeighting(2).eval()
            >>> for part in range(4):
            ...     with weighting.accumulate(closing=part == 3):
            ...         loss = weighting(torch.ones(2)) / 4
        """
        self._closing = closing
        try:
            yield
        finally:
            self._closing = None

    def forward(
        self,
        losses: Losses,
        counts: Tensor | None = None,
        *,
        mask: Mask | None = None,
        outputs: Tensor | None = None,
    ) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        Not under ``torch.no_grad()``, where nothing is learned from the losses either.

        Args:
            losses: a tensor ``(tasks,)``, or scalars by name, of any floating dtype; or losses of
                samples, ``(samples, tasks)`` or by name ``(samples,)``, whose means are taken. A
                key that is missing or ``None`` is an absent task: it contributes nothing, and
                nothing that the weighting knows of it changes.
            counts: labels that each loss is the mean of, ``(tasks,)``, by which processes are
                weighed where there are several; 0 for an absent task.
            mask: what is present, boolean, in the form of ``losses``.
            outputs: something that the model made of its batch. Of several processes one without
                any loss has to give it: ``backward()`` then reaches the model's parameters, for
                whose gradients the others wait.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if an argument is not as above.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        values, counts = self._read(losses, counts, mask)
        total = self._learned(values, counts)
        if outputs is not None:
            return total + outputs.flatten()[:0].sum()
        waited_for = processes() > 1 and self.training and torch.is_grad_enabled()
        if waited_for and isinstance(losses, Mapping) and not any_given(losses):
            raise ValueError(
                "this process has no loss, so its backward() would reach no parameter, and the "
                "others would wait for their gradients: give it something that the model made of "
                "its batch, weighting({}, outputs=…)"
            )
        return total

    def _learned(self, values: Tensor, counts: Tensor | None) -> Tensor:
        """The weighted sum, once the losses are taken in if they are to be."""
        if not (self.training and torch.is_grad_enabled()):
            return self._weighted(values, counts)
        if self._closing is None:
            return self._weighted(values, counts, self.update(*self._gathered(values, counts)))
        total = self._weighted(values, counts)
        self._take_part(values.detach(), counts)
        return total

    def _take_part(self, values: Tensor, counts: Tensor | None) -> None:
        """Put a micro-batch to those before; with the last, learn from all of them together."""
        values = values.to(self._state["_zero"])
        number = torch.ones_like(values) if counts is None else counts.to(values)
        part = torch.stack([values * number, number])
        self._parts = part if self._parts is None else self._parts + part
        if self._closing:
            sums, labels = self._parts
            self._parts = None
            means = sums / torch.where(labels > 0, labels, 1)
            self._keep(self.update(*self._gathered(means, labels)))

    def reset(self) -> None:
        """Forget everything but names: as new."""
        super().reset()
        self._parts = None

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        total: Tensor = self(*self._of(step))
        return total

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        """New weights, and whatever has to be remembered for the next.

        Args:
            losses: ``(tasks,)``, detached, finite, float32 or float64 as the state, those of all
                processes together; 0 where ``counts`` is 0.
            counts: labels behind each, ``(tasks,)`` of the same dtype: 0 where the task is absent
                or its loss not finite. What is known of such a task is to stay.

        Returns:
            Weights ``(tasks,)``. One that is not finite is replaced by the last.
        """
        raise NotImplementedError


class SharedWeighting(TaskWeighting):
    """A weighting that looks at the parameters that the tasks share."""

    def _shared_by(self, losses: Tensor, counts: Tensor | None) -> tuple[Tensor, ...] | None:
        """Those given, or what more than one task reaches; ``None`` while too few are present."""
        if self._shared is None:
            if processes() > 1:
                raise ValueError(
                    f"{type(self).__name__}: of several processes each may find others, so name "
                    "the parameters that the tasks share (shared=…)"
                )
            present = losses if counts is None else losses[counts > 0]
            found = parameters_of_graph(present) if len(present) > 1 or len(losses) == 1 else None
            self._shared = None if found is None else tuple(found)
        return self._shared


class GradientWeighting(SharedWeighting):
    """A weighting by the norm of each task's gradient in the shared parameters.

    ``shared`` may be a module, parameters, or one parameter, such as the weight of the last shared
    layer; of ``None`` the parameters are found that more than one task reaches.
    """

    takes_losses = True
    needs = Needs.LOSSES | Needs.GRADIENTS
    passes = "tasks backward"

    def forward(
        self, losses: Losses, counts: Tensor | None = None, *, mask: Mask | None = None
    ) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        The arguments are those of :meth:`LossWeighting.forward`. The graph of the losses is kept.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if an argument is not as said, the losses have no graph, or none
                depends on a shared parameter.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        values, counts = self._read(losses, counts, mask)
        if not self.training:
            return self._weighted(values, counts)
        if not values.requires_grad:
            raise ValueError(
                f"{type(self).__name__} takes gradients of the losses, and these have no graph: "
                "give them as the network made them, not detached and not under no_grad()"
            )
        shared = self._shared_by(values, counts)
        if shared is None:
            return self._weighted(values, counts)
        norms = gradient_norms(values, shared, counts).to(self.initial.dtype)
        weights = self.update(*self._gathered(values, counts), norms)
        return self._weighted(values, counts, weights)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        total: Tensor = self(*self._of(step))
        return total

    def update(self, losses: Tensor, counts: Tensor, norms: Tensor) -> Tensor:
        """New weights ``(tasks,)``: see :meth:`LossWeighting.update`.

        ``norms`` are those of the gradients of the whole batch, ``(tasks,)``; they may be infinite.
        """
        raise NotImplementedError


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
