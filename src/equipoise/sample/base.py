"""What the weightings of samples share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.directional import (
    ENGINES,
    Computation,
    Engine,
    Shared,
    engine_for,
    objective_gradient,
    parameters_of,
    random_state_kept,
    shared_parameters,
    unwrapped,
)
from equipoise.errors import near_match
from equipoise.losses import loss_function, task_losses, task_names
from equipoise.moments import whole_batch
from equipoise.processes import processes, summed
from equipoise.step import Step


class SampleWeighting(nn.Module):
    r"""Losses of every sample of every task in, :math:`\sum_{ik} w_{ik} l_{ik}` out.

    The weights are constants to autograd. They follow from the alignments
    :math:`c_{ik} = v \cdot \nabla l_{ik}` with the gradient :math:`v` of an objective, over the
    parameters that the tasks share: the first-order gain of the objective from a step on a loss.
    One pass gives all of them, whatever the number of samples and tasks: see
    :func:`~equipoise.alignments`.

    Uniform weights are 1 / (tasks × labels of the task): the mean over the tasks of their mean
    losses, ``tasks`` times less than the sum of task losses that most loops minimise. With plain
    SGD the same training takes a learning rate ``tasks`` times as large; Adam does not mind.

    In training mode a call derives new weights. After ``.eval()`` it weighs the mean losses of the
    tasks by the last task weights. A NaN in a loss or in an alignment shows in the scalar.

    Of several processes each weighs its samples as one process would that had all of them; what
    comes back is scaled so that the mean of the processes' gradients, which
    DistributedDataParallel takes, is right.

    All state is in ``state_dict()``. Model and losses are not part of it. A method subclasses
    :class:`~equipoise.sample.heldout.HeldOutWeighting` or :class:`BatchWeighting`, by where its
    direction comes from, and says in ``_weigh`` how weights follow from alignments.

    Args:
        losses: ``losses(model, batch)`` gives the loss of each sample: a tensor
            ``(samples, tasks)``, or by name tensors ``(samples,)``, floating; or a pair of that and
            the labels present, boolean in the same form. A missing label has weight 0, and its loss
            must be a number nonetheless. Gets held-out batches too, unless ``objective`` does.
        model: the network. It may be wrapped in DistributedDataParallel, compiled, or sharded.
        main: the task that the others are to serve: a name, or an index.
        shared: the parameters that the tasks share: a module, parameters, or one parameter. Of
            ``None`` those are found that the main task and at least one other reach.
        engine: see :func:`~equipoise.alignments`; ``"auto"`` decides at the first step.
        tasks: number of tasks, or their names, in the order of the columns; not needed where
            ``losses`` gives names.

    Attributes:
        passes: extra passes that a step costs, for people to read.
        needs: what the method asks of a step, for people to read.
        source: where the method comes from.
        tasks: the names; ``None`` before they are known.
    """

    passes: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    source: ClassVar[str] = ""

    def __init__(
        self,
        losses: Callable[[nn.Module, Any], Any],
        model: nn.Module,
        *,
        main: str | int,
        shared: Shared | None = None,
        engine: Engine | Literal["auto"] = "auto",
        tasks: int | Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        if engine != "auto" and engine not in ENGINES:
            raise ValueError(f"engine must be one of auto, {', '.join(ENGINES)}, found {engine!r}")
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a module, found {type(model).__name__}")
        # In a tuple, or the model would count as a part of the weighting, saved and moved with it.
        self._of = (losses, model)
        self._shared = None if shared is None else tuple(parameters_of(shared))
        self._engine = engine
        self.steps = 0
        self.tasks: tuple[str, ...] | None = None
        self._given_main = main
        self._task_weights = torch.empty(0)
        self._last: tuple[Tensor, Tensor] | None = None
        if tasks is not None:
            self._name(task_names(tasks))

    @property
    def main(self) -> str:
        """The name of the main task."""
        return self._known_tasks[self._main]

    @property
    def weights(self) -> Tensor:
        """The weights of the last call, detached, ``(samples, tasks)``; of this process's batch."""
        return self._of_last_call[0]

    @property
    def alignments(self) -> Tensor:
        """The alignments of the last call, ``(samples, tasks)``; 0 where there is no label."""
        return self._of_last_call[1]

    @property
    def task_weights(self) -> Tensor:
        """Sums of the weights over the samples of the last step, of all processes, ``(tasks,)``."""
        if self.tasks is None:
            raise RuntimeError("the tasks are not known yet: call the weighting first")
        return self._task_weights.clone()

    @property
    def sample_weights(self) -> Tensor:
        """Sums of the weights of the last call over the tasks, ``(samples,)``."""
        return self.weights.sum(1)

    def _step(self, batch: Any, held_out: Any = None) -> Step:
        """The step of a batch, with what has to be found out at the first."""
        losses, model = self._of
        if self.tasks is None:
            self._name(_names_of(losses, model, batch))
        function = loss_function(losses, self._known_tasks)
        if self._shared is None:
            self._shared = tuple(shared_parameters(function, model, batch, self._main))
        return Step(function, model, batch, self._shared, held_out)

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        if not self.training:
            return (self._task_weights.to(step.losses.device) * step.losses).sum()
        if not torch.is_grad_enabled():
            raise RuntimeError(
                "weights are derived from gradients, and there are none under no_grad(): call "
                ".eval() first to weigh a validation batch"
            )
        alignments = self._align(step)
        losses, mask = with_mask(*step.sample_losses)
        alignments = torch.where(mask, alignments.to(torch.float32), 0)
        weights = self._weigh(alignments, uniform_weights(mask))
        self._last = weights, alignments
        task_weights = summed(weights.sum(0))
        previous = self._task_weights.to(weights.device)
        self._task_weights = torch.where(task_weights.isfinite().all(), task_weights, previous)
        self.steps += 1
        return weighted_sum(weights, losses, mask)

    def reset(self) -> None:
        """Forget everything but the names: as new."""
        self.steps = 0
        self._last = None
        if self.tasks is not None:
            self._task_weights = torch.full((len(self.tasks),), 1 / len(self.tasks))

    def get_extra_state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "tasks": None if self.tasks is None else list(self.tasks),
            "main": self._given_main if self.tasks is None else self.main,
            "task_weights": self._task_weights.clone(),
            "steps": self.steps,
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on where that was; refuse the state of other tasks."""
        if state["tasks"] is not None:
            if self.tasks is None:
                self._name(tuple(state["tasks"]))
            found, own = (
                [*each, main]
                for each, main in ((state["tasks"], state["main"]), (self._known_tasks, self.main))
            )
            if found != own:
                raise ValueError(
                    f"this state is for the tasks {found[:-1]} and the main task {found[-1]!r}, "
                    f"not {own[:-1]} and {own[-1]!r}"
                )
        self._task_weights = state["task_weights"].clone()
        self.steps = state["steps"]

    def _weigh(self, alignments: Tensor, uniform: Tensor) -> Tensor:
        """Weights ``(samples, tasks)`` from alignments, 0 where there is no label.

        ``uniform`` are the uniform weights: 0 too where there is no label.
        """
        raise NotImplementedError

    def _align(self, step: Step) -> Tensor:
        """Alignments ``(samples, tasks)``, positive where a step on the loss helps."""
        parameters = parameters_of(step.shared)
        direction = self._direction(step, parameters)
        if self._engine == "auto":
            self._engine = engine_for(step.loss_function, step.model, step.batch, shared=parameters)
        # Whether they are all lost is looked at once: it reads from the device.
        return step.sample_derivatives(direction, engine=self._engine, check=self.steps == 0)

    def _direction(self, step: Step, parameters: list[Tensor]) -> list[Tensor]:
        """Of the shared parameters, that in which the objective becomes worse."""
        raise NotImplementedError

    def _main_loss(self, step: Step) -> Callable[[nn.Module, Any], tuple[Tensor, Tensor]]:
        """The mean loss of the main task, and the number of its labels."""

        def main_loss(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
            losses, counts = task_losses(*step.loss_function(model, batch))
            if self.steps == 0 and processes() == 1 and not counts[self._main]:
                raise ValueError(
                    f"the batch that the direction comes from has no label of task {self.main!r}"
                )
            return losses[self._main], counts[self._main]

        return main_loss

    @property
    def _known_tasks(self) -> tuple[str, ...]:
        assert self.tasks is not None
        return self.tasks

    @property
    def _of_last_call(self) -> tuple[Tensor, Tensor]:
        if self._last is None:
            raise RuntimeError(
                "there are no weights yet: call the weighting in training mode first"
            )
        return self._last

    def _name(self, tasks: tuple[str, ...]) -> None:
        """Take in the names, now that they are known."""
        main = self._given_main
        if isinstance(main, int) and not isinstance(main, bool):
            if not 0 <= main < len(tasks):
                raise ValueError(f"main must be below the number of tasks, {len(tasks)}: {main}")
        elif main not in tasks:
            raise ValueError(f"main: there is no task {main!r}: {near_match(str(main), tasks)}")
        self.tasks = tasks
        self._main = main if isinstance(main, int) else tasks.index(main)
        self.reset()


class BatchWeighting(SampleWeighting):
    """A weighting by alignment with the gradient of the main task on the training batch itself."""

    passes: ClassVar[str] = "main task forward and backward, the forward pass in forward mode"
    needs: ClassVar[str] = "a main task"

    def forward(self, batch: Any) -> Tensor:
        """The weighted sum of the losses of a batch; in training mode weights are derived first.

        Runs the forward pass itself, once for BatchNorm; the main task's gradient is of a pass with
        dropout of its own.

        Args:
            batch: whatever ``losses`` takes.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if something is not as said, or no derivative arrives.
        """
        return self.weigh(self._step(batch))

    def _direction(self, step: Step, parameters: list[Tensor]) -> list[Tensor]:
        return objective_gradient(self._main_loss(step), step.model, step.batch, parameters)


def task_means(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of each task's values in the mask, of all processes, ``(tasks,)``; 0 if it has none."""
    means, _ = whole_batch(*task_losses(values, mask))
    return means


