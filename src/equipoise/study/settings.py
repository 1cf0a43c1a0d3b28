"""How runs are made, where, and the defaults."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar, get_type_hints

from rich.console import Console

from equipoise.errors import UserError
from equipoise.problems.parameters import check_whole
from equipoise.study.executors import Executor, in_turn, on_ray, on_workers

PathLike: TypeAlias = str | os.PathLike[str]

MOST_PROCESSES = 1_024
"""Also threads: beyond any machine, and too few for a slip to bring one down."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Settings(TypedDict, total=False):
    """Arguments of whatever trains, as :func:`~equipoise.compare` describes them."""

    options: Mapping[str, Any] | None
    seeds: int
    steps: int | None
    batch_size: int | None
    lr: float | None
    device: str
    threads: int
    processes: int
    jobs: int
    on: Literal["processes", "ray"]
    address: str | None
    checkpoint: float
    out: PathLike | None
    progress: bool | Console


DEFAULTS: Settings = {
    "options": None,
    "seeds": 5,
    "steps": None,
    "batch_size": None,
    "lr": None,
    "device": "cpu",
    "threads": 1,
    "processes": 1,
    "jobs": 1,
    "on": "processes",
    "address": None,
    "checkpoint": 60.0,
    "out": None,
    "progress": True,
}


def with_defaults(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Give a function of ``**settings`` all of them, and let ``help`` show them one by one."""
    signature, hints = inspect.signature(function), get_type_hints(Settings)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    settings = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hint)
        for (name, value), hint in zip(DEFAULTS.items(), hints.values(), strict=True)
    ]
    spelled_out = signature.replace(parameters=[*own, *settings])

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        bound = spelled_out.bind(*args, **kwargs)
        bound.apply_defaults()
        return function(*bound.args, **bound.kwargs)

    vars(called)["__signature__"] = spelled_out
    return called


@dataclass(frozen=True)
class Where:
    """Where and how safely runs are made; of no influence on what comes of them."""

    jobs: int
    on: Literal["processes", "ray"]
    address: str | None
    checkpoint: float
    progress: bool | Console
    """Whether to show how it goes, or where."""

    def __post_init__(self) -> None:
        check_whole("jobs", self.jobs, 1, MOST_PROCESSES)
        if self.on not in ("processes", "ray"):
            raise UserError(f"`on` must be 'processes' or 'ray', found {self.on!r}")
        if self.address is not None and self.on != "ray":
            raise UserError("`address` is of a Ray cluster: give `on` 'ray' too, or leave it out")
        if not (self.checkpoint >= 0 and math.isfinite(self.checkpoint)):
            raise UserError(f"`checkpoint` must be seconds, found {self.checkpoint}")

    @property
    def executor(self) -> Executor:
        """What makes the runs."""
        if self.on == "ray":
            return on_ray(self.address)
        return in_turn if self.jobs == 1 else on_workers(self.jobs)
