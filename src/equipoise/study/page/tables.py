"""The figures of a study as rows of text, for the page and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from equipoise.study.folder import Run, Study, metrics_table, named
from equipoise.study.statistics import (
    IDEAL,
    REFERENCE,
    SINGLE,
    Interval,
    MethodSummary,
    Summary,
    format_number,
    objective_by_task,
)

ARROWS = {"min": "\N{NO-BREAK SPACE}↓", "max": "\N{NO-BREAK SPACE}↑"}
DIVERGED = "diverged runs"


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    best: bool = False


Grid: TypeAlias = tuple[list[str], list[tuple[str, list[Cell]]]]
"""Headings of the columns, and for each row its name and cells."""


def results_table(summary: Summary) -> Grid:
    """Headings, and a row of cells for each method."""
    rows = summary.methods
    names = [row.method for row in rows]
    columns: dict[str, list[Cell]] = {}
    for metric, goal in summary.goals.items():
        means = [row.metrics[metric].mean for row in rows]
        columns[f"{named(metric, summary.tasks[metric])}{ARROWS[goal]}"] = [
            Cell(
                "diverged" if row.diverged and math.isnan(mean) else str(row.metrics[metric]), best
            )
            for row, mean, best in zip(rows, means, _best(names, means, goal), strict=True)
        ]
    ranks = [row.mean_rank for row in rows]
    columns[f"mean rank{ARROWS['min']}"] = [
        Cell("–" if math.isnan(rank) else f"{rank:.2f}", best)
        for rank, best in zip(ranks, _best(names, ranks, "min"), strict=True)
    ]
    if REFERENCE in names:
        columns[f"over {REFERENCE}"] = [Cell(_difference(row)) for row in rows]
        columns["p"] = [Cell(_p_value(row.p_value)) for row in rows]
    gains = [row.delta_m for row in rows if row.delta_m is not None]
    if gains:
        columns[f"Δm, %{ARROWS['max']}"] = [
            Cell(_signed(gain), best)
            for gain, best in zip(
                gains, _best(names, [gain.mean for gain in gains], "max"), strict=True
            )
        ]
    columns["ms per step"] = [Cell(format_number(1000 * row.seconds_per_step)) for row in rows]
    columns[DIVERGED] = [Cell(f"{row.diverged} of {row.seeds}") for row in rows]
    return list(columns), [
        (name, list(cells)) for name, *cells in zip(names, *columns.values(), strict=True)
    ]


def detection_table(summary: Summary) -> Grid:
    """How well the weights of each method that weighs samples tell clean labels from wrong ones."""
    found = [(row, row.detection) for row in summary.methods if row.detection is not None]
    best = _best([row.method for row, _ in found], [area.mean for _, area in found], "max")
    rows = [
        (row.method, [Cell("diverged" if row.diverged else str(area), mark)])
        for (row, area), mark in zip(found, best, strict=True)
    ]
    return [f"area under the ROC curve{ARROWS['max']}"], rows


def _difference(row: MethodSummary) -> str:
    if row.method == REFERENCE:
        return "reference"
    return _signed(Interval(row.difference, row.difference_half_width))


def _signed(interval: Interval) -> str:
    return f"{'+' if interval.mean > 0 else ''}{interval}"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def tasks_table(study: Study, runs: Sequence[Run], methods: Sequence[str]) -> Grid:
    """The objective of each task: headings, and a row of cells for each task."""
    table = objective_by_task(metrics_table(runs), study)
    means = {
        key: values.mean(skipna=False) for key, values in table.groupby(["task", "method"])["value"]
    }
    diverged = {(run.method, run.task) for run in runs if run.diverged_at is not None}
    names = [*methods, *([SINGLE] if any(run.method == SINGLE for run in runs) else [])]

    def row(task: str) -> list[Cell]:
        values = [means.get((task, name), math.nan) for name in names]
        failed = [not diverged.isdisjoint({(name, None), (name, task)}) for name in names]
        best = _best(names, values, study.goals[study.objective])
        return [
            Cell("diverged" if math.isnan(value) and fail else format_number(value), mark)
            for value, fail, mark in zip(values, failed, best, strict=True)
        ]

    return names, [(task, row(task)) for task in study.tasks]


def _best(names: Sequence[str], values: Sequence[float], goal: str) -> list[bool]:
    """Which of the methods that one can choose is best."""
    sound = [
        value
        for name, value in zip(names, values, strict=True)
        if name not in (IDEAL, SINGLE) and not math.isnan(value)
    ]
    if not sound:
        return [False] * len(names)
    best = min(sound) if goal == "min" else max(sound)
    return [
        name not in (IDEAL, SINGLE) and value == best
        for name, value in zip(names, values, strict=True)
    ]
