"""What the weightings share that ask held-out samples what helps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from equipoise.directional import Engine, Shared, objective_gradient
from equipoise.sample.base import SampleWeighting
from equipoise.step import Step

Objective = Callable[[nn.Module, Any], Tensor]


class HeldOutWeighting(SampleWeighting):
    """A weighting by alignment with the gradient of a held-out objective.

    The state holds the held-out gradient too, with ``every > 1``.

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
        every: steps from one held-out gradient to the next; in between no held-out batch is used.
        tasks: see there.
    """

    passes: ClassVar[str] = "held-out forward and backward, the forward pass in forward mode"
    needs: ClassVar[str] = "a main task, held-out batches"

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | None = None,
        objective: Objective | None = None,
        maximize: bool = False,
        engine: Engine | Literal["auto"] = "auto",
        every: int = 1,
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        super().__init__(losses, model, main=main, shared=shared, engine=engine, tasks=tasks)
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an integer of at least 1, found {every!r}")
        self._objective = objective
        self.maximize = maximize
        self.every = every
        self._kept: list[Tensor] | None = None

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

    def reset(self) -> None:
        """Forget everything but the names: as new."""
        super().reset()
        self._kept = None

    def get_extra_state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {**super().get_extra_state(), "kept": self._kept}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on where that was; refuse the state of other tasks."""
        super().set_extra_state(state)
        self._kept = state["kept"]

    def _direction(self, step: Step, parameters: list[Tensor]) -> list[Tensor]:
        if self._kept is not None and self.steps % self.every:
            return self._kept
        if step.held_out is None:
            raise ValueError("a held-out batch is needed: call it as weighting(batch, held_out)")
        if self.steps == 0 and _same(step.batch, step.held_out):
            warnings.warn(
                "the held-out batch is the training batch, so that every label helps itself, a "
                "wrong one too: give samples that are not trained on",
                stacklevel=5,
            )
        gradient = objective_gradient(
            self._held_out_objective(step),
            step.model,
            step.held_out,
            parameters,
            moved=self._moved(step),
        )
        direction = [-part for part in gradient] if self.maximize else gradient
        if self.every > 1:
            self._kept = direction
        return direction

    def _moved(self, step: Step) -> dict[Tensor, Tensor]:
        """Parameters that are to have other values where the direction is derived."""
        return {}

    def _held_out_objective(self, step: Step) -> Callable[[nn.Module, Any], tuple[Tensor, Tensor]]:
        """What is to improve, and the number of labels behind it."""
        if self._objective is None:
            return self._main_loss(step)
        objective = self._objective
        return lambda model, batch: (objective(model, batch), torch.ones(()))


def _same(batch: Any, held_out: Any) -> bool:
    """Whether two batches hold the same tensors or equal ones."""
    pairs = [
        [leaf for leaf in tree_leaves(each) if isinstance(leaf, Tensor)]
        for each in (batch, held_out)
    ]
    one, other = pairs
    return bool(one) and len(one) == len(other) and all(map(torch.equal, one, other))
