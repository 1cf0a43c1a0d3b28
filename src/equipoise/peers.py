"""TorchJD's methods as weightings of ours: the extra ``baselines``.

What TorchJD exports is discovered, so a new release brings its methods along. State is TorchJD's
own: of buffers made at first use, FAMO's optimizer and NashMTL's last solution, ``state_dict()``
holds what TorchJD puts there, so that a run of such a method cannot be resumed exactly. Of several
processes each aggregates its own gradients.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchjd import Stateful, aggregation, scalarization
from torchjd.aggregation import Aggregator, GramianWeightedAggregator, WeightedAggregator, Weighting
from torchjd.autojac import jac, jac_to_grad
from torchjd.scalarization import Scalarizer

from equipoise.directional import parameters_of
from equipoise.errors import UserError
from equipoise.step import Step
from equipoise.task import Constant
from equipoise.task.base import TaskWeighting

PREFIX = "torchjd/"

ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "CAGrad": lambda n: {"c": 0.5},
    "Constant": lambda n: {"weights": torch.ones(n)},
    "COSMOS": lambda n: {"lambda_": 1.0, "weights": torch.full((n,), 1 / n)},
    "FairGrad": lambda n: {"alpha": 1.0},
    "FAMO": lambda n: {"shape": n},
    "IMTLL": lambda n: {"shape": n},
    "Krum": lambda n: {"n_byzantine": 0},
    "NashMTL": lambda n: {"n_tasks": n},
    "PBI": lambda n: {"theta": 5.0, "weights": torch.full((n,), 1 / n)},
    "STCH": lambda n: {"mu": 0.1},
    "TrimmedMean": lambda n: {"trim_number": min(1, (n - 1) // 2)},
    "UW": lambda n: {"shape": n},
}
"""What a constructor needs for ``n`` tasks, where it has no default."""

LEFT_OUT = {
    "CRMOGM": "it smooths the weights of another method",
    "DWA": "it has to be told when an epoch ends; dwa has not",
    "MoDo": "it needs the gradients of two batches a step",
    "SDMGrad": "it needs the gradients of two batches a step",
}
"""What cannot be compared, and why."""

BASES = (Scalarizer, Aggregator, WeightedAggregator, GramianWeightedAggregator, Weighting)


@dataclass(frozen=True)
class Peer:
    """A method of TorchJD's, to be read about and made."""

    name: str
    kind: type[nn.Module]

    @property
    def weighting(self) -> type[TorchJD]:
        """The class of ours that runs it: says what it costs and needs."""
        if issubclass(self.kind, Aggregator):
            return Aggregated
        return Updated if hasattr(self.kind, "update") else Scalarized

    @property
    def summary(self) -> str:
        """TorchJD's own first sentence."""
        plain = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", self._first)
        return re.split(r"(?<=\.)\s", re.sub(r"`([^`<]+?) <[^`]*>`_", r"\1", plain))[0]

    @property
    def source(self) -> str:
        """Where it comes from."""
        papers = re.findall(r"<(\S+)>`_", self._first)
        return ", ".join([f"TorchJD {version('torchjd')}", *papers[:1]])

    @property
    def left_out(self) -> str | None:
        """Why it cannot be compared, if it cannot."""
        own = self.name.removeprefix(PREFIX)
        if own in LEFT_OUT or issubclass(self.kind, Weighting):
            return LEFT_OUT.get(own, "TorchJD has no aggregator of that name")
        try:
            inspect.signature(self.kind).bind(**self._arguments(2))
        except TypeError as error:
            return f"its constructor has {error}"
        return None

    @property
    def missing(self) -> str | None:
        """What has to be installed for it, and how, if anything."""
        try:
            self.build(3)
        except ImportError as error:
            return str(error)
        return None

    def make(self, tasks: int | Iterable[str], before: TaskWeighting | None = None) -> TorchJD:
        """The method as a weighting, and for an aggregator a weighting in front of it.

        Raises:
            UserError: if it cannot be compared, misses a package or wants other tasks.
        """
        if self.left_out:
            raise UserError(f"{self.name} cannot be compared: {self.left_out}")
        with _named(self.name):
            made = self.weighting(self, tasks)
        if before is not None:
            assert isinstance(made, Aggregated)
            made.before = before
        return made

    def build(self, tasks: int) -> nn.Module:
        """TorchJD's object for a number of tasks."""
        return self.kind(**self._arguments(tasks))

    def _arguments(self, tasks: int) -> dict[str, Any]:
        make = ARGUMENTS.get(self.kind.__name__)
        return {} if make is None else make(tasks)

    @property
    def _first(self) -> str:
        return " ".join((inspect.getdoc(self.kind) or "").split("\n\n")[0].split())


@cache
def peers() -> dict[str, Peer]:
    """All methods that TorchJD exports, by our names, those that cannot be compared too.

    An aggregator with the name of a scalarizer (``Mean``, …) is not listed: what it does needs no
    Jacobian.
    """
    found: dict[str, Peer] = {}
    for module, base in (
        (scalarization, Scalarizer),
        (aggregation, Aggregator),
        (aggregation, Weighting),
    ):
        for exported in sorted(module.__all__, key=str.lower):
            kind = getattr(module, exported)
            if isinstance(kind, type) and issubclass(kind, base) and kind not in BASES:
                name = PREFIX + exported.removesuffix("Weighting")
                found.setdefault(name, Peer(name, kind))
    return found


