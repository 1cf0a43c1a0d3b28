"""Whether y of the normals in files points up, which no description of NYUv2 says."""

from __future__ import annotations

import torch
from torch import Tensor

from equipoise.problems.vision.layout import Batch, Scenes

FOCAL = 519 / 640
"""Of NYUv2's camera, in widths of the image."""
LOOKED_AT = 5
"""Scenes."""
CLEAR = -0.2
"""Correlation below which it is more than chance."""


def normals_of_depth(depth: Tensor) -> Tensor:
    """Normals ``(scenes, 3, height - 1, width - 1)`` of depths ``(scenes, height, width)``.

    Of the triangle of a pixel and those right of it and below it: x right, y up, z to the camera; 0
    where a depth is missing.
    """
    height, width = depth.shape[1:]
    focal = FOCAL * width
    y = (torch.arange(height) - (height - 1) / 2)[:, None]
    x = torch.arange(width) - (width - 1) / 2
    points = torch.stack([x * depth / focal, -y * depth / focal, -depth], 1)
    here, right, below = points[..., :-1, :-1], points[..., :-1, 1:], points[..., 1:, :-1]
    normal = torch.linalg.cross(below - here, right - here, dim=1)
    there = (depth[:, :-1, :-1] > 0) & (depth[:, :-1, 1:] > 0) & (depth[:, 1:, :-1] > 0)
    return torch.nn.functional.normalize(normal, dim=1) * there[:, None]


def points_down(scenes: Scenes) -> bool:
    """Whether y of the normals is clearly the opposite of what depths say."""
    rows = torch.linspace(0, len(scenes) - 1, min(LOOKED_AT, len(scenes))).long()
    batch: Batch = scenes[rows]
    seen = normals_of_depth(batch.depth)
    told = batch.normal[:, 1, :-1, :-1] * seen.any(1)
    size = (told.square().sum() * seen[:, 1].square().sum()).sqrt()
    return bool((told * seen[:, 1]).sum() < CLEAR * size)
