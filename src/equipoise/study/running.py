"""The runs that a study is asked for and that are not in its folder yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch

from equipoise.errors import UserError
from equipoise.problems.problem import Problem
from equipoise.study.asked import Asked
from equipoise.study.configuration import Study
from equipoise.study.executors import Executor
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
from equipoise.study.jobs import Failure, Job, Watcher, methods_and_seeds
from equipoise.study.memory import check_memory
from equipoise.study.methods import Method
from equipoise.study.progress import Progress, console_of
from equipoise.study.runs import Run


def run(
    asked: Asked,
    methods: Sequence[Method],
    *,
    single_task: bool = False,
) -> tuple[list[Run], dict[str, Failure]]:
    """Make the runs that are not in the folder yet.

    Returns:
        The runs that were asked for, and the failures by the run's name.

    Raises:
        UserError: if that cannot be, or the folder is another's.
    """
    problem, training = asked.problem, asked.training
    seeds, out, where = asked.seeds, asked.out, asked.where
    for method in methods:
        if training.processes > 1 and not method.distributes:
            raise UserError(
                f"{method.label} would see only a process's share of a batch: leave it out, or "
                "train with `processes` 1"
            )
    wanted = list(methods_and_seeds(methods, problem, seeds, single_task))
    at_once = min(where.jobs, len(wanted)) if where.on == "processes" else 1
    device = torch.device(training.device)
    check_memory(problem, methods, training.recipe(problem), device, at_once)
    study = replace(asked.study, asked={method.label: seeds for method, _, _ in wanted})
    jobs = [
        Job(
            method=method,
            seed=seed,
            task=task,
            training=training,
            identity=study.identity,
            unfinished=_beside(place_of(out, study, method.label, seed, task)),
            checkpoint=where.checkpoint,
        )
        for method, seed, task in wanted
    ]
    with ExitStack() as stack:
        study, said = stack.enter_context(opened(out, study))
        progress = Progress(study, training.steps, len(jobs), console_of(where.progress))
        watcher = stack.enter_context(progress)
        _say_what_is_trained(watcher, study, problem, jobs, out)
        there = _there(out, study, watcher, said)
        _check_sources(jobs, there)
        for name, text in problem.files.items():
            write_text(out / name, text)
        write_corrupted(out, problem)
        return _make(jobs, there, problem, study, out, where.executor, watcher)


def _make(
    jobs: Sequence[Job],
    there: Mapping[str, Run],
    problem: Problem,
    study: Study,
    out: Path,
    executor: Executor,
    watcher: Watcher,
) -> tuple[list[Run], dict[str, Failure]]:
    runs, failures, to_do = [], {}, []
    for job in jobs:
        if job.name in there:
            job.unfinished.unlink(missing_ok=True)  # who was killed before he could
            runs.append(there[job.name])
            watcher.finished(job, there[job.name], trained=False)
        else:
            for sentence in make_way(
                out, place_of(out, study, job.method.label, job.seed, job.task)
            ):
                watcher.said(sentence)
            to_do.append(job)
            job.unfinished.parent.mkdir(parents=True, exist_ok=True)
    with closing(executor(problem, to_do, watcher)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, Failure):
                failures[job.name] = outcome
                watcher.failed(job, outcome)
                continue
            run = write_run(out, study, outcome)
            job.unfinished.unlink(missing_ok=True)
            runs.append(run)
            watcher.finished(job, run, trained=True)
    return runs, failures


def _there(out: Path, study: Study, watcher: Watcher, said: Sequence[str]) -> dict[str, Run]:
    """The runs of the folder by name; what cannot be trusted makes way."""
    for sentence in said:
        watcher.said(sentence)
    runs, damaged = read_runs(out, study)
    for each in damaged:
        place = set_aside(out, each.path)
        watcher.said(
            f"{each.path} cannot be trusted ({each.reason}): it is now {place}, and is trained "
            "again if it is asked for"
        )
    return {run.name: run for run in runs}


def _check_sources(jobs: Sequence[Job], there: Mapping[str, Run]) -> None:
    """Refuse to go on beside runs of a method of the user's own that has changed since."""
    for job in jobs:
        run = there.get(job.name)
        if run is not None and run.facts.source != job.method.source:
            raise UserError(
                f"the file of {job.method.label} has changed since {run.files} was made: delete "
                "its runs, or give another `out`"
            )


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.unfinished").absolute()


def _say_what_is_trained(
    watcher: Watcher, study: Study, problem: Problem, jobs: Sequence[Job], out: Path
) -> None:
    methods = {job.method.label for job in jobs if job.task is None}
    alone = {job.task for job in jobs if job.task is not None}
    seeds = {job.seed for job in jobs}
    single = f" and {_counted(len(alone), 'task')} alone" if alone else ""
    watcher.said(
        f"{study.problem}: {_counted(len(problem.tasks), 'task')}; samples: {len(problem.train):,} "
        f"to train on, {len(problem.validation):,} to choose the step on, {len(problem.test):,} to "
        "test on"
    )
    watcher.said(
        f"{_counted(len(jobs), 'run')} in {out}: {_counted(len(methods), 'method')}{single}, "
        f"{_counted(len(seeds), 'seed')} each; {_counted(study.recipe['steps'], 'step')} of "
        f"{_counted(study.recipe['batch_size'], 'sample')}"
    )
    if problem.main is not None:
        watcher.said(f"main task: {problem.main}; its {problem.objective} decides")
    for note in problem.notes:
        watcher.said(f"note: {note}")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + "s" * (number != 1)
