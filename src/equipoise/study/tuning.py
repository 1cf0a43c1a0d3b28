"""Fair tuning: every method with the same values or trials, judged on the validation part.

The runs have seeds of their own and are not reported: what was chosen is, and trains anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from equipoise.problems.parameters import check_whole
from equipoise.study.asked import MOST_SEEDS, Asked
from equipoise.study.configuration import Tuned
from equipoise.study.csv import csv_text
from equipoise.study.files import write_text
from equipoise.study.grids import Point, Tried, Tune, check_tune, points
from equipoise.study.jobs import Candidate, Job, RunError, Training
from equipoise.study.methods import check_made
from equipoise.study.running import run
from equipoise.study.runs import Run
from equipoise.study.stages import TRYING, TUNING
from equipoise.study.trials import by_trials, is_on_edge

TABLE = "tuning.csv"
"""In the folder of a study: what its last command tried."""


def tuned(
    asked: Asked, candidates: Sequence[Candidate], tune: Tune, seeds: int
) -> tuple[Asked, list[Candidate]]:
    """Choose for each method among the values, and train what that takes.

    Returns:
        The study, with what was chosen, and each method as it was chosen.

    Raises:
        UserError: if that cannot be tuned, or a run fails.
    """
    check_whole("tune_seeds", seeds, 1, MOST_SEEDS)
    check_tune(tune, candidates)
    told = tune if isinstance(tune, int) else {name: list(each) for name, each in tune.items()}
    asked = replace(asked, study=replace(asked.study, tune={"tried": told, "seeds": seeds}))

    def measured(candidates: Sequence[Point]) -> list[Tried]:
        return _measured(asked, candidates, seeds)

    if isinstance(tune, int):
        tried = by_trials(candidates, asked.problem.goals[asked.problem.objective], tune, measured)
    else:
        grids = [points(tune, each) for each in candidates]
        everything = [each for grid in grids for each in grid]
        _check_made(asked, everything)
        found = iter(measured(everything))
        tried = [[next(found) for _ in grid] for grid in grids]
    chosen = [_best(asked, each) for each in tried]
    _write(asked, [each for of_method in tried for each in of_method])
    notes = {
        best.point.candidate.method.label: _note(asked, tune, best, len(own))
        for best, own in zip(chosen, tried, strict=True)
    }
    study = replace(asked.study, tuned=notes)
    return replace(asked, study=study), [each.point.candidate for each in chosen]


def _check_made(asked: Asked, everything: Sequence[Point]) -> None:
    methods = {each.candidate.method.label: each.candidate.method for each in everything}
    check_made(list(methods.values()), asked.problem)


def _note(asked: Asked, tune: Tune, best: Tried, tried: int) -> Tuned:
    return Tuned(
        values=best.point.values,
        edges=_edges(best.point.values, tune, asked.training),
        tried=tried,
        validation=best.mean if math.isfinite(best.mean) else None,
    )


def _measured(asked: Asked, candidates: Sequence[Point], seeds: int) -> list[Tried]:
    jobs = [
        [
            Job(each.method, seed, each.training, stage=_stage(each.training))
            for seed in range(TRYING, TRYING + seeds)
        ]
        for each in (point.candidate for point in candidates)
    ]
    runs, failures = run(asked, [job for own in jobs for job in own])
    if failures:
        raise RunError(failures)
    return [
        Tried(point, tuple(validation(runs[job.name]) for job in own))
        for point, own in zip(candidates, jobs, strict=True)
    ]


def _stage(training: Training) -> str:
    return f"{TUNING}/lr={training.lr!r},batch_size={training.batch_size}"


def validation(run: Run) -> float:
    """The objective of a run on the validation part, at its selected step; NaN if it diverged."""
    if run.facts.diverged_at is not None:
        return math.nan
    history = run.history
    return float(history.validation[history.evaluated_at == run.facts.selected_step][0])


def _best(asked: Asked, tried: Sequence[Tried]) -> Tried:
    """The best mean, the first of those that are equal; the first of all if none has any."""
    sign = 1 if asked.problem.goals[asked.problem.objective] == "max" else -1
    means = np.array([sign * each.mean for each in tried])
    return tried[int(np.where(np.isfinite(means), means, -np.inf).argmax())]


def _edges(values: dict[str, Any], tune: Tune, training: Training) -> tuple[str, ...]:
    """Which chosen values have nothing tried on one side of them."""
    if isinstance(tune, int):
        return ("lr",) if is_on_edge(values["lr"], training.lr) else ()
    numbers = {name: tune[name] for name in values if _is_number(values[name])}
    return tuple(
        name
        for name, known in numbers.items()
        if values[name] in (min(filter(_is_number, known)), max(filter(_is_number, known)))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _write(asked: Asked, tried: Sequence[Tried]) -> None:
    rows = [
        {
            "method": each.point.candidate.method.label,
            "lr": each.point.candidate.training.lr,
            "batch_size": each.point.candidate.training.batch_size,
            "seed": TRYING + number,
            "validation": value,
        }
        for each in tried
        for number, value in enumerate(each.values)
    ]
    write_text(asked.out / TABLE, csv_text(pd.DataFrame(rows)))