def normalised(gains: Tensor, fallback: Tensor | float) -> Tensor:
    """Gains ≥ 0 as shares of their sum over all processes, NaN if one is; or the fallback if 0."""
    total = summed(gains.sum())
    return torch.where(total == 0, fallback, gains / total)


def with_mask(losses: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Losses, and the mask of the labels present also where all are."""
    return losses, torch.ones_like(losses, dtype=torch.bool) if mask is None else mask


def weighted_sum(weights: Tensor, losses: Tensor, mask: Tensor) -> Tensor:
    """The scalar whose mean over the processes is the weighted sum over all their samples."""
    return (weights * torch.where(mask, losses, 0)).sum() * processes()


def uniform_weights(mask: Tensor) -> Tensor:
    """The weights whose weighted sum is the mean over the tasks of their mean losses."""
    counts = summed(mask.sum(0))
    return mask / (counts.clamp(min=1) * mask.shape[1])


def _names_of(
    losses: Callable[[nn.Module, Any], Any], model: nn.Module, batch: Any
) -> tuple[str, ...]:
    computation = Computation(losses, unwrapped(model))
    with torch.no_grad(), random_state_kept(model):
        found = computation.call(batch, computation.copied_buffers())
    values = found[0] if isinstance(found, tuple) else found
    if isinstance(values, Mapping):
        return task_names(values)
    columns, _ = loss_function(lambda *_: found)(model, batch)
    return task_names(columns.shape[1])
