"""What is tuned: figures of the recipe and options of methods, each with the values to try.

lr=1e-4,3e-4,1e-3      every method with each of these
beta=0.9,0.99          the methods that have this option with each of these, times those above
20                     so many trials of the learning rate for each method, chosen by Optuna
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from equipoise.errors import UserError, near_match
from equipoise.problems.parameters import LARGEST, check_whole
from equipoise.study.jobs import Candidate
from equipoise.study.names import shown, split

Tune: TypeAlias = "Mapping[str, Sequence[Any]] | int"
"""Values by name, or the number of trials."""

FIGURES = ("lr", "batch_size")
"""Of the recipe. Not the steps: all methods have the same number."""
MOST_TRIALS = 10_000


class Point(NamedTuple):
    """A candidate, and the values that make it one."""

    values: dict[str, Any]
    candidate: Candidate


@dataclass(frozen=True)
class Tried:
    """A candidate, and the validation objective of its seeds."""

    point: Point
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds; NaN if one diverged."""
        return float(np.mean(self.values))


def parse_tune(texts: Sequence[str]) -> Tune:
    """What several texts ask for, each as above.

    Raises:
        UserError: if one is nothing of the kind, or they do not go together.
    """
    if len(texts) == 1 and texts[0].strip().isdecimal():
        return int(texts[0])
    grid = dict(map(_values, texts))
    if len(grid) < len(texts):
        raise UserError("`tune`: give each name once, with all its values")
    return grid


def _values(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    try:
        read = [ast.literal_eval(each.strip()) for each in split(values, ",")]
    except (ValueError, SyntaxError):
        read = []
    if not (equals and name.strip().isidentifier() and read):
        raise UserError(
            "`tune` must be a number of trials, or a name and its values as in lr=1e-4,1e-3, found "
            f"{shown(text)!r}"
        )
    return name.strip(), read


def check_tune(tune: Tune, candidates: Sequence[Candidate]) -> None:
    """Refuse what cannot be tuned.

    Raises:
        UserError: for a name that is no figure and no method's option, values that cannot be, or
            methods that are the same with these values.
    """
    if isinstance(tune, int):
        return check_whole("tune", tune, 1, MOST_TRIALS)
    if not isinstance(tune, Mapping) or not tune:
        raise UserError(f"`tune` must be values by name, or a number of trials, found {tune!r}")
    for name, values in tune.items():
        _check_name(name, candidates)
        twice = any(value in values[:place] for place, value in enumerate(values))
        if len(values) < 2 or twice:
            raise UserError(f"`tune`: {name} needs two different values at least, and none twice")
        for value in values:
            _check_figure(name, value)
    seen: dict[str, str] = {}
    for each in candidates:
        for label in {point.candidate.method.label for point in points(tune, each)}:
            if label in seen:
                raise UserError(
                    f"`tune`: {seen[label]} and {each.method.label} are the same method with "
                    "these values: leave one out"
                )
            seen[label] = each.method.label


def _check_name(name: str, candidates: Sequence[Candidate]) -> None:
    methods = [each.method for each in candidates]
    known = [*FIGURES, *dict.fromkeys(option for each in methods for option in each.options)]
    if name not in known:
        labels = " and ".join(each.label for each in methods)
        raise UserError(f"`tune`: {labels} cannot be tuned in {name!r}: {near_match(name, known)}")


def _check_figure(name: str, value: Any) -> None:
    if name == "batch_size":
        check_whole("tune", value, 1, LARGEST)
    if name == "lr" and not (isinstance(value, (int, float)) and 0 < value < float("inf")):
        raise UserError(f"`tune`: lr must be a positive number, found {value!r}")


def points(grid: Mapping[str, Sequence[Any]], usual: Candidate) -> list[Point]:
    """What a method is tried with: every combination of the values that it takes.

    Raises:
        UserError: if an option of the method cannot have a value.
    """
    own = {name: grid[name] for name in grid if name in (*FIGURES, *usual.method.options)}
    return [point(dict(zip(own, each, strict=True)), usual) for each in product(*own.values())]


def point(values: dict[str, Any], usual: Candidate) -> Point:
    """A method with these values in place of its own and the recipe's."""
    figures = {name: values[name] for name in FIGURES if name in values}
    options = {name: value for name, value in values.items() if name not in figures}
    training = replace(usual.training, **figures)
    return Point(values, Candidate(usual.method.having(options), training))
