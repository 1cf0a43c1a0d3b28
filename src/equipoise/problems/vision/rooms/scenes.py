"""Furnished rooms, and where they are looked at from."""

from __future__ import annotations

import numpy as np

from equipoise.problems.vision.rooms import furniture
from equipoise.problems.vision.rooms.camera import Camera
from equipoise.problems.vision.rooms.room import Room

ROOMS = {
    "bedroom": ("bed", "cabinet", "chair", "shelf", "table"),
    "living": ("sofa", "cabinet", "sofa", "table", "shelf", "chair"),
    "dining": ("table", "cabinet", "table", "shelf", "chair"),
    "office": ("table", "shelf", "table", "chair", "cabinet", "shelf"),
    "mixed": ("bed", "sofa", "cabinet", "table", "shelf", "chair"),
}
MORE = ("cabinet", "chair", "shelf", "sofa", "table", "bed")
FIELD = np.radians(63.3)
"""Of view, across: NYUv2's."""


def furnished(rng: np.random.Generator) -> Room:
    """A room with furniture, pictures, windows and lamps."""
    room = Room(rng)
    kind = list(ROOMS)[rng.integers(len(ROOMS))]
    for name in (*ROOMS[kind], *rng.choice(MORE, rng.integers(4))):
        getattr(furniture, str(name))(room)
    for name, least, most in (
        ("window", 0, 3),
        ("hung_television", 0, 3),
        ("door", 0, 2),
        ("picture", 3, 10),
        ("rug", 0, 2),
        ("clutter", 1, 5),
    ):
        for _ in range(rng.integers(least, most)):
            getattr(furniture, name)(room)
    _light(room)
    return room


def _light(room: Room) -> None:
    """A lamp below the ceiling, mostly; always where there is no window."""
    rng = room.rng
    if room.lights and rng.random() < 0.2:
        return
    place = (room.size * rng.uniform((0.3, 0.3, 0.88), (0.7, 0.7, 0.92))).astype(np.float32)
    warm = rng.uniform(0.6, 1)
    colour = np.array([1, 0.6 + 0.4 * warm, 0.3 + 0.7 * warm])
    room.lights.append((place, (rng.uniform(1.5, 4) * colour).astype(np.float32)))


def looked_at(room: Room) -> Camera:
    """A camera at a free place near the edge of the room, that looks at some of the furniture."""
    rng = room.rng
    width, depth, _ = map(float, room.size)
    for _ in range(60):
        x, y, z = rng.uniform((0.25, 0.25, 1.0), (width - 0.25, depth - 0.25, 1.7))
        free = all(abs(x - u) > a + 0.15 or abs(y - v) > b + 0.15 for u, v, a, b in room.taken)
        if free and np.hypot(x - width / 2, y - depth / 2) > 0.3 * min(width, depth):
            break
    u, v, *_ = room.taken[rng.integers(len(room.taken))] if room.taken else (width / 2, depth / 2)
    aim_x, aim_y = 0.7 * u + 0.15 * width, 0.7 * v + 0.15 * depth
    yaw = np.arctan2(aim_y - y, aim_x - x) + rng.normal(0, 0.25)
    pitch, roll = np.radians(rng.normal(-6, 8)), np.radians(rng.normal(0, 2))
    return Camera(np.array([x, y, z], np.float32), float(yaw), float(pitch), float(roll), FIELD)
