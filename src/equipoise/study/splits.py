"""The problem of each run: always the same, or with its parts drawn anew by the run's seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from equipoise.errors import UserError
from equipoise.problems.problem import Problem
from equipoise.study.sources import Source

Problems: TypeAlias = Callable[[int], Problem]
"""From the seed of a run to its problem."""

SEEDS = ("split_seed", "data_seed")
"""Parameters of a problem that draw its parts."""

NOTE = (
    "Training, held-out and test samples are drawn anew for each seed: what is said is of samples "
    "drawn in this way, not of these alone."
)


@dataclass(frozen=True)
class Same:
    """One problem for all runs."""

    problem: Problem

    def __call__(self, seed: int) -> Problem:
        """That one."""
        return self.problem


@dataclass(frozen=True)
class Drawn:
    """A problem for each seed, made where it is needed."""

    source: Source
    options: Mapping[str, Any]
    parameter: str

    def __call__(self, seed: int) -> Problem:
        """The problem whose parts this seed draws."""
        return self.source.make({**self.options, self.parameter: seed})


def drawn(source: Source, given: Mapping[str, Any]) -> Drawn:
    """The problems of a source with these options.

    Raises:
        UserError: if no parameter draws its parts, or it is given a value of its own.
    """
    parameter = next((known for name, known in source.parameters().items() if name in SEEDS), None)
    if parameter is None:
        raise UserError(
            f"`splits`: {source.name} has no parameter {' or '.join(SEEDS)} that draws its parts: "
            "give it one, or leave out `splits`"
        )
    name = parameter.name
    if given.get(name, parameter.default) != parameter.default:
        raise UserError(f"`splits` gives every run a {name} of its own: leave out `{name}`")
    return Drawn(source, source.options({**given, name: 0}), name)
