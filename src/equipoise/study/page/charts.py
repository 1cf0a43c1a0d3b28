"""The charts of a study's page."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.colors import sample_colorscale

from equipoise.study.configuration import Study
from equipoise.study.intervals import format_number
from equipoise.study.names import IDEAL, REFERENCE
from equipoise.study.runs import Run, named
from equipoise.study.summary import Summary

Runs = Sequence[Run]
Values = npt.NDArray[Any]

POINTS = 200
"""A line over steps has at most so many: enough for a screen, and the page stays small."""
LINES = 20
"""Up to so many tasks have a line each; more are shown as quantiles."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#3f9fdc", "#b07d00", "#7f3c8d")
"""Of Okabe and Ito, for eyes that see few colours; without those that do not show on all pages."""
DASHES = ("solid", "dash", "dot", "dashdot")
"""Of lines, where there are more methods than colours."""
TASK_SCALE = ["#4a7be0", "#12909a", "#3c9440", "#948a1c", "#d0701c", "#d9505c", "#b05cc8"]
"""Can be told from white and from black all along."""


class Style(NamedTuple):
    """How a method looks, everywhere."""

    colour: str
    dash: str


Styles: TypeAlias = Mapping[str, Style]


def curves(study: Study, by_method: Mapping[str, Runs], styles: Styles) -> go.Figure:
    """The objective on the test part over steps."""
    deciding = named(study.objective, study.deciding)
    figure = figure_of("steps", f"{deciding}, test part", height=440)
    for method, runs in by_method.items():
        evaluations = pd.DataFrame(
            {run.facts.seed: pd.Series(run.history.test, run.history.evaluated_at) for run in runs}
        )
        figure.add_traces(mean_and_band(evaluations, method, runs, styles[method]))
    return figure.update_layout(hovermode="x unified", showlegend=True)


def mean_and_band(values: pd.DataFrame, method: str, runs: Runs, style: Style) -> list[go.Scatter]:
    """A line of the means of the columns, one a seed, and a band from the least to the largest."""
    steps, sound = _finite(values.index.to_numpy(), values.to_numpy())
    group = {"legendgroup": html.escape(method), "meta": method}
    line = go.Scatter(
        # A point without a place keeps a method in the legend that has no line.
        x=steps if len(steps) else [None],
        y=sound.mean(axis=1) if len(steps) else [None],
        name=text(with_divergence(method, runs)),
        line={"color": style.colour, "dash": style.dash, "width": 2},
        marker={"size": 5},
        mode="lines+markers",
        **group,
    )
    if not len(steps):
        return [line]
    return [_band(steps, sound.min(axis=1), sound.max(axis=1), style.colour, **group), line]


def weights(
    tasks: Sequence[str], by_method: Mapping[str, Runs], styles: Styles
) -> list[tuple[str, str, Markup]]:
    """For each method its name, what happened to it, and its weights over steps."""
    weights = {method: _mean_weights(runs) for method, runs in by_method.items()}
    positive = [values[values > 0] for _, values in weights.values()]
    shown = np.log10(np.concatenate([*positive, np.ones(1)]))
    limits = [shown.min() - 0.1, shown.max() + 0.1]
    ticks = "D2" if limits[1] - limits[0] < 3 else None
    end = max((steps[-1] for steps, _ in weights.values() if len(steps)), default=1)
    charts = []
    for index, (method, (steps, values)) in enumerate(weights.items()):
        figure = figure_of("steps", "weight", height=300)
        figure.update_xaxes(range=[0, end])
        figure.update_yaxes(type="log", range=limits, dtick=ticks, tickformat="~g")
        figure.add_traces(
            _task_lines(tasks, steps, values)
            if len(tasks) <= LINES
            else _quantile_bands(steps, values, styles[method].colour)
        )
        note = with_divergence("", by_method[method])
        charts.append((method, note, to_html(figure, f"weights-{index}")))
    return charts


def _mean_weights(runs: Runs) -> tuple[Values, Values]:
    """Steps, evenly spread, up to the first divergence; the mean weights, ``(steps, tasks)``."""
    length = min(len(run.history.weights) for run in runs)
    steps = np.unique(np.linspace(0, length - 1, min(length, POINTS)).round().astype(int))
    values = np.mean([run.history.weights[steps] for run in runs], axis=0, dtype=float)
    return _finite(steps + 1, values)


def _finite(steps: Values, values: Values) -> tuple[Values, Values]:
    """The steps at which all values are finite."""
    sound = np.isfinite(values).all(axis=1)
    return steps[sound], values[sound]


def _task_lines(tasks: Sequence[str], steps: Values, values: Values) -> list[go.Scatter]:
    colours = task_colours(tasks)
    return [
        go.Scatter(
            x=steps,
            y=values[:, index],
            name=text(task),
            line={"color": colours[task], "width": 1.5},
            mode="lines",
        )
        for index, task in enumerate(tasks)
    ]


def _quantile_bands(steps: Values, values: Values, colour: str) -> list[go.Scatter]:
    low, tenth, median, ninetieth, high = np.quantile(values, [0, 0.1, 0.5, 0.9, 1], axis=1)
    line = go.Scatter(x=steps, y=median, name="median", line={"color": colour}, mode="lines")
    return [_band(steps, low, high, colour), _band(steps, tenth, ninetieth, colour), line]


