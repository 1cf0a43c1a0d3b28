"""The methods that a study can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add, or_
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from equipoise import sample, task
from equipoise.errors import UserError, near_match
from equipoise.problems.problem import Problem
from equipoise.step import Step
from equipoise.study.arguments import checked, options_of
from equipoise.study.losses import losses_of
from equipoise.study.modules import imported, text_of, users_own
from equipoise.study.names import IDEAL, REFERENCE, SINGLE, Named, parse, shown
from equipoise.weighting import Needs, Weighting

if TYPE_CHECKING:
    from equipoise.peers import TorchJD

WEIGHTINGS: dict[str, type[Weighting]] = {
    name.lower(): getattr(module, name)
    for module in (task, sample)
    for name in sorted(module.__all__, key=str.lower)
}
"""Name on the command line → class, for all of ours."""

MethodLike: TypeAlias = "str | type[Weighting] | Callable[[Problem], Any]"
"""A text, a class, or a function of the problem that returns one of these or a weighting."""

SUBCLASS = "make it a subclass of equipoise.LossWeighting, or of another of its kind"
DEFAULT = ("constant", "uncertainty", "dwa", "slaw")

TORCHJD = "torchjd/"
"""What the names of TorchJD's methods begin with."""

LEAST_TASKS = {f"{TORCHJD}Krum": 3}
"""Tasks that a method needs, where one is not enough."""

TRIED = 8
"""Samples on which it is tried whether a method can take a step."""


@dataclass(frozen=True)
class Part:
    """A class of weightings, and the options that differ from its defaults."""

    name: str
    kind: type[Weighting]
    options: Mapping[str, Any]
    label: str
    """Name and options, the same for every spelling."""
    function: Callable[[Problem], Weighting] | None = None
    """Of a user's own, that makes it instead."""

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own."""
        return self.function is not None or ":" in self.name

    @property
    def tunable(self) -> set[str]:
        """Names of the options that another value may be tried for."""
        settled = self.function is not None or self.name in (IDEAL, REFERENCE)
        return set() if settled else set(options_of(self.kind))

    def having(self, options: Mapping[str, object]) -> Part:
        """The same with other values of those of these options that it has.

        Raises:
            UserError: if one cannot have such a value.
        """
        own = {name: value for name, value in options.items() if name in self.tunable}
        return _labelled(self.name, self.kind, {**self.options, **own}) if own else self

    def make(self, problem: Problem, seed: int, network: nn.Module) -> Weighting:
        """The weighting; ``seed`` goes to one that draws numbers of its own."""
        if self.function is not None:
            return self.function(problem)
        draws = {"seed": seed} if "seed" in options_of(self.kind) else {}
        try:
            return self.kind.made_for(
                problem.tasks,
                problem.loss_function,
                network,
                main=problem.main,
                **{"shared": tuple(problem.shared(network)), **draws, **self.options},
            )
        except UserError:
            raise
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.label}: {error}") from error


@dataclass(frozen=True)
class Method:
    """How losses are weighed: by one weighting, or by several, each in front of the next."""

    parts: tuple[Part, ...]

    @property
    def label(self) -> str:
        """The same for every spelling of the same method, which it names again."""
        return "+".join(part.label for part in self.parts)

    @property
    def needs(self) -> Needs:
        """What it asks of a step."""
        return reduce(or_, (part.kind.needs for part in self.parts))

    @property
    def resumes(self) -> bool:
        """Whether a run of it goes on as if never stopped."""
        return all(part.kind.resumes for part in self.parts)

    @property
    def distributes(self) -> bool:
        """Whether several processes can train with it together."""
        return all(part.kind.distributes for part in self.parts)

    @property
    def source(self) -> str | None:
        """What tells what is a user's own from the same with changed text."""
        own = [text_of(part.function or part.kind) for part in self.parts if part.is_own]
        return ", ".join(filter(None, own)) or None

    @property
    def options(self) -> set[str]:
        """Names of the options of its parts that another value may be tried for."""
        return set().union(*(part.tunable for part in self.parts))

    def having(self, options: Mapping[str, object]) -> Method:
        """The same with other values of those of these options that its parts have."""
        return Method(tuple(part.having(options) for part in self.parts))

    def make(self, problem: Problem, seed: int, network: nn.Module) -> Weighting:
        """The weighting for a problem's network.

        Raises:
            UserError: if a constructor refuses its options, or the parts do not go together.
        """
        weightings = [part.make(problem, seed, network) for part in self.parts]
        try:
            return reduce(add, weightings)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.label!r} is no method: {error}") from error


