"""What runs a scalarizer or an aggregator of TorchJD's as a weighting of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchjd import Stateful
from torchjd.aggregation import Weighting

from equipoise import task
from equipoise.directional import Computation, Shared, random_state_kept
from equipoise.errors import UserError
from equipoise.losses import LossFunction, loss_function, task_losses
from equipoise.peers.arguments import ARGUMENTS, LEFT_OUT, PREFIX
from equipoise.peers.jacobians import aggregated, jacobians_of
from equipoise.processes import processes
from equipoise.scalars import with_gradients
from equipoise.state import keeping_precision
from equipoise.step import Step
from equipoise.task.base import TaskWeighting
from equipoise.task.of_gradients import SharedWeighting
from equipoise.weighting import Needs, decoded
from equipoise.weighting import Weighting as Weighting_


class TorchJD(SharedWeighting):
    """A method of TorchJD's. Its scalar has the scale that TorchJD gives it.

    Args:
        tasks: number of tasks, or their names.
        shared: the parameters that the tasks share, for an aggregator: a module, parameters, or one
            parameter; of ``None`` those are found that more than one task reaches.
        options: of TorchJD's own constructor.

    Raises:
        UserError: if it cannot be compared, misses a package or wants other tasks or options.
    """

    distributes: ClassVar[bool] = False
    name: ClassVar[str]
    """Ours, with which a study names it."""
    kind: ClassVar[type[nn.Module]]
    """TorchJD's class."""

    def __init__(
        self, tasks: int | Iterable[str], *, shared: Shared | None = None, **options: Any
    ) -> None:
        if reason := self.left_out():
            raise UserError(f"{self.name} cannot be compared: {reason}")
        super().__init__(tasks, shared=shared)
        self.options = options
        self.method: Any = self.build(len(self.tasks), options)

    @classmethod
    def left_out(cls) -> str | None:
        """Why no study can compare it, if none can."""
        own = cls.name.removeprefix(PREFIX)
        if own in LEFT_OUT or issubclass(cls.kind, Weighting):
            return LEFT_OUT.get(own, "TorchJD has no aggregator of that name")
        try:
            inspect.signature(cls.kind).bind(**cls._arguments(2))
        except TypeError as error:
            return f"its constructor has {error}"
        return None

    @classmethod
    def missing(cls) -> str | None:
        """What has to be installed for it, and how, if anything."""
        try:
            cls.kind(**cls._arguments(3))
        except ImportError as error:
            return str(error)
        return None

    @classmethod
    def build(cls, tasks: int, options: Mapping[str, Any]) -> nn.Module:
        """TorchJD's object for a number of tasks."""
        with _named(cls.name):
            return cls.kind(**{**cls._arguments(tasks), **options})

    @classmethod
    def _arguments(cls, tasks: int) -> dict[str, Any]:
        make = ARGUMENTS.get(cls.kind.__name__)
        return {} if make is None else make(tasks)

    def forward(self, losses: LossFunction, model: nn.Module, batch: Any) -> Tensor:
        """The scalar of a batch.

        Args:
            losses: ``losses(model, batch)`` gives per-sample losses, in any of the forms that
                :func:`~equipoise.losses.loss_function` takes.
            model: the network.
            batch: whatever ``losses`` takes.
        """
        return self.weigh(Step(loss_function(losses, self.tasks), model, batch))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        if isinstance(self.method, Stateful):
            self.method.reset()

    def _read(self, *arguments: Any) -> tuple[Tensor, Tensor | None]:
        if processes() > 1:
            raise ValueError(
                f"{self.name} would see a process's share of a batch, not the batch: train on one "
                "process, or take a weighting of Equipoise's"
            )
        return super()._read(*arguments)

    def get_extra_state(self) -> Tensor:
        """Whose state it is, and by what TorchJD knows that its buffers are of the same tasks."""
        keys = {
            path: _text(module._state_key)
            for path, module in self.method.named_modules(remove_duplicate=False)
            if getattr(module, "_state_key", None) is not None
        }
        return self._encoded(keys=keys)

    def set_extra_state(self, state: Tensor) -> None:
        """Take both."""
        super().set_extra_state(state)
        for path, text in decoded(state)["keys"].items():
            self.method.get_submodule(path)._state_key = _of_text(text)

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "method": self.name}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TorchJD:
        # Constants are plain attributes there.
        for name, value in list(vars(self.method).items()):
            if isinstance(value, Tensor):
                setattr(self.method, name, keeping_precision(fn)(value))
        super()._apply(fn, recurse)
        return self


class Scalarized(TorchJD):
    """A scalarizer. The weights are the derivatives of its scalar with respect to the losses.

    A task without labels stands at its last loss, 1 at first, without a gradient.
    """

    last: Tensor

    def __init__(
        self, tasks: int | Iterable[str], *, shared: Shared | None = None, **options: Any
    ) -> None:
        super().__init__(tasks, shared=shared, **options)
        self.add_state("last", 1.0)

    def weigh(self, step: Step) -> Tensor:
        """The scalarizer's scalar."""
        losses, counts = self._read(step.losses, step.counts, None)
        if not self.training:
            return self._weighted(losses, counts)
        values = self._values(step)
        with _named(self.name):
            total: Tensor = self.method(values)
        (weights,) = torch.autograd.grad(total, values, retain_graph=True)
        self._keep(weights)
        self.last.copy_(values.detach())
        return total

    def _values(self, step: Step) -> Tensor:
        return torch.where(step.counts > 0, step.losses, self.last)


