"""The page of a study: one file that needs nothing else, and no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from equipoise.study.configuration import Study
from equipoise.study.confirming import Confirmation
from equipoise.study.files import write_text
from equipoise.study.names import IDEAL, REFERENCE, SINGLE
from equipoise.study.page import charts, sample_charts
from equipoise.study.page.pictures import data_uri
from equipoise.study.page.tables import (
    ARROWS,
    Grid,
    confirmation_table,
    detection_table,
    failures_table,
    results_table,
    tasks_table,
    tuning_table,
    with_steps,
)
from equipoise.study.page.templates import template
from equipoise.study.repeat import command
from equipoise.study.runs import Run, metrics_table
from equipoise.study.samples import SHOWN
from equipoise.study.statistics import gains_by_task
from equipoise.study.summary import Summary
from equipoise.study.verdict import verdict

PANELS = 6
"""Methods beyond which their panels are shown one at a time."""
_HASH = "sha256:"


class Beside(NamedTuple):
    """What a study has beside the comparison that decides."""

    verdict: str | None = None
    """Of all of it; by default of the comparison alone."""
    confirmation: Sequence[Confirmation] = ()
    other: Summary | None = None
    """The comparison at equal time where that at equal steps decides, or the other way round."""


NOTHING = Beside()


def write_report(
    study: Study,
    runs: Sequence[Run],
    summary: Summary,
    corrupted: NDArray[np.bool_] | None,
    path: Path,
    beside: Beside = NOTHING,
) -> None:
    """Write the page of a study, whole or not at all.

    Args:
        study: what the runs have in common.
        runs: finished runs of it; methods may lack seeds, and single-task runs may be there or not.
        summary: what they say.
        corrupted: which training labels are known to be wrong, ``(samples, tasks)``, if any are.
        path: the HTML file.
        beside: what else there is to show.
    """
    by_method = _by_method(runs, summary)
    alone = [run for run in runs if run.facts.method == SINGLE]
    styles = charts.method_styles(row.method for row in summary.methods)
    drawn = figures(study, runs, summary)
    page = template("report.html.jinja").render(
        study=study,
        summary=summary,
        verdict=beside.verdict or verdict(summary),
        confirmation=confirmation_table(beside.confirmation) if beside.confirmation else None,
        tuning=tuning_table(study.tuned, summary.criterion) if study.tuned else None,
        other=beside.other and _table(study, beside.other, study.decide != "time"),
        arrow=ARROWS[study.goals[study.objective]],
        configuration=_configuration(study, by_method, runs),
        single_diverged=sum(run.facts.diverged_at is not None for run in alone),
        reference=REFERENCE,
        paired=REFERENCE in by_method,
        single=bool(alone),
        trained=bool(by_method),
        ideal=IDEAL in by_method,
        results=_table(study, summary, study.decide == "time"),
        failures=failures_table(summary),
        command=command(study),
        tasks=tasks_table(study, runs, summary),
        colours={method: style.colour for method, style in styles.items()},
        figures={name: charts.to_html(figure, name) for name, figure in drawn.items()},
        task_colours=charts.task_colours(study.tasks) if len(study.tasks) <= charts.LINES else {},
        weights=charts.weights(study.tasks, by_method, styles),
        many=len(by_method) > PANELS,
        sheets=_sheets(by_method),
        samples=_samples(study, summary, by_method, corrupted, styles),
        plotly=Markup(get_plotlyjs()),
    )
    write_text(path, page)


def _configuration(
    study: Study, by_method: Mapping[str, Sequence[Run]], runs: Sequence[Run]
) -> dict[str, str]:
    seeds = sorted({run.facts.seed for run in runs})
    options = {name: _shown(value) for name, value in study.options.items()}
    for name in options.keys() & study.files.keys():
        options[name] = f"{Path(study.files[name]).name} ({options[name]})"
    return {
        "methods": str(len(by_method)),
        "seeds": f"{len(seeds)} ({', '.join(map(str, seeds))})" if seeds else "0",
        "tasks": str(len(study.tasks)),
        **options,
        **{name: _shown(value) for name, value in study.recipe.items()},
        "training time": _duration(runs),
        "made with": _versions(study, runs),
    }


def _duration(runs: Sequence[Run]) -> str:
    """Of all runs one after another, without evaluations."""
    seconds = sum(run.facts.seconds_per_step * len(run.history.losses) for run in runs)
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _versions(study: Study, runs: Sequence[Run]) -> str:
    others = sorted({f"PyTorch {run.facts.torch}" for run in runs if run.facts.torch})
    return ", ".join([f"Equipoise {study.version}", *others])


def _shown(value: object) -> str:
    """An option as a reader would write it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    text = str(value)
    return text[: len(_HASH) + 12] if text.startswith(_HASH) else text


