"""A room that is being furnished: what stands where, and what room is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from equipoise.problems.vision.layout import CLASSES
from equipoise.problems.vision.rooms.materials import Material, drawn
from equipoise.problems.vision.rooms.solids import Floats, Solid

BED, BOOKS, CEILING, CHAIR, FLOOR, FURNITURE, OBJECTS, PICTURE, SOFA, TABLE, TV, WALL, WINDOW = (
    range(len(CLASSES))
)
TRIES = 12


@dataclass(frozen=True)
class Frame:
    """A place to put things at: x to the right and y away from a wall, z up."""

    x: float
    y: float
    z: float
    yaw: float

    def point(self, x: float, y: float, z: float) -> Floats:
        """Of the room, metres."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([self.x + c * x - s * y, self.y + s * x + c * y, self.z + z], np.float32)

    def moved(self, x: float, y: float, turned: float) -> Frame:
        """A frame at a place of this one."""
        place = self.point(x, y, 0)
        return Frame(float(place[0]), float(place[1]), self.z, self.yaw + turned)


@dataclass
class Room:
    """Walls, floor and ceiling, and what is in between.

    Args:
        rng: of all that is drawn for it.
    """

    rng: np.random.Generator
    size: Floats = field(init=False)
    """Width, depth and height, metres."""
    solids: list[Solid] = field(default_factory=list)
    lights: list[tuple[Floats, Floats]] = field(default_factory=list)
    """Places and powers of each colour."""
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Rectangles of the floor: middle and half sides."""
    hung: list[tuple[int, float, float]] = field(default_factory=list)
    """Of walls: side, middle and width."""
    things: int = 0
    daylight: bool = field(init=False)
    surfaces: Sequence[Material] = field(init=False)
    """Of the four walls, the floor and the ceiling."""

    def __post_init__(self) -> None:
        rng = self.rng
        self.size = rng.uniform((2.6, 2.8, 2.2), (4.8, 5.6, 2.7)).astype(np.float32)
        self.daylight = bool(rng.random() < 0.7)
        quiet = {"saturation": (0.05, 0.6), "value": (0.45, 0.95), "strength": (0.05, 0.35)}
        wall = drawn(rng, "plain", "plain", "cloth", "stripes", "bricks", **quiet)
        walls = [wall] * 4
        if rng.random() < 0.4:
            accent = drawn(rng, "plain", "cloth", "bricks", strength=(0.05, 0.4))
            walls[rng.integers(4)] = accent
        floor = drawn(
            rng, "wood", "wood", "tiles", "cloth", "checks", strength=(0.2, 0.7), scale=(0.2, 0.6)
        )
        ceiling = drawn(
            rng, "plain", "tiles", value=(0.75, 1), saturation=(0, 0.1), scale=(0.4, 0.6)
        )
        self.surfaces = [*walls, floor, ceiling]

    def put(
        self,
        kind: type[Solid],
        label: int,
        frame: Frame,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        material: Material,
        turned: float = 0.0,
    ) -> None:
        """Add a solid of the thing that is being made."""
        extent = np.maximum(np.array(half, np.float32), 1e-3)
        place = frame.point(*centre)
        self.solids.append(kind(label, place, extent, frame.yaw + turned, material, self.things))

    def begin(self) -> None:
        """What is put from now on is another thing."""
        self.things += 1

    def against_wall(self, width: float, depth: float, gap: float = 0.02) -> Frame | None:
        """A free frame whose origin is on a wall, y into the room; ``None`` if none was found."""
        for _ in range(TRIES):
            side = int(self.rng.integers(4))
            length = float(self.size[side % 2])
            if length < width + 0.05:
                continue
            frame = self.on_wall(side, self.rng.uniform(width / 2, length - width / 2), 0.0, gap)
            if self._take(frame.moved(0, depth / 2, 0), width, depth):
                return frame
        return None

    def on_floor(self, width: float, depth: float) -> Frame | None:
        """A free frame whose origin is the middle of a rectangle; ``None`` if none was found."""
        for _ in range(TRIES):
            x, y = (self.rng.uniform(0.4, side - 0.4) for side in self.size[:2])
            yaw = self.rng.integers(4) * np.pi / 2 + self.rng.normal(0, 0.25)
            frame = Frame(float(x), float(y), 0.0, float(yaw))
            if self._take(frame, width, depth):
                return frame
        return None

    def on_wall(self, side: int, along: float, height: float, gap: float = 0.0) -> Frame:
        """The frame at a place of a wall: 0 at y = 0, and on anticlockwise."""
        width, depth, _ = map(float, self.size)
        x, y = [
            (along, gap),
            (width - gap, along),
            (width - along, depth - gap),
            (gap, depth - along),
        ][side]
        return Frame(x, y, height, side * np.pi / 2)

    def hang(self, width: float, height: float, middle: float) -> Frame | None:
        """A frame on a wall that nothing else hangs at; ``None`` if there was no room."""
        side = int(self.rng.integers(4))
        length = float(self.size[side % 2])
        if length < width + 0.3 or middle + height / 2 > self.size[2] - 0.05:
            return None
        along = float(self.rng.uniform(width / 2 + 0.1, length - width / 2 - 0.1))
        for other, place, extent in self.hung:
            if other == side and abs(place - along) < (extent + width) / 2 + 0.05:
                return None
        self.hung.append((side, along, width))
        return self.on_wall(side, along, middle)

    def _take(self, frame: Frame, width: float, depth: float) -> bool:
        """Take the rectangle around a frame, if it is free and in the room."""
        c, s = abs(np.cos(frame.yaw)), abs(np.sin(frame.yaw))
        across, along = (c * width + s * depth) / 2, (s * width + c * depth) / 2
        inside = (
            frame.x - across >= -0.02
            and frame.x + across <= self.size[0] + 0.02
            and frame.y - along >= -0.02
            and frame.y + along <= self.size[1] + 0.02
        )
        free = all(
            abs(frame.x - x) >= across + a or abs(frame.y - y) >= along + b
            for x, y, a, b in self.taken
        )
        if inside and free:
            self.taken.append((frame.x, frame.y, float(across), float(along)))
        return inside and free
