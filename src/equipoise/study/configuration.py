"""What all runs of a study have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from equipoise.problems.problem import OVERALL
from equipoise.study.files import read_bytes, sha256_of
from equipoise.study.runs import to_json


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Tuned:
    """What was chosen for a method."""

    values: dict[str, Any]
    """By name, of the recipe's figures and the method's options."""
    edges: tuple[str, ...]
    """Which of them have nothing tried on one side: a better one may be there."""
    tried: int
    """Number of candidates."""
    validation: float | None
    """The mean objective on the validation part; ``None`` if every candidate diverged."""

    def __str__(self) -> str:
        values = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value!r}"
            for name, value in self.values.items()
        )
        if not values:
            return "there was nothing to choose"
        edges = f"; on the edge of what was tried: {', '.join(self.edges)}" if self.edges else ""
        none = "; none came out" if self.validation is None else ""
        return f"{values}, of {self.tried:,} tried{edges}{none}"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Splits:
    """How the parts of the problem are drawn anew for each seed."""

    parameter: str
    """Of the problem, that is the run's seed."""
    train: int
    """Samples to train on."""
    test: int


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Study:
    """What all runs of a folder have in common."""

    problem: str
    """Its name."""
    options: dict[str, Any]
    """What the problem was made with; files stand as the SHA-256 of their contents."""
    recipe: dict[str, Any]
    """steps, batch_size, lr, threads and processes."""
    tasks: tuple[str, ...]
    goals: dict[str, str]
    """Metric → ``"min"`` or ``"max"``; the first decides."""
    notes: tuple[str, ...]
    """What a reader should know of the data."""
    main: str | None = None
    """The task whose value of the objective decides; all together if ``None``."""
    files: dict[str, str] = field(default_factory=dict)
    """Where the files among the options were: they may move, and the study stays the same."""
    asked: dict[str, int] = field(default_factory=dict)
    """Method → seeds that were asked for, by all commands so far."""
    confirming: dict[str, int] = field(default_factory=dict)
    """The same of the methods that led, for fresh seeds."""
    splits: Splits | None = None
    """``None`` if all runs have the same parts."""
    tune: dict[str, Any] | None = None
    """What was tried for every method, and with how many seeds; ``None`` if nothing was."""
    tuned: dict[str, Tuned] = field(default_factory=dict)
    """Method, as it was chosen → what was chosen."""
    equal_time: str | None = None
    """``"operations"`` or ``"seconds"``, if methods are compared at equal time too."""
    decide: str = "steps"
    """Whether the table at equal ``"steps"`` or that at equal ``"time"`` decides."""
    equal_steps: dict[str, int] = field(default_factory=dict)
    """Method → steps at equal time."""
    doubted: dict[str, float] = field(default_factory=dict)
    """Method → share of the held-out labels that look wrong, if that is too many to judge by."""
    corrupted: str | None = None
    """SHA-256 of corrupted.csv, if any labels are known to be wrong; the problem determines it."""
    version: str = version("equipoise")
    """Of the library: runs of two versions are not to be mixed."""

    @property
    def objective(self) -> str:
        """The metric that decides."""
        return next(iter(self.goals))

    @property
    def deciding(self) -> str:
        """Whose value of the objective decides: the main task, or all tasks together."""
        return OVERALL if self.main is None else self.main

    @property
    def shared_by_splits(self) -> float:
        """Test over training samples, which is added to 1/seeds in the variance of a mean.

        Training parts of different seeds overlap, so that their runs are not independent: Nadeau
        and Bengio, Machine Learning 52 (2003). Zero without splits.
        """
        return 0.0 if self.splits is None else self.splits.test / self.splits.train

    @property
    def identity(self) -> str:
        """SHA-256 of all that determines the runs."""
        return sha256_of(json.dumps(self._told(), sort_keys=True, default=str).encode())

    def after(self, before: Study) -> Study:
        """The same study, with what commands before asked for."""
        added: dict[str, Any] = {
            name: {**getattr(before, name), **getattr(self, name)} for name in ADDED
        }
        return replace(self, **added)

    def differences(self, other: Study) -> list[str]:
        """What another study has otherwise, in words."""
        return [
            f"{name} {there!r} there, {here!r} now"
            for name, here, there in _differences(self._told(), other._told())
        ]

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(to_json(asdict(self)))
        untold = ("files", "corrupted", *ADDED)
        return {name: value for name, value in told.items() if name not in untold}


ADDED = ("asked", "confirming", "tuned", "equal_steps", "doubted")
"""What each command adds to, and no run depends on."""

_STUDY = TypeAdapter(Study)


def read_configuration(path: Path) -> Study:
    """The study that a file describes.

    Raises:
        Exception: of the kinds that damaged files raise, with the reason.
    """
    try:
        return _STUDY.validate_python(json.loads(read_bytes(path)))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _differences(here: Any, there: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        return [
            difference
            for key in {**there, **here}
            for difference in _differences(here.get(key), there.get(key), f"{name} {key}".strip())
        ]
    return [] if here == there else [(name, here, there)]
