"""The methods that a study can name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from equipoise import sample, task
from equipoise.errors import UserError, near_match
from equipoise.problems.problem import Problem
from equipoise.sample.base import SampleWeighting
from equipoise.sample.heldout import HeldOutWeighting
from equipoise.step import Step
from equipoise.study.statistics import IDEAL
from equipoise.task.base import TaskWeighting

if TYPE_CHECKING:
    from equipoise.peers import Peer

WEIGHTINGS: dict[str, type[TaskWeighting]] = {
    name.lower(): getattr(task, name) for name in sorted(task.__all__, key=str.lower)
}
"""Name on the command line → class, for all that :mod:`equipoise.task` exports."""

SAMPLE_WEIGHTINGS: dict[str, type[SampleWeighting]] = {
    name.lower(): getattr(sample, name) for name in sorted(sample.__all__, key=str.lower)
}
"""The same for all that :mod:`equipoise.sample` exports."""

DEFAULT = ("constant", "uncertainty", "dwa", "slaw")

TORCHJD = "torchjd/"
"""What the names of TorchJD's methods begin with."""

LEAST_TASKS = {f"{TORCHJD}Krum": 3}
"""Tasks that a method needs, where one is not enough."""

TRIED = 8
"""Samples on which it is tried whether a method can take a step."""


def torchjd_methods() -> dict[str, Peer]:
    """Name on the command line → method, for all that TorchJD exports.

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


def default_methods(problem: Problem) -> list[str]:
    """The cheap methods of the SLAW paper, and the ideal weights where they are known."""
    return [*DEFAULT, *[IDEAL] * (problem.ideal_weights is not None)]


def check_methods(methods: Sequence[str], problem: Problem) -> list[str]:
    """The methods by their proper names, in whatever case they were given.

    Raises:
        UserError: for a name that is not a method's or occurs twice, and a method that cannot run.
    """
    names = [_proper_name(name, problem) for name in methods]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the method {name!r} is named twice in --methods")
        _check_peer(name, problem)
    with torch.random.fork_rng():
        network = problem.network()
    weightings = {name: make_weighting(name, problem, 0, network) for name in names}
    # Not those that aggregate: a step of theirs may need memory or minutes. Not those of samples: a
    # few may hold no label of the main task.
    alone = {
        name: each
        for name, each in weightings.items()
        if isinstance(each, TaskWeighting) and not aggregates(name)
    }
    _check_step(alone, problem, network)
    return names


def make_weighting(
    method: str, problem: Problem, seed: int, network: nn.Module
) -> TaskWeighting | SampleWeighting:
    """The weighting that a method's name stands for, with its default options.

    ``seed`` goes to those that draw numbers of their own.
    """
    if method in SAMPLE_WEIGHTINGS:
        return _sample_weighting(method, problem, network)
    return _task_weighting(method, problem, seed)


def _sample_weighting(method: str, problem: Problem, network: nn.Module) -> SampleWeighting:
    kind = SAMPLE_WEIGHTINGS[method]
    if problem.main is None:
        raise UserError(f"{method} serves a main task: name one with --main, or leave it out")
    if issubclass(kind, HeldOutWeighting) and problem.held_out is None:
        raise UserError(
            f"{method} needs samples that are held out from training: give their share with "
            "--held-out, or leave it out"
        )
    shared = tuple(problem.shared(network))
    return kind(problem.losses, network, main=problem.main, shared=shared, tasks=problem.tasks)


def _task_weighting(method: str, problem: Problem, seed: int) -> TaskWeighting:
    first, plus, last = method.rpartition("+")
    if last.startswith(TORCHJD):
        before = _task_weighting(first, problem, seed) if plus else None
        return torchjd_methods()[last].make(problem.tasks, before)
    if method == IDEAL:
        assert problem.ideal_weights is not None
        return task.Constant(problem.tasks, initial=problem.ideal_weights)
    kind = WEIGHTINGS[method]
    draws = "seed" in inspect.signature(kind).parameters
    options: dict[str, Any] = {"seed": seed} if draws else {}
    return kind(problem.tasks, **options)


def only(name: str, problem: Problem) -> TaskWeighting:
    """Weight 1 for one task and 0 for the others: the network that learns it alone."""
    return task.Constant(problem.tasks, initial=[float(each == name) for each in problem.tasks])


def aggregates(name: str) -> bool:
    """Whether a method, by its proper name, aggregates the gradients of all tasks."""
    last = name.rpartition("+")[2]
    if not last.startswith(TORCHJD):
        return False
    return torchjd_methods()[last].weighting.needs.startswith("gradients")


def _check_peer(method: str, problem: Problem) -> None:
    """Refuse a method of TorchJD's that no study can run, or not one of so few tasks."""
    last, tasks = method.rpartition("+")[2], len(problem.tasks)
    if not last.startswith(TORCHJD):
        return
    left_out = torchjd_methods()[last].left_out
    if left_out:
        raise UserError(f"{last} cannot be compared, unlike {TORCHJD}PCGrad: {left_out}")
    least = LEAST_TASKS.get(last, 1)
    if tasks < least:
        raise UserError(
            f"{last} cannot serve this problem, and {TORCHJD}PCGrad can: it needs at least {least} "
            f"tasks, and there are {tasks}"
        )


def _check_step(
    weightings: Mapping[str, TaskWeighting], problem: Problem, network: nn.Module
) -> None:
    """Refuse what fails in a step on a few samples where constant weights do not."""
    with torch.random.fork_rng():
        batch = problem.train[torch.arange(min(TRIED, len(problem.train)))]
        shared = tuple(problem.shared(network))

        def take_step(weighting: TaskWeighting) -> None:
            weighting.weigh(Step(problem.losses, network, batch, shared))

        try:
            take_step(task.Constant(problem.tasks))
        except Exception:  # no fault of a method's: training says what it is
            return
        for name, weighting in weightings.items():
            try:
                take_step(weighting)
            except (ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0]
                raise UserError(
                    f"{name} cannot serve this problem, and slaw can: {reason}"
                ) from error


def _proper_name(name: str, problem: Problem) -> str:
    first, plus, last = name.rpartition("+")
    if plus:
        first, last = _proper_name(first, problem), _proper_name(last, problem)
        if first in SAMPLE_WEIGHTINGS or aggregates(first) or not aggregates(last):
            raise UserError(
                f"{name!r} is no method: + puts a weighting of tasks in front of an aggregator of "
                "TorchJD's, as in slaw+torchjd/PCGrad"
            )
        return f"{first}+{last}"
    known = [*WEIGHTINGS, *SAMPLE_WEIGHTINGS, *[IDEAL] * (problem.ideal_weights is not None)]
    if name.lower().startswith(TORCHJD):
        known = list(torchjd_methods())
    proper = {each.lower(): each for each in known}
    if name == IDEAL and name not in known:
        raise UserError(
            "the method 'ideal' needs a problem that knows its ideal weights; slaw needs none"
        )
    if name.lower() not in proper:
        raise UserError(f"there is no method {name!r}: {near_match(name, known)}")
    return proper[name.lower()]
