"""The figures of a page as files, for papers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from equipoise.errors import UserError, reason_of


def write_images(figures: Mapping[str, go.Figure], kind: str, folder: Path) -> list[Path]:
    """Write each figure into a folder, as ``name.svg`` or ``name.pdf``.

    Raises:
        UserError: without the package Kaleido, or a Chrome or Chromium for it to draw with.
    """
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.{kind}" for name in figures]
    for figure, path in zip(figures.values(), paths, strict=True):
        try:
            figure.update_layout(paper_bgcolor="white").write_image(path, width=800)
        except (ImportError, ValueError, RuntimeError) as error:
            raise UserError(
                "`figures` needs a package and a browser: pip install 'equipoise[figures]', and "
                f"Chrome or Chromium ({reason_of(error).strip() or type(error).__name__})"
            ) from error
    return paths
