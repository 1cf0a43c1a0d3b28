"""What the rays of a camera meet in a room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.problems.vision.rooms.camera import Camera
from equipoise.problems.vision.rooms.room import CEILING, FLOOR, WALL, Room
from equipoise.problems.vision.rooms.solids import Floats

SIDES = {(1, 0): 0, (0, 1): 1, (1, 1): 2, (0, 0): 3, (2, 0): 4, (2, 1): 5}
"""Axis, and whether at its far end → the surface of a room there."""
LEVEL = {4: FLOOR, 5: CEILING}
"""The classes of surfaces that are no wall."""


@dataclass(frozen=True)
class View:
    """For each pixel what is seen there; arrays ``(height, width, …)``."""

    depth: Floats
    """Metres forward of the camera."""
    points: Floats
    """Of the room, metres."""
    normals: Floats
    """Of unit length, in the room's coordinates."""
    colour: Floats
    """Of the surface, linear, in [0, 1]."""
    glow: Floats
    label: NDArray[np.int64]
    thing: NDArray[np.int64]
    """−1 − surface for the room itself."""
    gloss: NDArray[np.bool_]


def seen(room: Room, camera: Camera, height: int, width: int) -> View:
    """What a camera sees."""
    rays = camera.rays(height, width)
    depth, which = nearest(room, camera, rays)
    points = camera.eye + depth[..., None] * rays
    view = View(
        depth=depth,
        points=points,
        normals=np.zeros_like(rays),
        colour=np.zeros_like(rays),
        glow=np.zeros_like(depth),
        label=labels(room)[which],
        thing=np.zeros(depth.shape, np.int64),
        gloss=np.zeros(depth.shape, bool),
    )
    for index in np.unique(which):
        here = np.nonzero(which == index)
        if index < 0:
            _paint_surface(room, view, here, -1 - int(index))
        else:
            _paint_solid(room, view, here, int(index))
    return view


def labels(room: Room) -> NDArray[np.int64]:
    """The class of each solid, and from the end, at −1 − surface, of each surface."""
    surfaces = [LEVEL.get(side, WALL) for side in reversed(range(len(SIDES)))]
    return np.array([solid.label for solid in room.solids] + surfaces)


def nearest(room: Room, camera: Camera, rays: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The distance of what each ray meets first, and which solid, or −1 − surface, that is."""
    height, width, _ = rays.shape
    towards = np.where(rays > 0, room.size - camera.eye, -camera.eye)
    ends = np.divide(towards, rays, out=np.full_like(rays, np.inf), where=rays != 0)
    axis = ends.argmin(-1)
    depth = ends.min(-1).astype(np.float32)
    far = np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0
    surfaces = np.array([[SIDES[axis, end] for end in (0, 1)] for axis in range(3)])
    which = -1 - surfaces[axis, far.astype(int)]
    for index, solid in enumerate(room.solids):
        window = camera.window(solid.corners, height, width)
        if window is None:
            continue
        found = solid.distance(camera.eye, rays[window])
        closer = found < depth[window]
        depth[window][closer] = found[closer]
        which[window][closer] = index
    return depth, which


def _paint_surface(room: Room, view: View, here: tuple[NDArray[np.int64], ...], side: int) -> None:
    (axis, far), *_ = [key for key, surface in SIDES.items() if surface == side]
    normal = np.zeros(3, np.float32)
    normal[axis] = -1 if far else 1
    view.normals[here] = normal
    points = view.points[here]
    u, v = (points[:, each] for each in range(3) if each != axis)
    view.colour[here] = room.surfaces[side].at(u, v)
    view.thing[here] = -1 - side


def _paint_solid(room: Room, view: View, here: tuple[NDArray[np.int64], ...], index: int) -> None:
    solid = room.solids[index]
    own = (view.points[here] - solid.centre) @ solid.axes.T
    normals = solid.normals(own / solid.half)
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    facing = np.abs(normals).argmax(1)
    u = np.where(facing == 0, own[:, 1], own[:, 0])
    v = np.where(facing == 2, own[:, 1], own[:, 2])
    view.normals[here] = normals @ solid.axes
    view.colour[here] = solid.material.at(u, v)
    view.glow[here] = solid.material.glow
    view.thing[here] = solid.thing
    view.gloss[here] = solid.material.gloss
