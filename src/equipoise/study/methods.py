"""The methods that a study can name."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise import task
from equipoise.errors import UserError, near_match
from equipoise.problems.problem import Problem
from equipoise.study.statistics import IDEAL
from equipoise.task.base import TaskWeighting

WEIGHTINGS: dict[str, type[TaskWeighting]] = {
    name.lower(): getattr(task, name) for name in sorted(task.__all__, key=str.lower)
}
"""Name on the command line → class, for all that :mod:`equipoise.task` exports."""


def default_methods(problem: Problem) -> list[str]:
    """The methods that cost no extra pass, and the ideal weights where they are known."""
    cheap = [name for name, kind in WEIGHTINGS.items() if kind.passes == "none"]
    return cheap + [IDEAL] * (problem.ideal_weights is not None)


def check_methods(methods: Sequence[str], problem: Problem) -> None:
    """Raise a :class:`UserError` for a name that is not a method's, or occurs twice."""
    known = [*WEIGHTINGS, *[IDEAL] * (problem.ideal_weights is not None)]
    for name in methods:
        if name == IDEAL and name not in known:
            raise UserError("the method 'ideal' needs a problem that knows its ideal weights")
        if name not in known:
            raise UserError(f"there is no method {name!r}: {near_match(name, known)}")
        if methods.count(name) > 1:
            raise UserError(f"the method {name!r} is named twice in --methods")


def make_weighting(method: str, problem: Problem) -> TaskWeighting:
    """The weighting that a method's name stands for, with its default options."""
    if method == IDEAL:
        assert problem.ideal_weights is not None
        return task.Constant(problem.tasks, initial=problem.ideal_weights)
    return WEIGHTINGS[method](problem.tasks)


def only(name: str, problem: Problem) -> TaskWeighting:
    """Weight 1 for one task and 0 for the others: the network that learns it alone."""
    return task.Constant(problem.tasks, initial=[float(each == name) for each in problem.tasks])