def figures(study: Study, runs: Sequence[Run], summary: Summary) -> dict[str, go.Figure]:
    """The figures that compare methods, by name."""
    by_method = _by_method(runs, summary)
    styles = charts.method_styles(row.method for row in summary.methods)
    found = {
        "forest": charts.forest(summary, styles),
        "curves": charts.curves(study, by_method, styles),
        "cost": charts.cost_and_quality(summary, styles),
    }
    table = gains_by_task(metrics_table(runs), study)
    if len(table) > 1 and len(table.columns):
        found["gains"] = charts.gains(table, study.objective, styles)
    return found


def _by_method(runs: Sequence[Run], summary: Summary) -> dict[str, list[Run]]:
    return {
        row.method: [run for run in runs if run.facts.method == row.method]
        for row in summary.methods
        if row.seeds
    }


def _table(study: Study, summary: Summary, timed: bool) -> Grid:
    """The results, at equal time with the steps of each method."""
    table = results_table(summary)
    return with_steps(table, study.equal_steps) if timed else table


def _sheets(by_method: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """What the network of each method's first seed makes of a few test samples, as data URIs."""
    found = {method: min(runs, key=_seed).sheet() for method, runs in by_method.items()}
    return {
        method: f"data:image/webp;base64,{base64.b64encode(sheet).decode()}"
        for method, sheet in found.items()
        if sheet is not None
    }


class Picture(NamedTuple):
    """A training sample as it is shown."""

    sample: int
    """Its place in the training part."""
    source: str
    """The picture as a PNG, in a data URI."""
    wrong: str
    """The tasks whose label is known to be wrong."""


def _samples(
    study: Study,
    summary: Summary,
    by_method: Mapping[str, Sequence[Run]],
    corrupted: NDArray[np.bool_] | None,
    styles: charts.Styles,
) -> dict[str, Any] | None:
    """What became of the training samples, if any method weighs samples."""
    runs = {
        method: own
        for method, every in by_method.items()
        if (own := [run for run in every if run.weighs_samples])
    }
    if not runs:
        return None
    # With splits a sample of one seed is another of the next, and corrupted those of the first.
    same = runs if study.splits is None else _of_seed(0, runs)
    known = any(row.detection for row in summary.methods)
    areas = charts.to_html(sample_charts.detection(runs, styles), "detection") if known else None
    return {
        "table": detection_table(summary) if known else None,
        "curves": areas,
        "histograms": sample_charts.histograms(study, same, corrupted),
        "sheets": {
            method: sheets
            for method, own in same.items()
            if (sheets := _contact_sheets(study, min(own, key=_seed), corrupted))
        },
    }


def _of_seed(seed: int, runs: Mapping[str, Sequence[Run]]) -> dict[str, list[Run]]:
    own = {method: [run for run in each if _seed(run) == seed] for method, each in runs.items()}
    return {method: each for method, each in own.items() if each}


def _seed(run: Run) -> int:
    return run.facts.seed


def _contact_sheets(
    study: Study, run: Run, corrupted: NDArray[np.bool_] | None
) -> dict[str, list[Picture]]:
    """The samples with the largest and the smallest weights of a run, as far as they are kept."""
    pictures = [
        Picture(
            sample=int(sample),
            source=data_uri(picture),
            wrong="" if corrupted is None else ", ".join(compress(study.tasks, corrupted[sample])),
        )
        for sample, picture in zip(
            run.samples_part("shown"), run.samples_part("pictures"), strict=False
        )
    ]
    sheets = {"largest": pictures[:SHOWN], "smallest": pictures[SHOWN:][::-1]}
    return {name: sheet for name, sheet in sheets.items() if sheet}
