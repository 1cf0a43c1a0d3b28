"""Methods side by side at equal time: each trains for as long as equal weights take.

The comparison gives every method the same steps, of which some cost several of equal weights. Here
a costly method has as many fewer; a cheap one has no more, since nothing is cheaper by much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from equipoise.errors import UserError
from equipoise.study.asked import Asked
from equipoise.study.configuration import Study
from equipoise.study.costs import counted_operations, measured_seconds
from equipoise.study.folder import read_study
from equipoise.study.jobs import Candidate, Failure, jobs_of
from equipoise.study.names import REFERENCE, SINGLE
from equipoise.study.running import run
from equipoise.study.runs import Run
from equipoise.study.stages import EQUAL_TIME

Cost: TypeAlias = Literal["operations", "seconds"]
"""By what time is told, see `costs`."""
Decides: TypeAlias = Literal["steps", "time"]
"""Which table the verdict is of."""


def check_equal_time(
    asked: Asked, candidates: Sequence[Candidate], by: Cost | None, decide: Decides
) -> Asked:
    """The study with how time is told, and which table decides.

    Raises:
        UserError: if that cannot be.
    """
    if by not in (None, *get_args(Cost)):
        raise UserError(f"`equal_time` must be 'operations' or 'seconds', found {by!r}")
    if decide not in get_args(Decides):
        raise UserError(f"`decide` must be 'steps' or 'time', found {decide!r}")
    if by is None and decide == "time":
        raise UserError("`decide` 'time' is of a study with `equal_time`: give that too")
    if by is not None and REFERENCE not in {each.method.label for each in candidates}:
        raise UserError(f"`equal_time` is that of equal weights: name the method {REFERENCE} too")
    return replace(asked, study=replace(asked.study, equal_time=by, decide=decide))


def run_at_equal_time(
    asked: Asked, candidates: Sequence[Candidate], runs: Sequence[Run]
) -> tuple[list[Candidate], dict[str, Run], dict[str, Failure]]:
    """Train what equal time leaves fewer steps, and take the others from the comparison.

    Steps once fixed stay: what is measured later does not change them.

    Returns:
        The methods with their steps; all runs at equal time, and what failed, by name.
    """
    steps = read_study(asked.out).equal_steps
    if any(each.method.label not in steps for each in candidates):
        steps = {**_steps(asked, candidates, runs), **steps}
    timed = [
        replace(each, training=replace(each.training, steps=steps[each.method.label]))
        for each in candidates
    ]
    shorter = [each for each in timed if each.training.steps < asked.training.steps]
    study = replace(asked.study, equal_steps=steps)
    jobs = jobs_of(shorter, range(asked.seeds), EQUAL_TIME)
    made, failures = run(replace(asked, study=study), jobs)
    mixed = runs_at_equal_time(study, runs, list(made.values()))
    return timed, {each.name: each for each in mixed}, failures


def _steps(asked: Asked, candidates: Sequence[Candidate], runs: Sequence[Run]) -> dict[str, int]:
    """As many as take the time of equal weights; at least one, and no more than these have."""
    costs = {
        each.method.label: (
            measured_seconds(each.method, runs)
            if asked.study.equal_time == "seconds"
            else counted_operations(each, asked.problem)
        )
        for each in candidates
    }
    most = asked.training.steps
    return {
        label: min(most, max(1, round(most * costs[REFERENCE] / cost)))
        for label, cost in costs.items()
    }


def runs_at_equal_time(study: Study, runs: Sequence[Run], shorter: Sequence[Run]) -> list[Run]:
    """Of the comparison those that equal time leaves all their steps, and the shorter of others.

    Networks of single tasks have all steps: they are what the methods are measured against.
    """
    whole = {SINGLE} | {
        each for each, steps in study.equal_steps.items() if steps == study.recipe["steps"]
    }
    return [*(run for run in runs if run.facts.method in whole), *shorter]
