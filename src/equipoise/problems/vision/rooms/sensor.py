"""What a camera and a depth sensor make of a view, and people of its classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from equipoise.problems.vision.layout import IGNORED
from equipoise.problems.vision.rooms.camera import Camera
from equipoise.problems.vision.rooms.solids import Floats
from equipoise.problems.vision.rooms.view import View

FARTHEST = 9.5
"""Metres that a depth sensor reaches."""
FORGOTTEN = 0.04
"""Share of the things that nobody has labelled."""


def photograph(colours: Floats, rng: np.random.Generator) -> Floats:
    """An image ``(height, width, 3)`` in [0, 1], as a camera exposes and develops it."""
    height, width, _ = colours.shape
    exposure = rng.uniform(0.35, 0.55) / max(float(np.median(colours.mean(-1))), 0.02)
    image = colours * exposure * rng.uniform(0.9, 1.1, 3)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image = image * (1 - 0.2 * (x**2 + y**2)[..., None])
    image = image + rng.normal(0, 1, image.shape) * np.sqrt(0.0003 + 0.0015 * image)
    developed: Floats = (1 - np.exp(-1.3 * image.clip(0))) ** (1 / 2.2)
    return developed.astype(np.float32)


def labelled(view: View, rng: np.random.Generator) -> NDArray[np.int64]:
    """Classes ``(height, width)``; −1 at half of the edges, and for what was forgotten."""
    label = view.label.copy()
    label[_edges(view.label) & (rng.random(label.shape) < 0.5)] = IGNORED
    things = np.unique(view.thing[view.thing >= 0])
    forgotten = things[rng.random(len(things)) < FORGOTTEN]
    label[np.isin(view.thing, forgotten)] = IGNORED
    return label


def measured(view: View, camera: Camera, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Depths ``(height, width)`` and normals ``(height, width, 3)`` of the camera, 0 in holes.

    x is right, y up, and z towards the camera.
    """
    normals = exact_normals(view, camera)
    holes = _holes(view, camera, rng)
    noise = 0.0012 + 0.0019 * np.square(view.depth - 0.4)
    depth = np.where(holes, 0, view.depth + rng.normal(0, 1, view.depth.shape) * noise)
    normals = normals + rng.normal(0, 0.04, normals.shape)
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[holes & (rng.random(holes.shape) < 0.8)] = 0
    return depth.clip(0).astype(np.float32), normals.astype(np.float32)


def exact_normals(view: View, camera: Camera) -> Floats:
    """Normals in the coordinates of the camera, without noise."""
    return (view.normals @ camera.axes.T) * np.array([1, 1, -1], np.float32)


def _holes(view: View, camera: Camera, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where depth is missing: far away, at grazing angles, at edges, on what shines, in blobs."""
    towards = view.points - camera.eye
    cosine = np.abs((towards * view.normals).sum(-1)) / np.linalg.norm(towards, axis=-1)
    blobs = uniform_filter(rng.random(view.depth.shape), 7)
    ragged = _edges(view.thing) & (rng.random(blobs.shape) < 0.12)
    holes: NDArray[np.bool_] = (
        (cosine < 0.12)
        | (view.depth > FARTHEST)
        | (view.gloss & (blobs > 0.5))
        | ragged
        | (blobs > 0.66)
    )
    return holes


def _edges(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a pixel differs from the one right of it, or below it."""
    edges = np.zeros(numbers.shape, bool)
    edges[:, :-1] |= numbers[:, 1:] != numbers[:, :-1]
    edges[:-1] |= numbers[1:] != numbers[:-1]
    return edges
