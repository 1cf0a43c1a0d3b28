"""Contact sheets: scenes, and what a network makes of them, as a picture."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from equipoise.problems.vision.layout import IGNORED, Scenes
from equipoise.problems.vision.tasks import DEPTH, NORMALS, SEGMENTATION, TASKS

PALETTE = np.array(
    [
        (214, 39, 40), (255, 127, 14), (220, 220, 220), (188, 189, 34), (140, 86, 75),
        (148, 103, 189), (227, 119, 194), (255, 215, 0), (31, 119, 180), (44, 160, 44),
        (60, 60, 60), (158, 202, 225), (23, 190, 207), (0, 0, 0),
    ],
    np.uint8,
)  # fmt: skip
"""Of the classes, and of what has none."""
Picture: TypeAlias = NDArray[np.uint8]

DEEPEST = 6.0
"""Metres that are shown as black."""
HEADINGS = ("image", *(f"{task}{said}" for task in TASKS for said in ("", ", predicted")))
"""Of the columns."""
SCENES = 4
"""That are on a sheet of predictions."""
WIDEST = 1_400
"""Pixels, to which a sheet is made smaller."""


def sheet_of_predictions(scenes: Scenes, network: nn.Module) -> Picture:
    """What a network in evaluation mode makes of some scenes, beside what is true, with headings.

    Returns:
        ``(height, width, 3)``.
    """
    rows = torch.linspace(0, len(scenes) - 1, min(SCENES, len(scenes))).long()
    batch = scenes[rows]
    device = next(network.parameters()).device
    outputs = {task: each.cpu() for task, each in network(batch.image.to(device)).items()}
    told = _pictures(batch.label, batch.depth, batch.normal)
    said = _pictures(
        outputs[SEGMENTATION].argmax(1),
        outputs[DEPTH][:, 0],
        torch.nn.functional.normalize(outputs[NORMALS], dim=1),
    )
    pairs = [each for pair in zip(told, said, strict=True) for each in pair]
    columns = [(255 * batch.image).byte().movedim(1, -1).numpy(), *pairs]
    sheet = Image.fromarray(np.concatenate(np.concatenate(columns, 2), 0))
    sheet.thumbnail((WIDEST, WIDEST))
    return _headed(sheet)


def _headed(sheet: Image.Image) -> Picture:
    """A sheet below its headings."""
    width = sheet.width / len(HEADINGS)
    font = ImageFont.load_default(width / 9)
    above = round(width / 6)
    headed = Image.new("RGB", (sheet.width, sheet.height + above), "white")
    headed.paste(sheet, (0, above))
    draw = ImageDraw.Draw(headed)
    for place, heading in enumerate(HEADINGS):
        draw.text(((place + 0.5) * width, above / 2), heading, "black", font, anchor="mm")
    return np.asarray(headed)


def _pictures(label: Tensor, depth: Tensor, normal: Tensor) -> list[Picture]:
    colours = PALETTE[torch.where(label == IGNORED, len(PALETTE) - 1, label).numpy()]
    near = (255 * (1 - depth / DEEPEST).clamp(0, 1) * (depth > 0)).byte().numpy()
    axes = (127.5 * (normal.movedim(1, -1) + 1)).clamp(0, 255).byte().numpy()
    return [colours, np.repeat(near[..., None], 3, -1), axes]
