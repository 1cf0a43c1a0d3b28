"""The page of a reproduction: what a paper says, and what came of it here."""

from __future__ import annotations

import os
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from equipoise.study.files import write_text
from equipoise.study.page.charts import to_html
from equipoise.study.page.tables import Cell
from equipoise.study.page.templates import template
from equipoise.study.reproduction import Findings, Reproduction, Size


def write_page(
    name: str, reproduction: Reproduction, size: Size, findings: Findings, path: Path
) -> None:
    """Write the page, whole or not at all."""
    (first, *headings), *_ = [list(findings.summary.columns)]
    rows = findings.summary.itertuples(index=False)
    page = template("reproduction.html.jinja").render(
        name=name,
        reproduction=reproduction,
        size=size,
        steps="the problem's" if size.steps is None else f"{size.steps:,}",
        claims=findings.claims,
        first=first,
        table=(headings, [(str(key), [Cell(str(cell)) for cell in cells]) for key, *cells in rows]),
        figures={
            heading: to_html(figure, f"figure-{place}")
            for place, (heading, figure) in enumerate(findings.figures.items())
        },
        pages={
            label: Path(os.path.relpath(page, path.parent)).as_posix()
            for label, page in findings.pages.items()
        },
        plotly=Markup(get_plotlyjs()),
    )
    write_text(path, page)
