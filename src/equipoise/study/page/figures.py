"""The figures of reproductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from equipoise.study.intervals import Interval
from equipoise.study.page.charts import figure_of, method_styles, text
from equipoise.study.summary import MethodSummary, Summary


def over_variants(summaries: Mapping[str, Summary], axis: str) -> go.Figure:
    """The objective of each method in each variant, with its interval."""
    criterion = next(iter(summaries.values())).criterion
    figure = figure_of(axis, criterion, height=440)
    _lines(figure, summaries, lambda summary, row: row.metrics[summary.objective])
    return figure.update_layout(showlegend=True)


def time_over_variants(summaries: Mapping[str, Summary], axis: str) -> go.Figure:
    """The time of a step of each method in each variant."""
    figure = figure_of(axis, "milliseconds per step", height=440)
    _lines(figure, summaries, lambda _, row: Interval(1000 * row.seconds_per_step, math.nan))
    return figure.update_layout(showlegend=True).update_yaxes(type="log")


def estimates(table: pd.DataFrame) -> go.Figure:
    """Weights against the exact ones, on logarithmic axes, and where they are equal."""
    figure = figure_of("exact weight", "weight", height=460)
    for method, style in method_styles(table["method"].unique()).items():
        own = table[table["method"] == method]
        if len(own):
            figure.add_scatter(
                x=own["exact"],
                y=own["weight"],
                name=text(method),
                mode="markers",
                marker={"color": style.colour, "size": 5, "opacity": 0.6},
            )
    ends = [table["exact"].min(), table["exact"].max()]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": "#808790", "dash": "dot"}, showlegend=False
    )
    axes = {"type": "log", "tickformat": "~g"}
    return figure.update_layout(showlegend=True).update_xaxes(**axes).update_yaxes(**axes)


def _lines(
    figure: go.Figure,
    summaries: Mapping[str, Summary],
    value: Callable[[Summary, MethodSummary], Interval],
) -> None:
    methods = {row.method for summary in summaries.values() for row in summary.methods}
    styles = method_styles(methods)
    for method in sorted(methods):
        found = {
            label: value(summary, row)
            for label, summary in summaries.items()
            for row in summary.methods
            if row.method == method
        }
        figure.add_scatter(
            x=list(map(text, found)),
            y=[each.mean for each in found.values()],
            error_y={"array": [np.nan_to_num(each.half_width) for each in found.values()]},
            name=text(method),
            mode="lines+markers",
            line={"color": styles[method].colour, "dash": styles[method].dash},
        )
    figure.update_xaxes(type="category", categoryarray=list(map(text, summaries)))
