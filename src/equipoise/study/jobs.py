"""Methods × seeds: what is to be run, what is already there, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from equipoise.errors import UserError
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.folder import (
    Run,
    Study,
    metrics_table,
    read_run,
    read_runs,
    run_folder,
    write_run,
    write_text,
)
from equipoise.study.loop import train
from equipoise.study.methods import Method, only
from equipoise.study.page.report import write_report
from equipoise.study.statistics import Summary, summarise, to_json


@dataclass(frozen=True)
class Job:
    """One run to be made."""

    method: Method
    seed: int
    task: int | None = None
    """Position of the one task to learn, for ``single``."""

    def folder(self, out: Path) -> Path:
        """Where the run is kept in the folder of a study."""
        return run_folder(out, self.method.label, self.seed, self.task)


class Watcher(Protocol):
    """Who is told how a study goes."""

    def started(self, job: Job, name: str) -> Callable[[], None]:
        """A job begins; the function that comes back is called after every step of it."""

    def finished(self, job: Job, name: str, run: Run, *, trained: bool) -> None:
        """A job's run is in its folder; ``trained`` unless it had been there before."""


def jobs_of(
    methods: Sequence[Method], problem: Problem, seeds: int, single_task: bool
) -> list[Job]:
    """Every run of a study, seed by seed, so that a study that is stopped can be compared."""
    alone = [only(task, problem) for task in problem.tasks] if single_task else []
    return [
        job
        for seed in range(seeds)
        for job in [
            *(Job(method, seed) for method in methods),
            *(Job(method, seed, task) for task, method in enumerate(alone)),
        ]
    ]


def check_sources(jobs: Sequence[Job], out: Path) -> None:
    """Refuse to go on beside runs of a method of the user's own that has changed since.

    Raises:
        UserError: if there is one.
    """
    for job in jobs:
        folder = job.folder(out)
        if job.method.source and folder.exists() and read_run(folder).source != job.method.source:
            raise UserError(
                f"the file of {job.method.label} has changed since {folder} was made: delete its "
                "runs, or give another --out"
            )


def run_jobs(
    jobs: Sequence[Job],
    problem: Problem,
    recipe: Recipe,
    device: torch.device,
    out: Path,
    watcher: Watcher,
) -> Iterator[Run]:
    """Make the runs that are not there yet, and yield all of them."""
    for job in jobs:
        task = None if job.task is None else problem.tasks[job.task]
        name = job.method.label if task is None else f"{job.method.label} {task}"
        folder = job.folder(out)
        there = folder.exists()
        if not there:
            run = train(
                problem,
                partial(job.method.make, problem, job.seed),
                seed=job.seed,
                recipe=recipe,
                device=device,
                method=job.method.label,
                source=job.method.source,
                task=task,
                on_step=watcher.started(job, name),
            )
            write_run(folder, run)
        run = read_run(folder)
        watcher.finished(job, name, run, trained=not there)
        yield run


def write_results(out: Path, study: Study) -> Summary:
    """Write the table, the summary and the page of all finished runs of a folder."""
    runs = read_runs(out)
    summary = summarise(study, runs)
    write_text(out / "results.csv", metrics_table(runs).to_csv(index=False))
    write_text(out / "summary.json", to_json(summary))
    write_report(study, runs, out / "report.html")
    return summary
