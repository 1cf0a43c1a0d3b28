"""The page of a study: one file that needs nothing else, and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image
from plotly.offline import get_plotlyjs

from equipoise.study.folder import Run, Study, write_text
from equipoise.study.page import charts
from equipoise.study.page.tables import ARROWS, detection_table, results_table, tasks_table
from equipoise.study.samples import SHOWN
from equipoise.study.statistics import IDEAL, REFERENCE, SINGLE, Summary, summarise, verdict

LARGEST = 96
"""Height and width in pixels beyond which a picture is made smaller."""


def write_report(study: Study, runs: Sequence[Run], path: Path) -> None:
    """Write the page of a study, whole or not at all.

    Args:
        study: what the runs have in common.
        runs: finished runs of it; methods may lack seeds, and single-task runs may be there or not.
        path: the HTML file.
    """
    summary = summarise(study, runs)
    by_method = {
        row.method: [run for run in runs if run.method == row.method] for row in summary.methods
    }
    colours = charts.method_colours(by_method)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("equipoise.study.page", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        study=study,
        summary=summary,
        verdict=verdict(summary),
        arrow=ARROWS[study.goals[study.objective]],
        configuration=_configuration(study, summary, runs),
        single_diverged=sum(run.method == SINGLE and run.diverged_at is not None for run in runs),
        reference=REFERENCE,
        paired=REFERENCE in by_method,
        single=any(run.method == SINGLE for run in runs),
        ideal=IDEAL in by_method,
        results=results_table(summary),
        tasks=tasks_table(study, runs, [row.method for row in summary.methods]),
        colours=colours,
        curves=charts.to_html(charts.curves(study, by_method, colours), "curves"),
        task_colours=charts.task_colours(study.tasks) if len(study.tasks) <= charts.LINES else {},
        weights=charts.weights(study.tasks, by_method, colours),
        samples=_samples(study, summary, by_method, colours),
        times=charts.to_html(charts.times(summary, colours), "times"),
        plotly=Markup(get_plotlyjs()),
    )
    write_text(path, page)


def _configuration(study: Study, summary: Summary, runs: Sequence[Run]) -> dict[str, Any]:
    seeds = sorted({run.seed for run in runs})
    return {
        "methods": len(summary.methods),
        "seeds": f"{len(seeds)} ({', '.join(map(str, seeds))})" if seeds else 0,
        "tasks": len(study.tasks),
        **study.options,
        **study.recipe,
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
    colours: Mapping[str, str],
) -> dict[str, Any] | None:
    """What became of the training samples, if any method weighs samples."""
    runs = {
        method: own
        for method, every in by_method.items()
        if (own := [run for run in every if run.samples is not None])
    }
    if not runs:
        return None
    known = any(row.detection for row in summary.methods)
    return {
        "table": detection_table(summary) if known else None,
        "curves": charts.to_html(charts.detection(runs, colours), "detection") if known else None,
        "histograms": charts.histograms(study, runs),
        "sheets": {
            method: sheets
            for method, own in runs.items()
            if (sheets := _contact_sheets(study, min(own, key=lambda run: run.seed)))
        },
    }


def _contact_sheets(study: Study, run: Run) -> dict[str, list[Picture]]:
    """The samples with the largest and the smallest weights of a run, as far as they are kept."""
    assert run.samples is not None
    pictures = [
        Picture(
            sample=int(sample),
            source=_data_uri(picture),
            wrong=""
            if run.corrupted is None
            else ", ".join(compress(study.tasks, run.corrupted[sample])),
        )
        for sample, picture in zip(run.samples.shown, run.samples.pictures, strict=False)
    ]
    sheets = {"largest": pictures[:SHOWN], "smallest": pictures[SHOWN:][::-1]}
    return {name: sheet for name, sheet in sheets.items() if sheet}


def _data_uri(picture: NDArray[np.uint8]) -> str:
    """A picture ``(height, width, 1 or 3)`` as a PNG, smaller if it is large."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    image.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
