"""How bright what is seen is: lamps and windows, their shadows, and what comes from all sides."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from equipoise.problems.vision.rooms.room import Room
from equipoise.problems.vision.rooms.solids import Floats
from equipoise.problems.vision.rooms.view import View

SMALLEST = 0.06
"""Metres, of what casts a shadow."""


def lit(room: Room, view: View, detail: int) -> Floats:
    """Colours ``(height, width, 3)``, linear.

    Shadows are looked for at one of ``detail`` × ``detail`` pixels, and have soft edges.
    """
    upwards = 0.55 + 0.45 * (0.5 + 0.5 * view.normals[..., 2:])
    light = room.rng.uniform(0.15, 0.35) * upwards * _corners(room, view)
    coarse = (slice(None, None, detail), slice(None, None, detail))
    for place, power in room.lights:
        towards = place - view.points
        squared = np.square(towards).sum(-1, keepdims=True)
        facing = (towards * view.normals).sum(-1, keepdims=True) / np.sqrt(squared)
        clear = _clear(room, view.points[coarse], view.normals[coarse], place)
        clear = clear.repeat(detail, 0).repeat(detail, 1)[: len(light), : light.shape[1]]
        soft = uniform_filter(clear, 2 * detail + 1)[..., None]
        light = light + power * facing.clip(0) * soft / (squared + 0.6)
    glow = view.glow[..., None]
    colours: Floats = view.colour * (light * (1 - glow.clip(0, 1)) + 1.2 * glow)
    return colours


def _corners(room: Room, view: View) -> Floats:
    """Less light in the corners of a room: by the distance from the second nearest surface."""
    apart = np.minimum(view.points, room.size - view.points).clip(0)
    second = np.sort(apart, -1)[..., 1:2]
    darker: Floats = 1 - 0.35 * np.exp(-second / 0.25)
    return darker


def _clear(room: Room, points: Floats, normals: Floats, place: Floats) -> Floats:
    """1 where nothing is between a point and a light, else 0, ``(height, width)``."""
    origins = (points + 0.01 * normals).reshape(-1, 3)
    towards = place - origins
    away = -towards / np.linalg.norm(towards, axis=1, keepdims=True)
    clear = np.ones(len(origins), np.float32)
    for solid in room.solids:
        apart = solid.centre - place
        distance = float(np.linalg.norm(apart))
        if solid.material.glow > 0.3 or solid.half.max() < SMALLEST or distance < 0.45:
            continue
        # Only what the sphere around it may hide is looked at.
        sine = min(solid.radius / distance, 1.0)
        near = (away @ (apart / distance) >= np.sqrt(1 - sine**2)) & (clear > 0)
        (rows,) = np.nonzero(near)
        clear[rows[solid.distance(origins[rows], towards[rows]) < 1]] = 0
    return clear.reshape(points.shape[:2])
