"""A scene from a seed: image, classes, depths and normals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.problems.vision.rooms.camera import Camera
from equipoise.problems.vision.rooms.light import lit
from equipoise.problems.vision.rooms.room import WALL, Room
from equipoise.problems.vision.rooms.scenes import furnished, looked_at
from equipoise.problems.vision.rooms.sensor import labelled, measured, photograph
from equipoise.problems.vision.rooms.solids import Floats
from equipoise.problems.vision.rooms.view import View, labels, nearest, seen

DETAIL = 2
"""Rays along each side of a pixel of the image."""
ATTEMPTS = 20
LOOKS = 6
"""Cameras that are tried in a room."""
GLANCE = (9, 12)
"""Rays to judge a camera by, down and across."""
LEAST = 5
"""Classes that a camera must see."""


class Scene(NamedTuple):
    """What is known of a scene, in the layout of NYUv2."""

    image: Floats
    """``(height, width, 3)`` in [0, 1]."""
    label: NDArray[np.int64]
    """``(height, width)``, −1 where there is none."""
    depth: Floats
    """``(height, width, 1)``, metres, 0 where there is none."""
    normal: Floats
    """``(height, width, 3)``, 0 where there is none."""


def render(seed: int, height: int, width: int) -> Scene:
    """The scene of a seed, the same on every machine to rounding."""
    room, camera = _worth_seeing(seed)
    fine = seen(room, camera, DETAIL * height, DETAIL * width)
    colours = lit(room, fine, DETAIL)
    pixels = colours.reshape(height, DETAIL, width, DETAIL, 3).mean((1, 3))
    view = every(fine, DETAIL)
    image = photograph(pixels, room.rng)
    label = labelled(view, room.rng)
    depth, normal = measured(view, camera, room.rng)
    return Scene(image, label, depth[..., None], normal)


def every(view: View, detail: int) -> View:
    """One of ``detail`` × ``detail`` pixels."""
    return View(**{name: values[::detail, ::detail] for name, values in vars(view).items()})


def _worth_seeing(seed: int) -> tuple[Room, Camera]:
    """A room, and the camera that sees its classes in the most even shares."""
    for attempt in range(ATTEMPTS):
        room = furnished(np.random.default_rng([seed, attempt]))
        cameras = [looked_at(room) for _ in range(LOOKS)]
        worth = [_worth(room, camera) for camera in cameras]
        if max(worth) > 0:
            break
    return room, cameras[int(np.argmax(worth))]


def _worth(room: Room, camera: Camera) -> float:
    """How many classes it sees, by their entropy, and less for walls; 0 right before something."""
    depth, which = nearest(room, camera, camera.rays(*GLANCE))
    shares = np.bincount(labels(room)[which].ravel(), minlength=WALL + 1) / which.size
    seen = shares[shares > 0]
    if len(seen) < LEAST or np.median(depth) < 1.3 or depth.min() < 0.35:
        return 0.0
    return float(np.exp(-(seen * np.log(seen)).sum()) * (1 - shares[WALL]) ** 2)
