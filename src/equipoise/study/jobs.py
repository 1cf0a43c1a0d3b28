"""What is to be run: each run is data, and can be made by any process."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import torch

from equipoise.errors import UserError
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.checkpoints import Checkpoint
from equipoise.study.group import together
from equipoise.study.loop import Loop
from equipoise.study.methods import Method, only
from equipoise.study.runs import Files, Run, named_run
from equipoise.study.splits import Problems
from equipoise.study.stages import COMPARISON, staged


@dataclass(frozen=True)
class Training:
    """How the network of a run is trained."""

    steps: int
    batch_size: int
    """Of all processes together."""
    lr: float
    threads: int = 1
    """Of each process: sums in another order have other last digits, so this is part of a study."""
    processes: int = 1
    """That train a run together."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.processes > self.batch_size:
            raise UserError(
                f"`processes`: a batch of {self.batch_size} has no sample for each of "
                f"{self.processes}: give fewer, or a larger `batch_size`"
            )

    def recipe(self, problem: Problem) -> Recipe:
        """The problem's own, with these figures."""
        return replace(problem.recipe, steps=self.steps, batch_size=self.batch_size, lr=self.lr)


@dataclass(frozen=True)
class Candidate:
    """A method, and how its networks are trained."""

    method: Method
    training: Training


@dataclass(frozen=True)
class Kept:
    """Where a run is kept while it is on its way."""

    path: Path
    identity: str
    """Of the study."""
    every: float
    """Seconds from one time to the next."""


@dataclass(frozen=True)
class Job:
    """One run to be made."""

    method: Method
    seed: int
    training: Training
    task: str | None = None
    """The one task to learn, for ``single``."""
    stage: str = COMPARISON
    kept: Kept | None = None
    """``None`` if it is not kept while it is on its way."""

    @property
    def name(self) -> str:
        """The run in words."""
        return staged(self.stage, named_run(self.method.label, self.seed, self.task))


@dataclass(frozen=True)
class Failure:
    """A run that could not be made."""

    reason: str
    """In a sentence."""
    trace: str = ""
    """Where it happened, if that is not in the sentence."""


Told: TypeAlias = Callable[["int | str"], None]
"""Gets the number of steps that a run has done; and sentences that a user should know."""


class RunError(UserError):
    """Runs that could not be made, by their names: what the first came to."""

    def __init__(self, failures: Mapping[str, Failure]) -> None:
        name, first = next(iter(failures.items()))
        others = len(failures) - 1
        also = f", and so did {others:,} more: see above" if others else ""
        super().__init__(f"{name} failed: {first.reason}{also}")
        self.trace = first.trace
        """Of the first; empty if the reason says it all."""


class Watcher(Protocol):
    """Who is told how a study goes."""

    def started(self, job: Job) -> None:
        """A job begins."""

    def steps(self, job: Job, done: int) -> None:
        """It has done so many steps, those of an earlier start among them."""

    def finished(self, job: Job, run: Run, *, trained: bool) -> None:
        """Its run is in the folder; ``trained`` unless it had been there before."""

    def failed(self, job: Job, failure: Failure) -> None:
        """There is no run of it."""

    def said(self, sentence: str) -> None:
        """Something else that a user should know."""


def jobs_of(
    candidates: Sequence[Candidate], seeds: Iterable[int], stage: str = COMPARISON
) -> list[Job]:
    """Every run, seed by seed, so that a study that is stopped can be compared."""
    return [
        Job(each.method, seed, each.training, stage=stage) for seed in seeds for each in candidates
    ]


def single_tasks(problem: Problem, training: Training, seeds: Iterable[int]) -> list[Job]:
    """Runs that learn one task each."""
    alone = {task: only(task, problem) for task in problem.tasks}
    return [Job(method, seed, training, task) for seed in seeds for task, method in alone.items()]


def run_job(job: Job, problem: Problem, told: Told) -> Files:
    """Make a run, from where it was stopped if it was; by several processes if the job says so.

    The random state of the process and its number of threads are left as they were.

    Args:
        job: what to run.
        problem: the job's.
        told: how it goes.

    Returns:
        The files of the run.
    """
    number, device = job.training.processes, job.training.device
    train = partial(_train, job, problem)
    files: Files = together(number, device, partial(train, told), partial(train, _unheard))
    return files


def _unheard(news: int | str) -> None:
    """Of several processes one says how far they are."""


def _train(job: Job, problem: Problem, told: Told, device: torch.device) -> Files:
    checkpoint = None
    if job.kept is not None and job.method.resumes:
        identity = f"{job.kept.identity} {job.name}"
        checkpoint = Checkpoint(job.kept.path, identity, job.kept.every, told)
    with _threads(job.training.threads), torch.random.fork_rng():
        loop = Loop(
            problem,
            partial(job.method.make, problem, job.seed),
            seed=job.seed,
            recipe=job.training.recipe(problem),
            device=device,
            task=job.task,
        )
        if checkpoint is not None:
            checkpoint.restore(loop)
        while not loop.done:
            loop.step()
            told(loop.record.done)
            if checkpoint is not None:
                checkpoint.step(loop)
        return loop.record.files(job.method.label, job.method.source, job.seed, job.task)


def try_job(job: Job, problems: Problems, told: Told) -> Files | Failure:
    """The same with the problem of its seed; what goes wrong is returned, for others to go on."""
    try:
        return run_job(job, problems(job.seed), told)
    except UserError as error:
        return Failure(str(error))
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}".splitlines()[0], traceback.format_exc())


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
