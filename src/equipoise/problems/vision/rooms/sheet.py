"""Contact sheets: scenes, and what a network makes of them, as a picture."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from equipoise.problems.vision.layout import IGNORED, Scenes
from equipoise.problems.vision.tasks import DEPTH, NORMALS, SEGMENTATION

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


def contact_sheet(scenes: Scenes, rows: list[int], network: nn.Module | None = None) -> Image.Image:
    """A line for each scene: image, classes, depth, normals, each beside what a network says."""
    batch = scenes[torch.tensor(rows)]
    told = _pictures(batch.label, batch.depth, batch.normal)
    lines: list[Picture] = [(255 * batch.image).byte().movedim(1, -1).numpy()]
    if network is None:
        lines += told
    else:
        with torch.no_grad():
            outputs = network.eval()(batch.image)
        said = _pictures(
            outputs[SEGMENTATION].argmax(1), outputs[DEPTH][:, 0], _unit(outputs[NORMALS])
        )
        lines += [each for pair in zip(told, said, strict=True) for each in pair]
    return Image.fromarray(np.concatenate(np.concatenate(lines, 2), 0))


def _pictures(label: Tensor, depth: Tensor, normal: Tensor) -> list[Picture]:
    colours = PALETTE[torch.where(label == IGNORED, len(PALETTE) - 1, label).numpy()]
    near = (255 * (1 - depth / DEEPEST).clamp(0, 1) * (depth > 0)).byte().numpy()
    axes = (127.5 * (normal.movedim(1, -1) + 1)).clamp(0, 255).byte().numpy()
    return [colours, np.repeat(near[..., None], 3, -1), axes]


def _unit(normal: Tensor) -> Tensor:
    return torch.nn.functional.normalize(normal, dim=1)
