"""The charts of what weightings of samples made of training labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from equipoise.study.configuration import Study
from equipoise.study.page.charts import (
    Runs,
    Styles,
    Values,
    figure_of,
    mean_and_band,
    text,
    to_html,
    with_divergence,
)

BARS, SHOWN_WEIGHTS = 40, 0.995
"""Of a histogram; the last bar has the weights beyond this quantile too."""
KINDS_OF_LABELS = ("#4c78a8", "#e45756")
"""Colours of clean and wrong labels, or of the main task's and the others."""


def detection(by_method: Mapping[str, Runs], styles: Styles) -> go.Figure:
    """The area under the ROC curve of the weights as a detector of clean labels, over steps."""
    figure = figure_of("steps", "area under the ROC curve", height=340)
    for method, runs in by_method.items():
        areas = pd.DataFrame(
            {
                run.facts.seed: pd.Series(run.history.detection, run.history.evaluated_at)
                for run in runs
            }
        )
        figure.add_traces(mean_and_band(areas, method, runs, styles[method]))
    figure.add_hline(0.5, line={"color": "#808790", "dash": "dot", "width": 1})
    return figure.update_layout(hovermode="x unified", showlegend=True)


def histograms(
    study: Study, by_method: Mapping[str, Runs], corrupted: npt.NDArray[np.bool_] | None
) -> list[tuple[str, str, Markup]]:
    """For each method its name, what happened to it, and the weights of labels of two kinds."""
    charts = []
    for index, (method, runs) in enumerate(by_method.items()):
        kinds = label_weights(study, runs, corrupted)
        known = np.concatenate([*kinds.values()])
        end = np.quantile(known, SHOWN_WEIGHTS) if len(known) else 0
        edges = np.linspace(0, end if end > 0 else 1, BARS + 1)
        figure = figure_of("mean weight", "% of labels", height=260)
        for (kind, values), colour in zip(kinds.items(), KINDS_OF_LABELS, strict=False):
            counts, _ = np.histogram(values.clip(max=edges[-1]), edges)
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=100 * counts / max(len(values), 1),
                name=text(kind),
                marker={"color": colour, "line_width": 0},
                opacity=0.6,
            )
        figure.update_layout(barmode="overlay", bargap=0, showlegend=True)
        note = with_divergence("", runs)
        charts.append((method, note, to_html(figure, f"labels-{index}")))
    return charts


def label_weights(
    study: Study, runs: Runs, corrupted: npt.NDArray[np.bool_] | None
) -> dict[str, Values]:
    """Mean weights over steps and seeds, of clean and of wrong labels of the tasks that have any.

    Where no label is known to be wrong, those of the main task's labels and of the others.
    """
    sums, counts = np.zeros(1), np.zeros(1)
    for run in runs:
        weights = run.samples_part("mean_weights")
        seen = np.isfinite(weights)
        sums = sums + np.where(seen, weights, 0)
        counts = counts + seen
    means = sums / np.where(counts, counts, np.nan)
    if corrupted is not None:
        tasks = corrupted.any(0)
        masks = {"clean labels": ~corrupted & tasks, "wrong labels": corrupted}
    else:
        main = np.broadcast_to([task == study.main for task in study.tasks], means.shape)
        masks = {"main task": main, "other tasks": ~main}
    return {kind: means[mask & (counts > 0)] for kind, mask in masks.items()}
