"""The figures of a study as rows of text, for the page and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from equipoise.study.configuration import Study, Tuned
from equipoise.study.confirming import Confirmation
from equipoise.study.intervals import Interval, format_number, tied
from equipoise.study.names import IDEAL, REFERENCE, SINGLE
from equipoise.study.page.templates import template
from equipoise.study.runs import Run, metrics_table, named
from equipoise.study.statistics import objective_by_task
from equipoise.study.summary import MethodSummary, Summary
from equipoise.study.verdict import verdict

ARROWS = {"min": "\N{NO-BREAK SPACE}↓", "max": "\N{NO-BREAK SPACE}↑"}
DIVERGED = "diverged runs"
JUDGEMENT = "judgement"


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    best: bool = False


Grid: TypeAlias = tuple[list[str], list[tuple[str, list[Cell]]]]
"""Headings of the columns, and for each row its name and cells."""


def results_table(summary: Summary) -> Grid:
    """Headings, and a row of cells for each method; nothing is best while runs are missing."""
    rows = summary.methods
    columns: dict[str, list[Cell]] = {}
    for metric, goal in summary.goals.items():
        values = [row.metrics[metric] for row in rows]
        columns[f"{named(metric, summary.tasks[metric])}{ARROWS[goal]}"] = [
            Cell("diverged" if row.diverged and math.isnan(value.mean) else str(value), best)
            for row, value, best in zip(rows, values, _best(summary, values, goal), strict=True)
        ]
    names = [row.method for row in rows]
    ranks = [row.mean_rank for row in rows]
    places = ["–" if math.isnan(rank) else f"{rank:.2f}" for rank in ranks]
    first = _best_of(names, ranks, places, "min", summary.finished)
    columns[f"mean rank{ARROWS['min']}"] = list(map(Cell, places, first))
    if REFERENCE in names:
        columns[f"over {REFERENCE}"] = [Cell(_difference(row)) for row in rows]
        columns[JUDGEMENT] = [Cell(row.judgement or "–") for row in rows]
    if any(row.tasks_better is not None for row in rows):
        columns["tasks better, worse"] = [Cell(_tasks(row)) for row in rows]
    gains = [row.delta_m for row in rows if row.delta_m is not None]
    if gains:
        columns[f"Δm, %{ARROWS['max']}"] = [
            Cell(gain.signed, best)
            for gain, best in zip(gains, _best(summary, gains, "max"), strict=True)
        ]
    columns["ms per step"] = [Cell(format_number(1000 * row.seconds_per_step)) for row in rows]
    columns[DIVERGED] = [Cell(f"{row.diverged} of {row.seeds}") for row in rows]
    if not summary.finished:
        columns["finished"] = [Cell(_seeds(summary, row)) for row in rows]
    return list(columns), [
        (name, list(cells)) for name, *cells in zip(names, *columns.values(), strict=True)
    ]


def results_html(summary: Summary) -> str:
    """The verdict and the table of results, as a part of a page; for notebooks."""
    return template("results.html.jinja").render(
        verdict=verdict(summary), table=results_table(summary)
    )


def detection_table(summary: Summary) -> Grid:
    """How well the weights of each method that weighs samples tell clean labels from wrong ones."""
    undefined = Interval(math.nan, math.nan)
    areas = [row.detection or undefined for row in summary.methods]
    rows = [
        (row.method, [Cell("diverged" if row.diverged else str(area), best)])
        for row, area, best in zip(
            summary.methods, areas, _best(summary, areas, "max"), strict=True
        )
        if row.detection is not None
    ]
    return [f"area under the ROC curve{ARROWS['max']}"], rows


def failures_table(summary: Summary) -> Grid | None:
    """Methods of which a run diverged or collapsed; ``None`` if all went well."""
    rows = [row for row in summary.methods if row.collapsed]
    if not rows:
        return None
    headings = ["diverged", "far below", "of runs", "largest rate possible"]
    return headings, [
        (
            row.method,
            [
                Cell(str(row.diverged)),
                Cell(str(row.collapsed - row.diverged)),
                Cell(str(row.seeds)),
                Cell(f"{row.collapse_rate:.0%}"),
            ],
        )
        for row in rows
    ]


def confirmation_table(confirmed: Sequence[Confirmation]) -> Grid:
    """What fresh seeds said of the methods that led."""
    headings = [f"over {REFERENCE}", "p, adjusted", "fresh seeds", JUDGEMENT]
    return headings, [
        (
            each.method,
            [
                Cell(each.difference.signed),
                Cell(f"{each.p_value:.2g}"),
                Cell(f"{each.seeds} of {each.asked}"),
                Cell(each.judgement or "not yet"),
            ],
        )
        for each in confirmed
    ]


def tuning_table(tuned: Mapping[str, Tuned], objective: str) -> Grid:
    """What was chosen for each method, and whether a better value may be beyond what was tried."""
    names = list(dict.fromkeys(name for each in tuned.values() for name in each.values))
    return [*names, f"validation {objective}", "on the edge", "tried"], [
        (
            method,
            [
                *(Cell(_value(each.values.get(name, "–"))) for name in names),
                Cell("diverged" if each.validation is None else format_number(each.validation)),
                Cell(", ".join(each.edges) or "–"),
                Cell(f"{each.tried:,}"),
            ],
        )
        for method, each in tuned.items()
    ]


def with_steps(table: Grid, steps: Mapping[str, int]) -> Grid:
    """A table of methods with the steps of each in its first column."""
    headings, rows = table
    return ["steps", *headings], [
        (method, [Cell(f"{steps[method]:,}" if method in steps else "–"), *cells])
        for method, cells in rows
    ]


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _seeds(summary: Summary, row: MethodSummary) -> str:
    if row.method not in summary.unfinished:
        return ""
    there, asked = summary.unfinished[row.method]
    return f"{there} of {asked} seeds"


def _difference(row: MethodSummary) -> str:
    if row.method == REFERENCE:
        return "reference"
    return row.lead.signed


def _tasks(row: MethodSummary) -> str:
    return "–" if row.tasks_better is None else f"{row.tasks_better}, {row.tasks_worse}"


def tasks_table(study: Study, runs: Sequence[Run], summary: Summary) -> Grid:
    """The objective of each task: headings, and a row of cells for each task."""
    table = objective_by_task(metrics_table(runs), study)
    means = {
        key: values.mean(skipna=False) for key, values in table.groupby(["task", "method"])["value"]
    }
    facts = [run.facts for run in runs]
    diverged = {(each.method, each.task) for each in facts if each.diverged_at is not None}
    methods = [row.method for row in summary.methods if row.seeds]
    names = [*methods, *([SINGLE] if any(each.method == SINGLE for each in facts) else [])]

    def row(task: str) -> list[Cell]:
        values = [means.get((task, name), math.nan) for name in names]
        texts = [format_number(value) for value in values]
        failed = [not diverged.isdisjoint({(name, None), (name, task)}) for name in names]
        goal = study.goals[study.objective]
        best = _best_of(names, values, texts, goal, summary.finished)
        return [
            Cell("diverged" if math.isnan(value) and fail else text, mark)
            for value, text, fail, mark in zip(values, texts, failed, best, strict=True)
        ]

    return names, [(task, row(task)) for task in study.tasks]


def _best(summary: Summary, values: Sequence[Interval], goal: str) -> list[bool]:
    """Which of a value a method are best."""
    names = [row.method for row in summary.methods]
    means, texts = [each.mean for each in values], [each.mean_text for each in values]
    return _best_of(names, means, texts, goal, summary.finished)


def _best_of(
    names: Sequence[str], means: Sequence[float], texts: Sequence[str], goal: str, finished: bool
) -> list[bool]:
    """Which of the methods that one can choose are best, if all runs are there."""
    if not finished:
        return [False] * len(names)
    chosen = [
        math.nan if name in (IDEAL, SINGLE) else mean
        for name, mean in zip(names, means, strict=True)
    ]
    return tied(chosen, texts, goal)
