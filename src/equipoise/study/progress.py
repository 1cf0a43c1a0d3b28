"""How a study goes, for people to see: in a terminal, in a notebook, or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from equipoise.study.configuration import Study
from equipoise.study.jobs import Failure, Job
from equipoise.study.runs import Run, named


class _Worded(Console):
    """A console that says each line in other words."""

    def __init__(self, worded: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self.worded = worded

    def print(self, *objects: Any, **options: Any) -> None:
        said = (self.worded(each) if isinstance(each, str) else each for each in objects)
        super().print(*said, **options)


def console_of(progress: bool | Console) -> Console:
    """Where a user wants to see how it goes; if nowhere, one that says nothing."""
    if isinstance(progress, bool):
        return plain_console() if progress else Console(quiet=True)
    return progress


def plain_console(*, markup: bool = False, worded: Callable[[str], str] = str) -> Console:
    """A console that leaves lines whole, and words as they are but for what ``worded`` changes."""
    console = _Worded(worded, highlight=False, soft_wrap=True, markup=markup)
    if not (console.is_terminal or console.is_jupyter):
        console.width = 200
    return console


DRAWN_EVERY = 0.1
"""Seconds from one time that the bar is moved to the next."""


class Progress:
    """A bar with the time left where one can be drawn; and for each run a plain line.

    Args:
        study: what is run.
        jobs: its runs.
        console: where it is shown.
    """

    def __init__(self, study: Study, jobs: Sequence[Job], console: Console) -> None:
        self.study = study
        self.jobs = len(jobs)
        self.console = console
        self.done = 0
        self.steps_done = 0
        """Of the runs that have ended, all that they were to take."""
        self.on_the_way: dict[str, int] = {}
        self.drawn = 0.0
        self.bars = _bars(console, "steps, left")
        self.bar = self.bars.add_task("", total=sum(job.training.steps for job in jobs))

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def started(self, job: Job) -> None:
        """A job begins."""
        self.steps(job, 0)

    def steps(self, job: Job, done: int) -> None:
        """Move the bar."""
        self.on_the_way[job.name] = done
        if time.monotonic() - self.drawn > DRAWN_EVERY:
            self._draw()

    def finished(self, job: Job, run: Run, *, trained: bool) -> None:
        """A line with the run's objective."""
        self._ended(job, f"{job.name}: {_result(self.study, run, trained)}")

    def failed(self, job: Job, failure: Failure) -> None:
        """A line with the reason."""
        self._ended(job, f"{job.name}: failed: {failure.reason}")

    def said(self, sentence: str) -> None:
        """A line."""
        self.console.print(sentence)

    def _ended(self, job: Job, line: str) -> None:
        self.on_the_way.pop(job.name, None)
        self.done += 1
        self.steps_done += job.training.steps
        self._draw()
        self.console.print(f"{self.done}/{self.jobs} {line}")

    def _draw(self) -> None:
        self.drawn = time.monotonic()
        names = list(self.on_the_way)
        shown = names[0] if len(names) == 1 else f"{len(names)} runs at once"
        completed = self.steps_done + sum(self.on_the_way.values())
        self.bars.update(self.bar, completed=completed, description=shown if names else "")


class Counted:
    """A bar of things done out of so many, where one can be drawn.

    Args:
        total: how many there are.
        what: they are.
        console: where it is shown.
    """

    def __init__(self, total: int, what: str, console: Console) -> None:
        self.bars = _bars(console, f"{what}, left")
        self.bar = self.bars.add_task("", total=total)

    def __enter__(self) -> Counted:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def advance(self) -> None:
        """One more is done."""
        self.bars.advance(self.bar)


def _bars(console: Console, unit: str) -> Bars:
    drawn = (console.is_terminal or console.is_jupyter) and not console.quiet
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        disable=not drawn,
        transient=True,
    )


def _result(study: Study, run: Run, trained: bool) -> str:
    facts = run.facts
    task = study.deciding if facts.task is None else facts.task
    if facts.diverged_at is not None:
        result = f"diverged at step {facts.diverged_at:,}"
    else:
        value = facts.metrics[study.objective].get(task, float("nan"))
        result = f"{named(study.objective, task)} {value:.4g}"
    speed = f"{1000 * facts.seconds_per_step:.3g} ms a step"
    return f"{result}, {speed if trained else 'was there already'}"