def torchjd_methods() -> Mapping[str, type[TorchJD]]:
    """Name on the command line → class, for all that TorchJD exports.

    Raises:
        UserError: if TorchJD is not installed.
    """
    try:
        from equipoise.peers import peers
    except ModuleNotFoundError as error:
        if error.name != "torchjd":
            raise
        raise UserError(
            f"{TORCHJD}… is for the methods of TorchJD, which is missing: install it with "
            "pip install 'equipoise[baselines]'"
        ) from None
    return peers()


def default_methods(problem: Problem) -> str:
    """The cheap methods of the SLAW paper, and the ideal weights where they are known."""
    return ",".join([*DEFAULT, *[IDEAL] * (problem.ideal_weights is not None)])


def check_methods(given: str | Sequence[MethodLike] | None, problem: Problem) -> list[Method]:
    """The methods that are given, each tried on the problem as far as that takes no time.

    Raises:
        UserError: for what is no method or occurs twice, and a method that cannot run.
    """
    if given is None:
        given = default_methods(problem)
    methods = [
        method
        for each in ([given] if isinstance(given, str) else given)
        for method in _methods_of(each, problem)
    ]
    if not methods:
        raise UserError("`methods` names no method: slaw is one")
    check_made(methods, problem)
    return methods


def check_made(methods: Sequence[Method], problem: Problem) -> None:
    """Try each method on the problem as far as that takes no time.

    Raises:
        UserError: for one that occurs twice or cannot run.
    """
    labels = [method.label for method in methods]
    for method in methods:
        if labels.count(method.label) > 1:
            raise UserError(f"the method {method.label!r} is named twice")
        _check_needs(method, problem)
    with torch.random.fork_rng(), users_own("the problem's network"):
        network = problem.network()
        list(problem.shared(network))
    weightings = {method.label: method.make(problem, 0, network) for method in methods}
    # Not those that aggregate: a step of theirs may need memory or minutes. Not those that serve a
    # main task: of a few samples none may have its label.
    alone = {
        method.label: weightings[method.label]
        for method in methods
        if Needs.MAIN not in method.needs and not aggregates(method)
    }
    _check_step(alone, problem, network)


def find_methods(text: str, problem: Problem | None = None) -> list[Method]:
    """The methods that a text names: see :mod:`equipoise.study.names`.

    Raises:
        UserError: if there is no such method, or it has no such options.
    """
    return [Method(tuple(_part(named, problem) for named in parts)) for parts in parse(text)]


def _methods_of(given: MethodLike, problem: Problem) -> list[Method]:
    """The methods that one thing stands for."""
    if isinstance(given, str):
        return find_methods(given, problem)
    if isinstance(given, type):
        if not issubclass(given, Weighting):
            raise UserError(f"{_path(given)} is no weighting: {SUBCLASS}")
        known = {kind: name for name, kind in WEIGHTINGS.items()}
        name = known.get(given) or getattr(given, "name", None) or _path(given)
        return [Method((Part(name, given, {}, label=name),))]
    if not callable(given):
        raise UserError(f"a method is a text, a class or a function, found {given!r}")
    made = given(problem)
    if not isinstance(made, Weighting):
        return _methods_of(made, problem)
    name = _path(given)
    return [Method((Part(name, type(made), {}, label=name, function=given),))]


def _path(thing: Any) -> str:
    """Where a class or function is: ``module:name``."""
    return f"{thing.__module__}:{thing.__qualname__}"


