"""Methods × seeds: what is to be run, what is already there, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from equipoise.problems.problem import Problem, Recipe
from equipoise.sample.base import SampleWeighting
from equipoise.study.methods import make_weighting, only
from equipoise.study.report import write_report
from equipoise.study.results import (
    Run,
    Study,
    metrics_table,
    read_run,
    read_runs,
    run_folder,
    write_run,
    write_text,
)
from equipoise.study.statistics import SINGLE, Summary, summarise, to_json
from equipoise.study.train import train
from equipoise.task.base import TaskWeighting


@dataclass(frozen=True)
class Job:
    """One run to be made."""

    method: str
    seed: int
    task: int | None = None
    """Position of the one task to learn, for ``single``."""


class Watcher(Protocol):
    """Who is told how a study goes."""

    def started(self, job: Job, name: str) -> Callable[[], None]:
        """A job begins; the function that comes back is called after every step of it."""

    def finished(self, job: Job, name: str, run: Run, *, trained: bool) -> None:
        """A job's run is in its folder; ``trained`` unless it had been there before."""


def jobs_of(methods: Sequence[str], seeds: int, single_tasks: int) -> list[Job]:
    """Every run of a study, seed by seed, so that a study that is stopped can be compared."""
    return [
        job
        for seed in range(seeds)
        for job in [
            *(Job(method, seed) for method in methods),
            *(Job(SINGLE, seed, task) for task in range(single_tasks)),
        ]
    ]


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
        name = job.method if task is None else f"{job.method} {task}"
        folder = run_folder(out, job.method, job.seed, job.task)
        there = folder.exists()
        if not there:
            run = train(
                problem,
                partial(_weighting, job, problem),
                seed=job.seed,
                recipe=recipe,
                device=device,
                method=job.method,
                task=task,
                on_step=watcher.started(job, name),
            )
            write_run(folder, run)
        run = read_run(folder)
        watcher.finished(job, name, run, trained=not there)
        yield run


def _weighting(job: Job, problem: Problem, network: nn.Module) -> TaskWeighting | SampleWeighting:
    if job.task is not None:
        return only(problem.tasks[job.task], problem)
    return make_weighting(job.method, problem, job.seed, network)


def write_results(out: Path, study: Study) -> Summary:
    """Write the table, the summary and the page of all finished runs of a folder."""
    runs = read_runs(out)
    summary = summarise(study, runs)
    write_text(out / "results.csv", metrics_table(runs).to_csv(index=False))
    write_text(out / "summary.json", to_json(summary))
    write_report(study, runs, out / "report.html")
    return summary
