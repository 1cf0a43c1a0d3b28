"""What a study is asked to do: checked before anything is trained, then done in its folder."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from rich.console import Console

from equipoise.errors import UserError, reason_of
from equipoise.problems.parameters import LARGEST, check_whole
from equipoise.problems.problem import Problem
from equipoise.study.executors import Executor, in_turn, on_ray, on_workers
from equipoise.study.folder import (
    Study,
    opened,
    read_runs,
    run_folder,
    set_aside,
    write_corrupted,
    write_run,
    write_text,
)
from equipoise.study.jobs import Failure, Job, Training, Watcher, methods_and_seeds
from equipoise.study.memory import check_memory
from equipoise.study.methods import Method
from equipoise.study.progress import Progress, Silent, plain_console
from equipoise.study.record import WEIGHT_ERROR
from equipoise.study.runs import Run
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
    )


def run(
    asked: Asked,
    methods: Sequence[Method],
    seeds: int,
    out: Path,
    where: Where,
    *,
    single_task: bool = False,
) -> tuple[list[Run], dict[str, Failure]]:
    """Make the runs that are not in the folder yet.

    Returns:
        The runs that were asked for, and the failures by the run's name.

    Raises:
        UserError: if that cannot be, or the folder is another's.
    """
    check_whole("seeds", seeds, 1, MOST_SEEDS)
    problem, training = asked.problem, asked.training
    for method in methods:
        if training.processes > 1 and not method.distributes:
            raise UserError(
                f"{method.label} would see only a process's share of a batch: leave it out, or "
                "train with `processes` 1"
            )
    check_memory(problem, methods, training.recipe(problem), torch.device(training.device))
    wanted = list(methods_and_seeds(methods, problem, seeds, single_task))
    study = replace(asked.study, asked={method.label: seeds for method, _, _ in wanted})
    jobs = [
        Job(
            problem=study.problem,
            method=method,
            seed=seed,
            task=task,
            training=training,
            identity=study.identity,
            unfinished=_beside(out, study, method, seed, task, "unfinished"),
            checkpoint=where.checkpoint,
        )
        for method, seed, task in wanted
    ]
    with ExitStack() as stack:
        study, said = stack.enter_context(opened(out, study))
        watcher: Watcher = Silent()
        if where.progress:
            console = plain_console() if where.progress is True else where.progress
            progress = Progress(study, training.steps, len(jobs), console)
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
            runs.append(there[job.name])
            watcher.finished(job, there[job.name], trained=False)
        else:
            to_do.append(job)
            assert job.unfinished is not None
            job.unfinished.parent.mkdir(parents=True, exist_ok=True)
    for job, outcome in executor(problem, to_do, watcher):
        if isinstance(outcome, Failure):
            failures[job.name] = outcome
            watcher.failed(job, outcome)
            continue
        run = write_run(out, study, outcome)
        assert job.unfinished is not None
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


def _beside(
    out: Path, study: Study, method: Method, seed: int, task: str | None, ending: str
) -> Path:
    index = None if task is None else study.tasks.index(task)
    folder = run_folder(out, method.label, seed, index)
    return folder.with_name(f"{folder.name}.{ending}").absolute()


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
