"""What a study shows in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from equipoise.study.folder import Run, Study, named
from equipoise.study.jobs import Job
from equipoise.study.page.tables import DIVERGED, detection_table, results_table
from equipoise.study.statistics import Summary

WIDE = 120
"""Columns of a terminal from which on all metrics have room."""


def plain_console() -> Console:
    """A console that leaves lines whole and words as they are."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=200)


class Progress:
    """Bars with the time left on a terminal; elsewhere, and for each run, a plain line."""

    def __init__(self, console: Console, study: Study, steps: int, jobs: int) -> None:
        self.console = console
        self.study = study
        self.steps = steps
        self.jobs = jobs
        self.done = 0
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.whole = self.bars.add_task("all runs", total=steps * jobs)
        self.current = self.bars.add_task("", total=steps)

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

    def started(self, job: Job, name: str) -> Callable[[], None]:
        """Show the job; the function that comes back counts its steps."""
        self.bars.reset(self.current, description=f"{name}, seed {job.seed}")

        def step() -> None:
            self.bars.advance(self.current)
            self.bars.advance(self.whole)

        return step

    def finished(self, job: Job, name: str, run: Run, *, trained: bool) -> None:
        """A line with the run's objective."""
        self.done += 1
        self.bars.update(self.whole, completed=self.done * self.steps)
        line = f"{self.done}/{self.jobs} {_line(self.study, name, run, trained)}"
        self.console.print(line, markup=False)


def _line(study: Study, name: str, run: Run, trained: bool) -> str:
    task = study.deciding if run.task is None else run.task
    if run.diverged_at is not None:
        result = f"diverged at step {run.diverged_at:,}"
    else:
        value = run.metrics[study.objective].get(task, float("nan"))
        result = f"{named(study.objective, task)} {value:.4g}"
    history = run.history
    speed = f"{1000 * float(history.seconds_per_step.mean()):.3g} ms a step"
    return f"{name}, seed {run.seed}: {result}, {speed if trained else 'was there already'}"


def summary_table(summary: Summary, width: int) -> Table:
    """The comparison as a table for a terminal of ``width`` columns; the page has all of it."""
    headings, rows = results_table(summary)
    left_out = {"p", DIVERGED}
    if width < WIDE:
        left_out |= set(headings[1 : len(summary.goals)])
    shown = [index for index, heading in enumerate(headings) if heading not in left_out]
    table = Table(box=None, pad_edge=False)
    for heading in ["method", *(headings[index] for index in shown)]:
        table.add_column(Text(heading), no_wrap=True)
    for name, cells in rows:
        styled = [Text(cell.text, "bold" if cell.best else "") for cell in cells]
        table.add_row(Text(name), *(styled[index] for index in shown))
    return table


def detection_lines(summary: Summary) -> list[str]:
    """For each method that weighs samples how well it tells wrong labels, if any are known."""
    _, rows = detection_table(summary)
    return [
        f"{name}: area under the ROC curve of its weights as a detector of clean training labels: "
        f"{cell.text}"
        for name, (cell,) in rows
    ]
