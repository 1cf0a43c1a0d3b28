"""What the weightings share that ask held-out samples what helps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from equipoise.directional import Engine, Shared, is_sharded, objective_gradient
from equipoise.processes import summed
from equipoise.sample.base import SampleWeighting
from equipoise.step import Step
from equipoise.weighting import Needs

__all__ = ["HeldOutWeighting"]

Objective = Callable[[nn.Module, Any], Tensor]


class HeldOutWeighting(SampleWeighting):
    """A weighting by alignment with the gradient of a held-out objective.

    A held-out batch without any label of the main task leaves the direction what it was before; the
    first such one, on the CPU, brings a warning.

    Args:
        losses: see :class:`~equipoise.sample.base.SampleWeighting`; it gets held-out batches too,
            unless ``objective`` does.
        model: see there.
        main: see there.
        shared: see there.
        objective: ``objective(model, held_out)`` gives the scalar that is to improve, in any
            differentiable way; by default the mean loss of the main task.
        maximize: whether the objective is better when larger.
        engine: see there.
        tasks: see there.
    """

    needs = Needs.LOSSES | Needs.DERIVATIVES | Needs.MAIN | Needs.HELD_OUT
    passes = "held-out forward and backward, the forward pass in forward mode"

    _kept: list[Tensor]

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | Literal["border", "all"] = "all",
        objective: Objective | None = None,
        maximize: bool = False,
        engine: Engine | Literal["auto"] = "auto",
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        super().__init__(losses, model, main=main, shared=shared, engine=engine, tasks=tasks)
        self._objective = objective
        self.maximize = maximize
        self._unlabelled = False
        self.add_state("_kept", [])

    def forward(self, batch: Any, held_out: Any = None) -> Tensor:
        """The weighted sum of the losses of a batch; in training mode weights are derived first.

        Runs the forward pass itself, once for BatchNorm and dropout.

        Args:
            batch: whatever ``losses`` takes.
            held_out: a batch that is not trained on, with labels of the main task, in the same
                form; or whatever ``objective`` takes. Needed in training mode only.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if something is not as said, or no derivative arrives.
        """
        return self.weigh(self._step(batch, held_out))

    def _direction(self, step: Step, parameters: list[Tensor]) -> list[Tensor]:
        if step.held_out is None:
            raise ValueError("a held-out batch is needed: call it as weighting(batch, held_out)")
        if not self._kept and _same(step.batch, step.held_out):
            warnings.warn(
                "the held-out batch is the training batch, so that every label helps itself, a "
                "wrong one too: give samples that are not trained on",
                stacklevel=5,
            )
        objective = _Counted(self._held_out_objective(step))
        gradient = objective_gradient(
            objective, step.model, step.held_out, parameters, moved=self._moved(step)
        )
        direction = [-part for part in gradient] if self.maximize else gradient
        if self._objective is None:
            direction = self._unless_unlabelled(direction, summed(objective.count))
        if not any(map(is_sharded, direction)):  # which no file could take
            self._kept = direction
        return direction

    def _unless_unlabelled(self, direction: list[Tensor], count: Tensor) -> list[Tensor]:
        """The direction; or the last one, where no label was behind it."""
        if count.device.type != "cpu" and self._kept:
            pairs = zip(direction, self._kept, strict=True)
            return [torch.where(count > 0, new, old) for new, old in pairs]  # which reads nothing
        if count.is_meta or count > 0:
            return direction
        if not self._kept:
            raise ValueError(f"the held-out batch has no label of task {self.main!r}")
        if not self._unlabelled:
            self._unlabelled = True
            warnings.warn(
                f"a held-out batch has no label of task {self.main!r}: the direction stays what it "
                "was; draw held-out batches from samples that have one",
                stacklevel=6,
            )
        return self._kept

    def _moved(self, step: Step) -> dict[Tensor, Tensor]:
        """Parameters that are to have other values where the direction is derived."""
        return {}

    def _held_out_objective(self, step: Step) -> Callable[[nn.Module, Any], tuple[Tensor, Tensor]]:
        """What is to improve, and the number of labels behind it."""
        if self._objective is None:
            return self._main_loss(step)
        objective = self._objective
        return lambda model, batch: (objective(model, batch), torch.ones(()))


class _Counted:
    """An objective that remembers how many labels were behind it."""

    def __init__(self, objective: Callable[[nn.Module, Any], tuple[Tensor, Tensor]]) -> None:
        self.objective = objective

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        value, self.count = self.objective(model, batch)
        return value, self.count


def _same(batch: Any, held_out: Any) -> bool:
    """Whether two batches hold the same tensors or equal ones."""
    pairs = [
        [leaf for leaf in tree_leaves(each) if isinstance(leaf, Tensor)]
        for each in (batch, held_out)
    ]
    one, other = pairs
    return bool(one) and len(one) == len(other) and all(map(torch.equal, one, other))
