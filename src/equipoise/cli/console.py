"""What the command line shows of a study."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise.study.page.tables import DIVERGED, detection_table, results_table
from equipoise.study.reproduce import Reproduced
from equipoise.study.results import Results
from equipoise.study.summary import Summary
from equipoise.study.together import Together

WIDE = 120
"""Columns of a terminal from which on all metrics have room."""


def show(results: Results, console: Console) -> None:
    """The comparison, the verdict, and where the page is."""
    for each in results.damaged:
        console.print(f"left out: {each.path}, which cannot be trusted ({each.reason})")
    console.print(summary_table(results.comparison, console.width))
    if results.at_equal_time is not None:
        steps = [f"{method} {number:,}" for method, number in results.study.equal_steps.items()]
        console.print(f"at equal time ({results.study.equal_time}), steps: {', '.join(steps)}")
        console.print(summary_table(results.at_equal_time, console.width))
    for line in [*detection_lines(results.comparison), *results.tuning]:
        console.print(line)
    console.print(results.verdict)
    console.print(f"page: {results.page}")


def summary_table(summary: Summary, width: int) -> Table:
    """The comparison as a table for a terminal of ``width`` columns; the page has all of it."""
    headings, rows = results_table(summary)
    left_out = {DIVERGED}
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


def show_reproduced(found: Reproduced, console: Console) -> None:
    """The table, the claims, and where the page is."""
    summary = found.findings.summary
    table = Table(box=None, pad_edge=False)
    for heading in summary.columns:
        table.add_column(Text(str(heading)), no_wrap=True)
    for row in summary.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
    for sentence in found.held:
        console.print(sentence)
    console.print(f"page: {found.page}")


def show_together(found: Together, console: Console) -> None:
    """The mean places, by how much they must differ, and what to make of it."""
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "mean place", *map(str, range(1, len(found.places) + 1))):
        table.add_column(heading, no_wrap=True)
    for method, mean in found.mean_places.items():
        places = (f"{place:g}" for place in found.places[method])
        table.add_row(Text(str(method)), f"{mean:.2f}", *places)
    console.print(table)
    for number, folder in enumerate(found.places.index, 1):
        console.print(f"{number}: {folder}")
    console.print(f"mean places differ from {found.critical_difference:.2f} apart on")
    console.print(found.verdict)


def detection_lines(summary: Summary) -> list[str]:
    """For each method that weighs samples how well it tells wrong labels, if any are known."""
    _, rows = detection_table(summary)
    return [
        f"{name}: area under the ROC curve of its weights as a detector of clean training labels: "
        f"{cell.text}"
        for name, (cell,) in rows
    ]
