"""The solids that furniture is made of, and where rays meet them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from equipoise.problems.vision.rooms.materials import Material

Floats: TypeAlias = NDArray[np.floating[Any]]
EPSILON = 1e-3
"""Of a ray's length, in which it does not meet what it starts from."""
SIGNS = np.array(list(product((-1, 1), repeat=3)), np.float32)
"""Of the corners of a box."""


@dataclass(frozen=True)
class Solid:
    """A solid that stands upright. Its own coordinates are from −1 to 1."""

    label: int
    """Its class."""
    centre: Floats
    """``(3,)``, metres: x and y along the floor, z up."""
    half: Floats
    """Half of its extent along its own axes, ``(3,)``, metres."""
    yaw: float
    """By which its axes are turned about z, radians."""
    material: Material
    thing: int
    """A number that all solids of a piece of furniture share."""

    @cached_property
    def axes(self) -> Floats:
        """Its axes, rows ``(3, 3)``."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)

    @property
    def radius(self) -> float:
        """Of the sphere around it, metres."""
        return float(np.linalg.norm(self.half))

    @cached_property
    def corners(self) -> Floats:
        """Of the box around it, ``(8, 3)``, metres."""
        corners: Floats = self.centre + (SIGNS * self.half) @ self.axes
        return corners

    def own(self, origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """Rays in its own coordinates, their lengths in the same units as before."""
        to_own = (self.axes / self.half[:, None]).T
        return (origin - self.centre) @ to_own, directions @ to_own

    def distance(self, origin: Floats, directions: Floats) -> Floats:
        """Of rays ``(n, 3)`` from ``(3,)`` or ``(n, 3)``, in lengths of the directions; or ∞."""
        with np.errstate(divide="ignore", invalid="ignore"):
            near, far = self.span(*self.own(origin, directions))
            return np.where((near <= far) & (near > EPSILON), near, np.float32(np.inf))

    def span(self, origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
        """Where rays in own coordinates come in and go out; NaN, or out before in, if they miss."""
        raise NotImplementedError

    def normals(self, points: Floats) -> Floats:
        """Outward, not of unit length, along its axes, of own coordinates ``(n, 3)``."""
        raise NotImplementedError


class Box(Solid):
    """A box."""

    def span(self, origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
        return _slab(origin, directions)

    def normals(self, points: Floats) -> Floats:
        side = np.abs(points).argmax(1)
        normals: Floats = np.eye(3, dtype=np.float32)[side] * np.sign(points)
        return normals


class Ellipsoid(Solid):
    """An ellipsoid."""

    def span(self, origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
        return _round(origin, directions)

    def normals(self, points: Floats) -> Floats:
        return points / self.half


class Cylinder(Solid):
    """An upright cylinder."""

    def span(self, origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
        sides = _round(origin[..., :2], directions[..., :2])
        ends = _slab(origin[..., 2:], directions[..., 2:])
        return np.maximum(sides[0], ends[0]), np.minimum(sides[1], ends[1])

    def normals(self, points: Floats) -> Floats:
        end = np.abs(points[:, 2]) > 0.9995
        return np.where(end[:, None], points * [0, 0, 1], points / self.half * [1, 1, 0])


def _slab(origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
    """Between −1 and 1 along all axes."""
    inverse = 1 / directions
    one, other = (-1 - origin) * inverse, (1 - origin) * inverse
    return np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)


def _round(origin: Floats, directions: Floats) -> tuple[Floats, Floats]:
    """Within a distance of 1 from the middle."""
    a = np.square(directions).sum(-1)
    b = (origin * directions).sum(-1)
    c = np.square(origin).sum(-1) - 1
    root = np.sqrt(b * b - a * c)
    # A ray along the axis of a cylinder is inside all the way, or never.
    along = np.where(c < 0, np.inf, -np.inf)
    return np.where(a > 0, (-b - root) / a, -along), np.where(a > 0, (-b + root) / a, along)
