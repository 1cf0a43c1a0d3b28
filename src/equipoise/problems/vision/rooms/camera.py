"""A camera: the rays of its pixels, and where things are in its picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from equipoise.problems.vision.rooms.solids import Floats

CLOSEST = 0.05
"""Metres in front of the camera, from which on a point has a place in its picture."""


@dataclass(frozen=True)
class Camera:
    """A pinhole at ``eye``."""

    eye: Floats
    """``(3,)``, metres."""
    yaw: float
    pitch: float
    roll: float
    field: float
    """Of view, across, radians."""

    @cached_property
    def axes(self) -> Floats:
        """Right, up and forward, rows ``(3, 3)``."""
        cos, sin = np.cos, np.sin
        forward = np.array(
            [cos(self.yaw) * cos(self.pitch), sin(self.yaw) * cos(self.pitch), sin(self.pitch)]
        )
        level = np.array([sin(self.yaw), -cos(self.yaw), 0])
        above = np.cross(level, forward)
        right = cos(self.roll) * level + sin(self.roll) * above
        up = cos(self.roll) * above - sin(self.roll) * level
        return np.stack([right, up, forward]).astype(np.float32)

    def focal(self, width: int) -> float:
        """Length in pixels."""
        return float(width / 2 / np.tan(self.field / 2))

    def rays(self, height: int, width: int) -> Floats:
        """Directions ``(height, width, 3)`` that go a metre forward."""
        focal = self.focal(width)
        x = (np.arange(width) + 0.5 - width / 2) / focal
        y = -(np.arange(height) + 0.5 - height / 2) / focal
        flat = np.stack([*np.meshgrid(x, y), np.ones((height, width))], -1)
        return (flat @ self.axes).astype(np.float32)

    def window(self, points: Floats, height: int, width: int) -> tuple[slice, slice] | None:
        """Rows and columns around points ``(n, 3)``; all if one is behind, ``None`` if all are."""
        seen = (points - self.eye) @ self.axes.T
        behind = seen[:, 2] < CLOSEST
        if behind.all():
            return None
        if behind.any():
            return slice(0, height), slice(0, width)
        focal = self.focal(width)
        x = seen[:, 0] / seen[:, 2] * focal + width / 2
        y = -seen[:, 1] / seen[:, 2] * focal + height / 2
        rows = slice(max(0, int(y.min())), min(height, int(y.max()) + 2))
        columns = slice(max(0, int(x.min())), min(width, int(x.max()) + 2))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return rows, columns
