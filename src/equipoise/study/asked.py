"""What a study is asked to do: checked before anything is trained, then done in its folder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from equipoise.errors import UserError, reason_of
from equipoise.problems.parameters import LARGEST, check_whole
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.configuration import Splits, Study
from equipoise.study.files import sha256_of
from equipoise.study.folder import corrupted_csv
from equipoise.study.jobs import Training
from equipoise.study.record import WEIGHT_ERROR
from equipoise.study.settings import MOST_PROCESSES, Settings, Where
from equipoise.study.sources import ProblemLike, Source
from equipoise.study.splits import NOTE, Drawn, Problems, Same, drawn

MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Asked:
    """A problem, how its networks are trained, what tells both from others; and where that is."""

    problem: Problem
    """With `splits` that of seed 0."""
    problems: Problems
    training: Training
    study: Study
    seeds: int
    """Runs of each method."""
    out: Path
    """The folder of the results."""
    where: Where


def ask(problem: ProblemLike | pd.DataFrame, settings: Settings, *, splits: bool = False) -> Asked:
    """The problem of these options, and the training of these figures, the problem's by default.

    Args:
        problem: as in :func:`~equipoise.compare`.
        settings: all of them.
        splits: whether each seed draws the parts of the problem anew.

    Raises:
        UserError: if they cannot be.
    """
    where = Where(
        jobs=settings["jobs"],
        on=settings["on"],
        address=settings["address"],
        checkpoint=settings["checkpoint"],
        progress=settings["progress"],
    )
    given = dict(settings["options"] or {})
    if isinstance(problem, pd.DataFrame):
        problem, given = "table", {"data": problem, **given}
    source = Source.of(problem)
    _check(settings)
    problems: Problems
    if splits:
        problems = drawn(source, given)
        options, found = problems.options, problems(0)
    else:
        fixed = isinstance(source.made, Problem) and not given
        options = given if fixed else source.options(given)
        found = source.make(options)
        problems = Same(found)
    training = _training(found.recipe, settings)
    study = _study(source, options, found, training)
    if isinstance(problems, Drawn):
        study = _of_splits(study, problems.parameter, found)
    usual = Path("results") / re.sub(r"[^\w.-]", "-", study.problem)
    out = usual if settings["out"] is None else Path(settings["out"])
    return Asked(found, problems, training, study, settings["seeds"], out, where)


def _check(settings: Settings) -> None:
    """Refuse figures that no run can have."""
    check_whole("seeds", settings["seeds"], 1, MOST_SEEDS)
    for name, value in settings.items():
        if name in ("steps", "batch_size") and value is not None:
            check_whole(name, value, 1, LARGEST)
        if name in ("threads", "processes"):
            check_whole(name, value, 1, MOST_PROCESSES)
    lr = settings["lr"]
    if lr is not None and not (0 < lr < math.inf):
        raise UserError(f"`lr` must be a positive number, found {lr}")
    check_device(settings["device"])


def _training(usual: Recipe, settings: Settings) -> Training:
    return Training(
        steps=settings["steps"] or usual.steps,
        batch_size=settings["batch_size"] or usual.batch_size,
        lr=settings["lr"] or usual.lr,
        threads=settings["threads"],
        processes=settings["processes"],
        device=settings["device"],
    )


def check_device(name: str) -> None:
    """Refuse what nothing can be computed on."""
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = reason_of(error).partition(". ")[0]
        raise UserError(f"`device` {name!r} cannot be used here: {reason}") from None


def _of_splits(study: Study, parameter: str, problem: Problem) -> Study:
    """The same with its parts drawn by each seed."""
    options = {name: value for name, value in study.options.items() if name != parameter}
    splits = Splits(parameter, train=len(problem.train), test=len(problem.test))
    return replace(study, options=options, splits=splits, notes=(*study.notes, NOTE))


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
