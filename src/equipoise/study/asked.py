"""What a study is asked to do: checked before anything is trained, then done in its folder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from rich.console import Console

from equipoise.errors import UserError, reason_of
from equipoise.problems.parameters import LARGEST, check_whole
from equipoise.problems.problem import Problem
from equipoise.study.configuration import Study
from equipoise.study.executors import Executor, in_turn, on_ray, on_workers
from equipoise.study.files import sha256_of
from equipoise.study.folder import corrupted_csv
from equipoise.study.jobs import Training
from equipoise.study.record import WEIGHT_ERROR
from equipoise.study.sources import ProblemLike, Source

MOST_SEEDS = 100_000
MOST_PROCESSES = 1_024
"""Also threads: beyond any machine, and too few for a slip to bring one down."""


@dataclass(frozen=True)
class Asked:
    """A problem, how its networks are trained, and what tells both from others."""

    problem: Problem
    training: Training
    study: Study

    @property
    def usual_folder(self) -> Path:
        """Where the results go unless a user says otherwise."""
        return Path("results") / re.sub(r"[^\w.-]", "-", self.study.problem)


@dataclass(frozen=True)
class Where:
    """Where and how safely runs are made; of no influence on what comes of them."""

    jobs: int = 1
    on: Literal["processes", "ray"] = "processes"
    address: str | None = None
    checkpoint: float = 60.0
    progress: bool | Console = True
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


def ask(
    problem: ProblemLike | pd.DataFrame,
    options: Mapping[str, Any] | None,
    *,
    steps: int | None,
    batch_size: int | None,
    lr: float | None,
    device: str,
    threads: int,
    processes: int,
) -> Asked:
    """The problem of these options, and the training of these figures, the problem's by default.

    Raises:
        UserError: if they cannot be.
    """
    given = dict(options or {})
    if isinstance(problem, pd.DataFrame):
        problem, given = "table", {"data": problem, **given}
    source = Source.of(problem)
    made = given if isinstance(source.made, Problem) and not given else source.options(given)
    for name, value in {"steps": steps, "batch_size": batch_size}.items():
        if value is not None:
            check_whole(name, value, 1, LARGEST)
    for name, value in {"threads": threads, "processes": processes}.items():
        check_whole(name, value, 1, MOST_PROCESSES)
    if lr is not None and not (0 < lr < math.inf):
        raise UserError(f"`lr` must be a positive number, found {lr}")
    check_device(device)
    found = source.make(made)
    usual = found.recipe
    training = Training(
        steps=steps or usual.steps,
        batch_size=batch_size or usual.batch_size,
        lr=lr or usual.lr,
        threads=threads,
        processes=processes,
        device=device,
    )
    if processes > training.batch_size:
        raise UserError(
            f"`processes`: a batch of {training.batch_size} has no sample for each of {processes}: "
            "give fewer, or a larger `batch_size`"
        )
    return Asked(found, training, _study(source, made, found, training))


def check_device(name: str) -> None:
    """Refuse what nothing can be computed on."""
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = reason_of(error).partition(". ")[0]
        raise UserError(f"`device` {name!r} cannot be used here: {reason}") from None


def _study(
    source: Source, options: Mapping[str, Any], problem: Problem, training: Training
) -> Study:
    goals: dict[str, str] = dict(problem.goals)
    if problem.ideal_weights is not None:
        goals[WEIGHT_ERROR] = "min"
    wrong = corrupted_csv(problem)
    paths = {name: value for name, value in options.items() if isinstance(value, Path)}
    return Study(
        problem=source.name,
        options=source.identity(options, problem),
        recipe={
            "steps": training.steps,
            "batch_size": training.batch_size,
            "lr": training.lr,
            "threads": training.threads,
            "processes": training.processes,
        },
        tasks=tuple(problem.tasks),
        goals=goals,
        notes=tuple(problem.notes),
        main=problem.main,
        files={name: str(path.absolute()) for name, path in paths.items()},
        corrupted=None if wrong is None else sha256_of(wrong.encode()),
    )
