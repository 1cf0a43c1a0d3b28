"""The page of an audit: which labels are likely to be wrong, and what they are taken for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from equipoise.problems.labelled import Labelled
from equipoise.study.auditing.judged import Judged
from equipoise.study.files import write_text
from equipoise.study.page.charts import POINTS, figure_of, to_html
from equipoise.study.page.pictures import data_uri
from equipoise.study.page.tables import Cell, Grid
from equipoise.study.page.templates import template

WORST = 20
"""Labels of a target that are shown."""
TARGETS = 12
"""Targets that have a part of the page each, those with most labels that are likely wrong."""
COLUMNS = 12
"""Features of a label that are shown beside it."""
CLASSES = 12
"""Classes up to which there is a table of which is taken for which."""
PICTURE = 160
"""Height and width of the largest picture, in pixels."""


class _Part(NamedTuple):
    """What the page shows of a target."""

    name: str
    share: str
    confusion: Grid | None
    worst: Grid
    pictures: Sequence[tuple[str, str]]
    """A caption and an address each."""
    curve: Markup


def write_audit(
    name: str,
    labelled: Labelled,
    judged: Mapping[str, Judged],
    findings: Sequence[str],
    path: Path,
) -> None:
    """Write the page, whole or not at all."""
    expected = {target: float(each.wrong.sum()) for target, each in judged.items()}
    most = sorted(expected, key=expected.__getitem__, reverse=True)[:TARGETS]
    places = {target: place for place, target in enumerate(judged)}
    page = template("audit.html.jinja").render(
        name=name,
        findings=findings if len(judged) <= TARGETS else findings[-1:],
        targets=_targets(judged),
        parts=[
            _part(labelled, places[target], judged[target]) for target in judged if target in most
        ],
        fewer=len(most) < len(judged),
        known=labelled.wrong is not None,
        plotly=Markup(get_plotlyjs()),
    )
    write_text(path, page)


def _targets(judged: Mapping[str, Judged]) -> Grid:
    rows = [
        (
            name,
            [
                Cell(f"{len(each.samples):,}"),
                Cell(each.share_text),
                Cell(f"{each.flagged.sum():,}"),
                Cell(f"{each.expected_precision:.0%}" if each.flagged.any() else "–"),
            ],
        )
        for name, each in judged.items()
    ]
    return ["labels", "wrong", "flagged", "of these wrong, expected"], rows


def _part(labelled: Labelled, place: int, judged: Judged) -> _Part:
    order = np.argsort(-judged.wrong, kind="stable")
    asked = order[np.isnan(judged.checked[order]) & ~judged.trusted[order]][:WORST]
    return _Part(
        name=judged.target.name,
        share=judged.share_text,
        confusion=_confusion(judged),
        worst=_worst(labelled, judged, asked),
        pictures=_pictures(labelled, judged, asked),
        curve=to_html(_curve(labelled, place, judged, order), f"curve-{place}"),
    )


def _worst(labelled: Labelled, judged: Judged, asked: NDArray[np.int64]) -> Grid:
    samples = judged.samples[asked]
    given, likely = (judged.target.named(values[asked]) for values in (judged.given, judged.likely))
    features = labelled.shown.iloc[samples, :COLUMNS]
    rows = [
        (
            f"{labelled.rows[sample]:,}",
            [
                Cell(f"{wrong:.2f}"),
                Cell(shown(one)),
                Cell(shown(other)),
                *(Cell(shown(value)) for value in row),
            ],
        )
        for sample, wrong, one, other, row in zip(
            samples,
            judged.wrong[asked],
            given,
            likely,
            features.itertuples(index=False, name=None),
            strict=True,
        )
    ]
    return ["wrong", "given", "likely", *map(str, features.columns)], rows


def _pictures(
    labelled: Labelled, judged: Judged, asked: NDArray[np.int64]
) -> list[tuple[str, str]]:
    if labelled.pictures is None:
        return []
    samples = judged.samples[asked]
    given, likely = (judged.target.named(values[asked]) for values in (judged.given, judged.likely))
    pictures = labelled.pictures(samples)
    found = []
    for sample, one, other, picture in zip(samples, given, likely, pictures, strict=True):
        told = shown(one) if one == other else f"{shown(one)} → {shown(other)}"
        found.append((f"row {labelled.rows[sample]:,}: {told}", data_uri(picture, PICTURE)))
    return found


def _confusion(judged: Judged) -> Grid | None:
    """How many labels of each class are expected to be of another, which is their true one."""
    classes = judged.target.classes
    if not classes or len(classes) > CLASSES:
        return None
    table = pd.crosstab(
        judged.given.astype(int), judged.likely.astype(int), judged.wrong, aggfunc="sum"
    ).reindex(index=range(len(classes)), columns=range(len(classes)))
    counts = table.fillna(0).to_numpy(float)
    rows = [
        (
            name,
            [
                Cell("" if one == other else f"{counts[one, other]:.1f}")
                for other in range(len(classes))
            ],
        )
        for one, name in enumerate(classes)
    ]
    return [f"is {name}" for name in classes], rows


def _curve(labelled: Labelled, place: int, judged: Judged, order: NDArray[np.int64]) -> go.Figure:
    """How many wrong labels are found by looking up so many, the likeliest to be wrong first."""
    figure = figure_of("labels looked up, the likeliest to be wrong first", "wrong labels", 300)
    looked_up = np.arange(len(order) + 1)
    shown = np.unique(np.linspace(0, len(order), POINTS).round().astype(int))
    lines = {"expected": judged.wrong}
    if labelled.wrong is not None:
        lines["known to be wrong"] = labelled.wrong[judged.samples, place].astype(float)
    for name, wrong in lines.items():
        found = np.concatenate([[0], wrong[order].cumsum()])
        figure.add_scatter(x=looked_up[shown], y=found[shown], mode="lines", name=name)
    ends = [0, float(judged.wrong.sum())]
    figure.add_scatter(
        x=[0, len(order)], y=ends, mode="lines", name="at random", line={"dash": "dot"}
    )
    return figure.update_layout(showlegend=True, hovermode="x unified")


def shown(value: object) -> str:
    """A label or feature, for people to read."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.5g}"
    return "" if value is None or value is pd.NA else str(value)
