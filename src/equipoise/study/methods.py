"""The methods that a study can name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from equipoise import task
from equipoise.errors import UserError, near_match
from equipoise.problems.problem import Problem
from equipoise.study.statistics import IDEAL
from equipoise.task.base import TaskWeighting

if TYPE_CHECKING:
    from equipoise.peers import Peer

WEIGHTINGS: dict[str, type[TaskWeighting]] = {
    name.lower(): getattr(task, name) for name in sorted(task.__all__, key=str.lower)
}
"""Name on the command line → class, for all that :mod:`equipoise.task` exports."""

DEFAULT = ("constant", "uncertainty", "dwa", "slaw")

TORCHJD = "torchjd/"
"""What the names of TorchJD's methods begin with."""


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
        make_weighting(name, problem, seed=0)
    return names


def make_weighting(method: str, problem: Problem, seed: int) -> TaskWeighting:
    """The weighting that a method's name stands for, with its default options.

    ``seed`` goes to those that draw numbers of their own.
    """
    first, plus, last = method.rpartition("+")
    if last.startswith(TORCHJD):
        before = make_weighting(first, problem, seed) if plus else None
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


def _proper_name(name: str, problem: Problem) -> str:
    first, plus, last = name.rpartition("+")
    if plus:
        first, last = _proper_name(first, problem), _proper_name(last, problem)
        if _aggregates(first) or not _aggregates(last):
            raise UserError(
                f"{name!r} is no method: + puts a weighting of tasks in front of an aggregator of "
                "TorchJD's, as in slaw+torchjd/PCGrad"
            )
        return f"{first}+{last}"
    known = [*WEIGHTINGS, *[IDEAL] * (problem.ideal_weights is not None)]
    if name.lower().startswith(TORCHJD):
        known = list(torchjd_methods())
    proper = {each.lower(): each for each in known}
    if name == IDEAL and name not in known:
        raise UserError("the method 'ideal' needs a problem that knows its ideal weights")
    if name.lower() not in proper:
        raise UserError(f"there is no method {name!r}: {near_match(name, known)}")
    return proper[name.lower()]


def _aggregates(name: str) -> bool:
    last = name.rpartition("+")[2]
    if not last.startswith(TORCHJD):
        return False
    return torchjd_methods()[last].weighting.needs.startswith("gradients")
