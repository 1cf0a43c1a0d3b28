"""The page of a study: one file that needs nothing else, and no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from equipoise.study import charts
from equipoise.study.results import Run, Study, write_text
from equipoise.study.statistics import IDEAL, REFERENCE, SINGLE, Summary, summarise, verdict
from equipoise.study.tables import ARROWS, results_table, tasks_table


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
        loader=jinja2.PackageLoader("equipoise.study", ""),
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