def _band(steps: Values, low: Values, high: Values, colour: str, **options: Any) -> go.Scatter:
    return go.Scatter(
        x=np.concatenate([steps, steps[::-1]]),
        y=np.concatenate([low, high[::-1]]),
        fill="toself",
        fillcolor=colour,
        opacity=0.2,
        mode="none",
        hoverinfo="skip",
        showlegend=False,
        **options,
    )


def forest(summary: Summary, styles: Styles) -> go.Figure:
    """How much better than equal weights each method is, with intervals that hold together."""
    rows = [row for row in summary.methods[::-1] if math.isfinite(row.difference)]
    figure = figure_of(f"{summary.criterion}: better than {REFERENCE} by", "", 90 + 26 * len(rows))
    for place, row in enumerate(rows):
        width = None if math.isnan(row.difference_half_width) else [row.difference_half_width]
        figure.add_scatter(
            x=[row.difference],
            y=[place],
            error_x={"array": width, "thickness": 2, "width": 4},
            marker={
                "color": styles[row.method].colour,
                "size": 10,
                "symbol": "diamond" if row.may_be_best else "circle-open",
            },
            mode="markers",
            meta=row.method,
            hovertemplate=f"{text(row.method)}: {row.lead.ranged}<extra></extra>",
        )
    figure.add_vline(0, line={"color": "#808790", "dash": "dot", "width": 1})
    return figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[text(row.method) for row in rows],
        showgrid=False,
        range=[-0.7, len(rows) - 0.3],
    )


def gains(table: pd.DataFrame, objective: str, styles: Styles) -> go.Figure:
    """How much better than equal weights each method is in each task, sorted for each method.

    Args:
        table: tasks in rows, methods in columns; NaN where a task has no gain.
        objective: of which the gains are.
        styles: of the methods.
    """
    figure = figure_of(
        "tasks, from the least gain", f"{objective}: better than {REFERENCE} by", 400
    )
    for method in filter(table.columns.__contains__, styles):
        own = table[method].dropna().sort_values()
        figure.add_scatter(
            x=np.arange(1, len(own) + 1),
            y=own.to_numpy(),
            text=[text(str(task)) for task in own.index],
            hovertemplate=f"{text(method)}, %{{text}}: %{{y:.4g}}<extra></extra>",
            name=text(method),
            mode="lines" if len(own) > POINTS else "lines+markers",
            line={"color": styles[method].colour, "dash": styles[method].dash},
            marker={"size": 6},
            meta=method,
        )
    figure.add_hline(0, line={"color": "#808790", "dash": "dot", "width": 1})
    return figure.update_layout(showlegend=True)


def cost_and_quality(summary: Summary, styles: Styles) -> go.Figure:
    """The objective of each method against the time of its step."""
    figure = figure_of("milliseconds per step", summary.criterion, height=420)
    for row in summary.methods:
        value = row.metrics[summary.objective]
        if math.isnan(value.mean):
            continue
        cost = 1000 * row.seconds_per_step
        figure.add_scatter(
            x=[cost],
            y=[value.mean],
            error_y={
                "array": None if math.isnan(value.half_width) else [value.half_width],
                "thickness": 1,
                "width": 3,
            },
            marker={"color": styles[row.method].colour, "size": 10},
            mode="markers+text",
            text=text(row.method),
            textposition="top right",
            textfont_color=styles[row.method].colour,
            meta=row.method,
            hovertemplate=f"{text(row.method)}: {value}, {format_number(cost)} ms<extra></extra>",
        )
    return figure.update_xaxes(rangemode="tozero")


def figure_of(x: str, y: str, height: int) -> go.Figure:
    """An empty figure that is quiet and can be read on a light and on a dark page."""
    axis = {
        "gridcolor": "rgba(128,128,128,.2)",
        "zeroline": False,
        "automargin": True,
        "hoverformat": ".4g",
    }
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#808790"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": {**axis, "title": text(x)},
            "yaxis": {**axis, "title": text(y)},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"namelength": -1},
            "showlegend": False,
        }
    )


def to_html(figure: go.Figure, name: str) -> Markup:
    """The part of a page that shows a chart, without the script that draws it."""
    config = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
    )


def with_divergence(name: str, runs: Runs) -> str:
    """A name, and how many of its runs diverged, if any did."""
    steps = [run.facts.diverged_at for run in runs if run.facts.diverged_at is not None]
    if not steps:
        return name
    return f"{name} ({len(steps)} of {len(runs)} diverged, first at step {min(steps)})".strip()


def text(name: str) -> str:
    """A name as Plotly, which reads tags and entities in all texts, will show it."""
    short = name if len(name) <= 60 else f"{name[:59]}…"
    return html.escape(short, quote=False)


def method_styles(methods: Iterable[str]) -> dict[str, Style]:
    """By the order of names, so that a method looks the same when ranks change."""
    special = {REFERENCE: Style("#8a8f98", "solid"), IDEAL: Style("#8a8f98", "dot")}
    others = sorted(set(methods) - set(special))
    looks = [Style(colour, dash) for dash in DASHES for colour in COLOURS]
    return special | {name: looks[i % len(looks)] for i, name in enumerate(others)}


def task_colours(tasks: Sequence[str]) -> dict[str, str]:
    """Along a scale, in the order of the tasks."""
    places = np.linspace(0, 1, len(tasks))
    return dict(zip(tasks, sample_colorscale(TASK_SCALE, places), strict=True))