class Updated(Scalarized):
    """A scalarizer that is to see a batch's losses after the step too (FAMO): at the next step."""

    passes = "forward"
    needs = Needs.LOSSES | Needs.AFTERWARDS

    _again: Step | None = None

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self._again = None

    def weigh(self, step: Step) -> Tensor:
        """The scalarizer's scalar."""
        if self.training:
            if self._again is not None:
                self._look_again(self._again)
            self._again = Step(step.loss_function, step.model, step.batch)
        return super().weigh(step)

    def _look_again(self, step: Step) -> None:
        """Tell the scalarizer what became of a batch, unless its logarithms are not finite."""
        computation = Computation(step.loss_function, step.model)
        with torch.no_grad(), random_state_kept(step.model):
            found = computation.call(step.batch, computation.copied_buffers())
        losses, counts = task_losses(*found)
        after = torch.where(counts > 0, losses, self.last)
        if torch.stack([self.last, after]).log().isfinite().all():
            self.method.update(after)


class Aggregated(TorchJD):
    """An aggregator of the gradients of the shared parameters; the others get that of the sum.

    The weights are those in the shared parameters, as far as the aggregator has any: those of the
    weighting ``before`` it, equal ones unless another is set, times its own. A task without labels
    has no row, except for a method that knows the tasks by their rows over steps, to which its row
    is zero. Where a gradient is not finite the aggregator is not asked. PCD serves the first task.
    """

    passes = "tasks backward"
    needs = Needs.LOSSES | Needs.GRADIENTS
    shared_only: ClassVar[bool] = True

    def __init__(
        self, tasks: int | Iterable[str], *, shared: Shared | None = None, **options: Any
    ) -> None:
        super().__init__(tasks, shared=shared, **options)
        self.before: Weighting_ = task.Constant(self.tasks)
        self._preceded = False

    def preceded_by(self, first: Weighting_) -> Weighting_:
        """The aggregator itself, of the gradients of weighted losses.

        Raises:
            TypeError: if ``first`` is no weighting of tasks.
            ValueError: if another stands in front already.
        """
        if not isinstance(first, TaskWeighting) or isinstance(first, Aggregated):
            raise TypeError(
                f"{type(first).__name__} cannot stand in front of {self.name}: it takes a "
                "weighting of tasks, as in slaw+torchjd/PCGrad"
            )
        if self._preceded:
            raise ValueError(f"{type(self.before).__name__} stands in front of {self.name} already")
        self.before, self._preceded = first, True
        return self

    def weigh(self, step: Step) -> Tensor:
        """The sum of the losses, weighted by what stands in front, with the gradient above."""
        losses, counts = self._read(step.losses, step.counts, None)
        if not self.training:
            return self._weighted(losses, counts)
        total = self.before.weigh(step)
        present = step.counts > 0
        if not present.any():
            return total
        shared = self._shared_by(step.losses, step.counts)
        if shared is None:
            return total
        known = {id(parameter) for parameter in shared}
        own = [
            parameter
            for parameter in (*step.model.parameters(), *self.before.parameters())
            if parameter.requires_grad and id(parameter) not in known
        ]
        gradients = [
            *self._aggregate(self.before.task_weights, step.losses, present, list(shared)),
            *(torch.autograd.grad(total, own, allow_unused=True) if own else ()),
        ]
        return with_gradients(total, gradients, [*shared, *own])

    def _aggregate(
        self, weights: Tensor, losses: Tensor, present: Tensor, shared: list[Tensor]
    ) -> list[Tensor]:
        rows = torch.ones_like(present) if isinstance(self.method, Stateful) else present
        jacobians = jacobians_of((weights * losses)[rows], shared)
        own = torch.ones_like(weights)
        if torch.stack([jacobian.sum() for jacobian in jacobians]).isfinite().all():
            method = self.method
            if not rows.all():
                method = self.build(int(rows.sum()), self.options)
            # Under autocast its products would be of low precision, and gradients with them.
            with _named(self.name), torch.autocast(losses.device.type, enabled=False):
                gradients, found = aggregated(jacobians, method)
            if found is not None:
                own[rows] = found.to(own.dtype)
        else:
            gradients = [jacobian.sum(0) for jacobian in jacobians]
        self._keep(torch.where(present, weights * own, weights))
        return gradients


def _text(value: Any) -> Any:
    """A key of numbers, dtypes and devices, as JSON holds it."""
    if isinstance(value, (tuple, list, torch.Size)):
        return [_text(each) for each in value]
    return value if isinstance(value, (int, float, str)) else {type(value).__name__: str(value)}


def _of_text(text: Any) -> Any:
    if isinstance(text, list):
        return tuple(_of_text(each) for each in text)
    if isinstance(text, dict) and "dtype" in text:
        return getattr(torch, text["dtype"].removeprefix("torch."))
    return torch.device(text["device"]) if isinstance(text, dict) else text


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What TorchJD refuses, as a sentence that names the method."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error
