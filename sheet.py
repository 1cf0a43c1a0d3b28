"""A contact sheet: scenes in rows, what they hold and what was predicted side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from plotly.colors import sample_colorscale

from equipoise.problems.vision.rooms.labels import CLASSES, COLOURS

Maps: TypeAlias = Mapping[str, Any]
"""Arrays of one scene by name, channels last."""

Pixels: TypeAlias = NDArray[np.uint8]

GAP = 4
LINE = 14
UNKNOWN = (0, 0, 0)


def contact_sheet(
    scenes: Sequence[Maps], predictions: Sequence[Maps] | None = None, *, zoom: int = 2
) -> Image.Image:
    """Draw scenes one below the other, each with its predictions beside its truth.

    Args:
        scenes: of one size, each with ``image`` ``(height, width, 3)`` in [0, 1], ``label``
            ``(height, width)``, ``depth`` ``(height, width, 1)`` in metres and ``normal``
            ``(height, width, 3)``. What is unlabelled or invalid is black.
        predictions: of each scene, any of ``label``, ``depth`` and ``normal``, all of the same.
            Depth has the colours of its scene's.
        zoom: the side of a pixel in the sheet's.
    """
    predictions = predictions if predictions is not None else [{}] * len(scenes)
    rows = [_row(scene, made) for scene, made in zip(scenes, predictions, strict=True)]
    height, width = (zoom * side for side in next(iter(rows[0].values())).shape[:2])
    across = len(rows[0]) * (width + GAP) + GAP
    down = LINE + len(rows) * (height + GAP) + GAP
    legend = _legend(across)
    sheet = Image.new("RGB", (across, down + legend.height), "white")
    for number, row in enumerate(rows):
        for column, panel in enumerate(row.values()):
            enlarged = Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST)
            place = (GAP + column * (width + GAP), LINE + GAP + number * (height + GAP))
            sheet.paste(enlarged, place)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(rows[0]):
        pen.text((GAP + column * (width + GAP), 2), title, fill="black")
    sheet.paste(legend, (0, down))
    return sheet


def _row(scene: Maps, made: Maps) -> dict[str, Pixels]:
    """The panels of a scene by their titles, in order."""
    farthest = float(np.max(scene["depth"]))
    draw: dict[str, Callable[[Any], Pixels]] = {
        "image": lambda image: _bytes(np.asarray(image, np.float32)),
        "label": _label_colours,
        "depth": lambda depth: _depth_colours(depth, farthest),
        "normal": _normal_colours,
    }
    row = {}
    for name, colours in draw.items():
        row[name] = colours(scene[name])
        if name in made:
            row[f"{name}, predicted"] = colours(made[name])
    return row


def _label_colours(label: Any) -> Pixels:
    palette = np.array([*COLOURS.values(), UNKNOWN], np.uint8)
    return palette[np.asarray(label).astype(int)]


def _depth_colours(depth: Any, farthest: float) -> Pixels:
    """Near is bright, far is dark."""
    depth = np.asarray(depth, np.float32)[..., 0]
    scale = sample_colorscale("Viridis", np.linspace(1, 0, 256).tolist(), colortype="tuple")
    shade = np.clip(depth / max(farthest, 1e-6) * 255, 0, 255).astype(int)
    colours = _bytes(np.array(scale, np.float32))[shade]
    colours[depth <= 0] = UNKNOWN
    return colours


def _normal_colours(normal: Any) -> Pixels:
    normal = np.asarray(normal, np.float32)
    return _bytes((normal + 1) / 2 * (normal != 0).any(-1, keepdims=True))


def _bytes(shares: NDArray[np.float32]) -> Pixels:
    return (np.clip(shares, 0, 1) * 255).round().astype(np.uint8)


def _legend(width: int) -> Image.Image:
    """The classes and their colours, in as many lines as it takes."""
    entry = 84
    names = [*CLASSES, "unlabelled"]
    colours = [*COLOURS.values(), UNKNOWN]
    in_line = max(1, width // entry)
    lines = -(-len(names) // in_line)
    legend = Image.new("RGB", (width, lines * LINE + GAP), "white")
    pen = ImageDraw.Draw(legend)
    for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
        x, y = GAP + number % in_line * entry, number // in_line * LINE
        pen.rectangle((x, y + 2, x + 9, y + 11), fill=colour)
        pen.text((x + 13, y), name, fill="black")
    return legend
