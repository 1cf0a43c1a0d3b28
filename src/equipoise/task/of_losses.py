"""What the weightings share that need nothing but the losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from equipoise.losses import Losses, Mask, any_given
from equipoise.processes import processes
from equipoise.step import Step
from equipoise.task.base import TaskWeighting

__all__ = ["LossWeighting"]


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