class TorchJD(TaskWeighting):
    """A ``method`` of TorchJD's, whose constants, plain attributes, are moved and cast as well."""

    def __init__(self, peer: Peer, tasks: int | Iterable[str]) -> None:
        super().__init__(tasks)
        self.peer = peer
        self.method: Any = peer.build(len(self.tasks))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        if isinstance(self.method, Stateful):
            self.method.reset()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TaskWeighting:
        for name, value in list(vars(self.method).items()):
            if isinstance(value, Tensor):
                setattr(self.method, name, fn(value))
        return super()._apply(fn, recurse)


class Scalarized(TorchJD):
    """A scalarizer. The weights are the derivatives of its scalar with respect to the losses.

    A task without labels stands at its last loss, 1 at first, without a gradient.
    """

    last: Tensor

    def __init__(self, peer: Peer, tasks: int | Iterable[str]) -> None:
        super().__init__(peer, tasks)
        self.register_buffer("last", torch.ones_like(self.initial))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self.last.fill_(1)

    def weigh(self, step: Step) -> Tensor:
        """The scalarizer's scalar."""
        values = self._values(step)
        with _named(self.peer.name):
            total: Tensor = self.method(values)
        (weights,) = torch.autograd.grad(total, values, retain_graph=True)
        self._weights.copy_(weights)
        self.last.copy_(values.detach())
        return total

    def _values(self, step: Step) -> Tensor:
        return torch.where(step.counts > 0, step.losses, self.last)


class Updated(Scalarized):
    """A scalarizer that is to see a batch's losses after the step too (FAMO): at the next step."""

    passes = "forward"
    needs = "task losses, before and after the step"

    _again: Step | None = None

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self._again = None

    def weigh(self, step: Step) -> Tensor:
        """The scalarizer's scalar."""
        if self._again is not None:
            with torch.no_grad():
                self.method.update(self._values(self._again))
        self._again = Step(step.loss_function, step.model, step.batch, step.shared)
        return super().weigh(step)


class Aggregated(TorchJD):
    """An aggregator of the gradients of the shared parameters; the others get that of the sum.

    The weights are those in the shared parameters, as far as the aggregator has any: those of the
    weighting ``before`` it, equal ones unless another is set, times its own. A task without labels
    has no row, except for a method that knows the tasks by their rows over steps, to which its row
    is zero. Where a gradient is not finite the aggregator is not asked. PCD serves the first task.
    """

    passes = "tasks backward"
    needs = "gradients of the shared parameters"

    def __init__(self, peer: Peer, tasks: int | Iterable[str]) -> None:
        super().__init__(peer, tasks)
        self.before: TaskWeighting = Constant(self.tasks)

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self.before.reset()

    def weigh(self, step: Step) -> Tensor:
        """The sum of the losses, weighted by what stands in front, with the gradient above."""
        total = self.before.weigh(step)
        present = step.counts > 0
        if not present.any():
            return total
        shared = parameters_of(step.shared)
        known = {id(parameter) for parameter in shared}
        own = [
            parameter
            for parameter in (*step.model.parameters(), *self.before.parameters())
            if parameter.requires_grad and id(parameter) not in known
        ]
        gradients = [
            *self._aggregate(self.before.weights, step.losses, present, shared),
            *(torch.autograd.grad(total, own, allow_unused=True) if own else ()),
        ]
        given: Tensor = _Given.apply(total.detach(), gradients, *shared, *own)  # type: ignore[no-untyped-call]
        return given

    def _aggregate(
        self, weights: Tensor, losses: Tensor, present: Tensor, shared: list[Tensor]
    ) -> list[Tensor]:
        rows = torch.ones_like(present) if isinstance(self.method, Stateful) else present
        jacobians = _jacobians((weights * losses)[rows], shared)
        own = torch.ones_like(weights)
        if torch.stack([jacobian.sum() for jacobian in jacobians]).isfinite().all():
            with _named(self.peer.name):
                method = self.method if rows.all() else self.peer.build(int(rows.sum()))
                gradients, found = _jac_to_grad(jacobians, method)
            if found is not None:
                own[rows] = found.to(own.dtype)
        else:
            gradients = [jacobian.sum(0) for jacobian in jacobians]
            own = own * torch.nan
        self._weights.copy_(torch.where(present, weights * own, weights))
        return gradients


def _jacobians(losses: Tensor, shared: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of all losses, one tensor ``(losses, …)`` for each parameter."""
    if losses.is_cuda:
        return jac(losses, shared, retain_graph=True)
    # On a processor the losses at once, TorchJD's default, take as long and more memory.
    jacobians = tuple(losses.new_zeros(len(losses), *parameter.shape) for parameter in shared)
    for index in range(len(losses)):
        gradients = torch.autograd.grad(losses[index], shared, retain_graph=True, allow_unused=True)
        for jacobian, gradient in zip(jacobians, gradients, strict=True):
            if gradient is not None:
                jacobian[index] = gradient
    return jacobians


def _jac_to_grad(jacobians: Iterable[Tensor], method: Any) -> tuple[list[Tensor], Tensor | None]:
    """TorchJD's own way from Jacobians to gradients and weights, on tensors nobody else sees."""
    carriers: list[Any] = []
    for jacobian in jacobians:
        carrier: Any = torch.empty_like(jacobian[0], requires_grad=True)
        carrier.jac = jacobian
        carriers.append(carrier)
    gramian = isinstance(method, GramianWeightedAggregator)
    weights = jac_to_grad(carriers, method, optimize_gramian_computation=gramian)
    return [carrier.grad for carrier in carriers], weights


class _Given(torch.autograd.Function):
    """A value that has the gradients it is given."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: list[Tensor | None], *parameters: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if gradient is None else scale * gradient for gradient in ctx.gradients)
        return (None, None, *scaled)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What TorchJD refuses, as a sentence that names the method."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error
