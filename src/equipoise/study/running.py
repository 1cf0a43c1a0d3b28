"""The runs that a study is asked for and that are not in its folder yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch

from equipoise.errors import UserError
from equipoise.study.asked import Asked
from equipoise.study.configuration import Study
from equipoise.study.files import write_text
from equipoise.study.folder import (
    make_way,
    opened,
    place_of,
    read_runs,
    set_aside,
    write_corrupted,
    write_run,
)
from equipoise.study.jobs import Failure, Job, Kept, Watcher
from equipoise.study.memory import check_memory
from equipoise.study.progress import Progress, console_of
from equipoise.study.runs import Run
from equipoise.study.stages import COMPARISON, staged


def run(asked: Asked, jobs: Sequence[Job]) -> tuple[dict[str, Run], dict[str, Failure]]:
    """Make the runs that are not in the folder yet.

    Returns:
        The runs that were asked for, and the failures, by the run's name.

    Raises:
        UserError: if that cannot be, or the folder is another's.
    """
    _check(asked, jobs)
    counts = {job.method.label: job.seed + 1 for job in jobs if job.stage == COMPARISON}
    with ExitStack() as stack:
        study, said = stack.enter_context(opened(asked.out, replace(asked.study, asked=counts)))
        progress = Progress(study, jobs, console_of(asked.where.progress))
        watcher = stack.enter_context(progress)
        _say_what_is_trained(watcher, asked, jobs)
        there = _there(asked.out, study, jobs, watcher, said)
        _check_sources(jobs, there)
        for name, text in asked.problem.files.items():
            write_text(asked.out / name, text)
        write_corrupted(asked.out, asked.problem)
        runs, failures = _make(asked, study, jobs, there, watcher)
    return {job.name: runs[job.name] for job in jobs if job.name in runs}, failures


def _check(asked: Asked, jobs: Sequence[Job]) -> None:
    """Refuse what no process, or no memory, can do."""
    if not jobs:
        return
    problem, where = asked.problem, asked.where
    methods = {job.method.label: job.method for job in jobs if job.task is None}
    for label, method in methods.items():
        if asked.training.processes > 1 and not method.distributes:
            raise UserError(
                f"{label} would see only a process's share of a batch: leave it out, or "
                "train with `processes` 1"
            )
    at_once = min(where.jobs, len(jobs)) if where.on == "processes" else 1
    largest = max((job.training for job in jobs), key=lambda each: (each.batch_size, each.steps))
    device = torch.device(largest.device)
    check_memory(problem, list(methods.values()), largest.recipe(problem), device, at_once)


def _make(
    asked: Asked,
    study: Study,
    jobs: Sequence[Job],
    there: Mapping[str, Run],
    watcher: Watcher,
) -> tuple[dict[str, Run], dict[str, Failure]]:
    runs, failures, to_do = dict(there), {}, []
    for job in jobs:
        place = place_of(asked.out, study, job.method.label, job.seed, job.task, job.stage)
        unfinished = place.with_name(f"{place.name}.unfinished").absolute()
        if job.name in there:
            unfinished.unlink(missing_ok=True)  # who was killed before he could
            watcher.finished(job, there[job.name], trained=False)
        else:
            for sentence in make_way(asked.out, place):
                watcher.said(sentence)
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            kept = Kept(unfinished, study.identity, asked.where.checkpoint)
            to_do.append(replace(job, kept=kept))
    with closing(asked.where.executor(asked.problems, to_do, watcher)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures[job.name] = outcome
                watcher.failed(job, outcome)
                continue
            runs[job.name] = write_run(asked.out, study, outcome, job.stage)
            assert job.kept is not None
            job.kept.path.unlink(missing_ok=True)
            watcher.finished(job, runs[job.name], trained=True)
    return runs, failures


def _there(
    out: Path, study: Study, jobs: Sequence[Job], watcher: Watcher, said: Sequence[str]
) -> dict[str, Run]:
    """The runs of the folder by name; what cannot be trusted makes way."""
    for sentence in said:
        watcher.said(sentence)
    there = {}
    for stage in dict.fromkeys(job.stage for job in jobs):
        runs, damaged = read_runs(out, study, stage)
        there.update({staged(stage, run.name): run for run in runs})
        for each in damaged:
            place = set_aside(out, each.path)
            watcher.said(
                f"{each.path} cannot be trusted ({each.reason}): it is now {place}, and is trained "
                "again if it is asked for"
            )
    return there


def _check_sources(jobs: Sequence[Job], there: Mapping[str, Run]) -> None:
    """Refuse to go on beside runs of a method of the user's own that has changed since."""
    for job in jobs:
        run = there.get(job.name)
        if run is not None and run.facts.source != job.method.source:
            raise UserError(
                f"the file of {job.method.label} has changed since {run.files} was made: delete "
                "its runs, or give another `out`"
            )


def _say_what_is_trained(watcher: Watcher, asked: Asked, jobs: Sequence[Job]) -> None:
    if not jobs:
        return
    problem, study = asked.problem, asked.study
    stage = jobs[0].stage.partition("/")[0]
    if stage == COMPARISON:
        watcher.said(
            f"{study.problem}: {_counted(len(problem.tasks), 'task')}; samples: "
            f"{len(problem.train):,} to train on, {len(problem.validation):,} to choose the step "
            f"on, {len(problem.test):,} to test on"
        )
    methods = {job.method.label for job in jobs if job.task is None}
    alone = {job.task for job in jobs if job.task is not None}
    seeds = {job.seed for job in jobs}
    single = f" and {_counted(len(alone), 'task')} alone" if alone else ""
    steps = {job.training.steps for job in jobs}
    batch_sizes = {job.training.batch_size for job in jobs}
    place = asked.out if stage == COMPARISON else asked.out / stage
    watcher.said(
        f"{_counted(len(jobs), 'run')} in {place}: {_counted(len(methods), 'method')}{single}, "
        f"{_counted(len(seeds), 'seed')} each; {_ranging(steps, 'step')} of "
        f"{_ranging(batch_sizes, 'sample')}"
    )
    if stage == COMPARISON and problem.main is not None:
        watcher.said(f"main task: {problem.main}; its {problem.objective} decides")
    for note in study.notes if stage == COMPARISON else ():
        watcher.said(f"note: {note}")


def _ranging(numbers: set[int], thing: str) -> str:
    least = f"{min(numbers):,} to " if len(numbers) > 1 else ""
    return least + _counted(max(numbers), thing)


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + "s" * (number != 1)