def only(name: str, problem: Problem) -> Method:
    """Weight 1 for one task and 0 for the others: the network that learns it alone."""
    weights = [float(each == name) for each in problem.tasks]
    return Method((_constant(SINGLE, weights),))


def aggregates(method: Method) -> bool:
    """Whether a method of TorchJD's aggregates the gradients of all tasks."""
    last = method.parts[-1]
    return last.name.startswith(TORCHJD) and Needs.GRADIENTS in last.kind.needs


def _constant(name: str, weights: Sequence[float]) -> Part:
    return Part(name, task.Constant, {"initial": list(weights)}, label=name)


def _part(named: Named, problem: Problem | None) -> Part:
    ideal = None if problem is None else problem.ideal_weights
    if named.name.lower() == IDEAL:
        return _ideal(named, ideal)
    name, kind = _own(named.name) if ":" in named.name else _known(named.name, ideal is not None)
    return _labelled(name, kind, named.options)


def _labelled(name: str, kind: type[Weighting], given: Mapping[str, object]) -> Part:
    options = checked(name, kind, given)
    said = ", ".join(f"{option}={value!r}" for option, value in options.items())
    return Part(name, kind, options, label=f"{name}({said})" if said else name)


def _ideal(named: Named, weights: Sequence[float] | None) -> Part:
    if weights is None:
        raise UserError(
            "the method 'ideal' needs a problem that knows its ideal weights; slaw needs none"
        )
    if named.options:
        raise UserError("the method 'ideal' has no options; constant has initial")
    return _constant(IDEAL, weights)


def _own(name: str) -> tuple[str, type[Weighting]]:
    """A class of the user's own, named as ``module:Class``."""
    kind = imported(name)
    if not (isinstance(kind, type) and issubclass(kind, Weighting)):
        raise UserError(f"{name} is no weighting: {SUBCLASS}")
    return name, kind


def _known(name: str, ideal: bool) -> tuple[str, type[Weighting]]:
    """Proper name and class of a method of ours or TorchJD's, in whatever case it is written."""
    known: Mapping[str, type[Weighting]]
    known = torchjd_methods() if name.lower().startswith(TORCHJD) else WEIGHTINGS
    proper = {each.lower(): each for each in known}
    if name.lower() not in proper:
        hint = near_match(name, [*known, *[IDEAL] * ideal])
        raise UserError(f"there is no method {shown(name)!r}: {hint}")
    return proper[name.lower()], known[proper[name.lower()]]


def _check_needs(method: Method, problem: Problem) -> None:
    """Refuse what the problem does not offer."""
    if Needs.MAIN in method.needs and problem.main is None:
        raise UserError(f"{method.label} serves a main task: name one with `main`, or leave it out")
    if Needs.HELD_OUT in method.needs and problem.held_out is None:
        raise UserError(
            f"{method.label} needs samples that are held out from training: give their share with "
            "`held_out`, or leave it out"
        )
    tasks, last = len(problem.tasks), method.parts[-1].name
    least = LEAST_TASKS.get(last, 1)
    if tasks < least:
        raise UserError(
            f"{last} cannot serve this problem, and {TORCHJD}PCGrad can: it needs at least {least} "
            f"tasks, and there are {tasks}"
        )


def _check_step(weightings: Mapping[str, Weighting], problem: Problem, network: nn.Module) -> None:
    """Refuse what fails in a step on a few samples where constant weights do not."""
    losses = losses_of(problem)
    with torch.random.fork_rng():

        def take_step(weighting: Weighting) -> None:
            batch = problem.train[torch.arange(min(TRIED, len(problem.train)))]
            weighting.weigh(Step(losses, network, batch))

        try:
            take_step(task.Constant(problem.tasks))
        except Exception:  # no fault of a method's: training says what it is
            return
        for label, weighting in weightings.items():
            try:
                take_step(weighting)
            except Exception as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise UserError(
                    f"{label} cannot serve this problem, and slaw can: {reason}"
                ) from error
