"""What stands in rooms and hangs on their walls."""

from __future__ import annotations

import numpy as np

from equipoise.problems.vision.rooms.materials import drawn, glowing
from equipoise.problems.vision.rooms.room import (
    BED,
    BOOKS,
    CHAIR,
    FLOOR,
    FURNITURE,
    OBJECTS,
    PICTURE,
    SOFA,
    TABLE,
    TV,
    WALL,
    WINDOW,
    Frame,
    Room,
)
from equipoise.problems.vision.rooms.solids import Box, Cylinder, Ellipsoid

WOODEN = ("wood", "wood", "plain")
WOVEN = ("plain", "cloth", "stripes", "checks")


def bed(room: Room) -> None:
    """A bed with pillows, its head at a wall."""
    draw = room.rng.uniform
    width, length, height = draw(0.9, 1.9), draw(1.9, 2.1), draw(0.4, 0.6)
    frame = room.against_wall(width, length)
    if frame is None:
        return
    room.begin()
    wood, cloth = drawn(room.rng, *WOODEN), drawn(room.rng, *WOVEN)
    middle = length / 2
    room.put(Box, BED, frame, (0, middle, 0.3 * height), (width / 2, middle, 0.3 * height), wood)
    room.put(Box, BED, frame, (0, middle, 0.8 * height), (width / 2, middle, 0.2 * height), cloth)
    room.put(Box, BED, frame, (0, 0.03, height), (width / 2, 0.03, draw(height, 0.7)), wood)
    blanket = drawn(room.rng, *WOVEN)
    half = (width / 2 + 0.01, 0.3 * length, 0.03)
    room.put(Box, BED, frame, (0, 0.68 * length, height + 0.02), half, blanket)
    for x in (-0.35, 0.35) if width > 1.3 else (0,):
        room.begin()
        pillow = drawn(room.rng, *WOVEN, value=(0.5, 1))
        room.put(Ellipsoid, OBJECTS, frame, (x, 0.3, height + 0.08), (0.3, 0.18, 0.1), pillow)


def sofa(room: Room) -> None:
    """A sofa with arms and cushions."""
    draw = room.rng.uniform
    width, depth, height = draw(1.3, 2.3), draw(0.75, 0.95), draw(0.38, 0.48)
    frame = room.against_wall(width, depth)
    if frame is None:
        return
    room.begin()
    cloth = drawn(room.rng, *WOVEN)
    half = width / 2
    room.put(Box, SOFA, frame, (0, depth / 2, height / 2), (half, depth / 2, height / 2), cloth)
    room.put(Box, SOFA, frame, (0, 0.12, height), (half, 0.12, draw(0.35, 0.45)), cloth)
    for side in (-1, 1):
        place, extent = (side * (half - 0.09), depth / 2, 0.7 * height), (0.09, depth / 2)
        room.put(Box, SOFA, frame, place, (*extent, 0.7 * height), cloth)
    for _ in range(room.rng.integers(4)):
        room.begin()
        place = (draw(0.3 - half, half - 0.3), 0.32, height + 0.17)
        room.put(Ellipsoid, OBJECTS, frame, place, (0.2, 0.09, 0.19), drawn(room.rng, *WOVEN))


def chair(room: Room, frame: Frame | None = None) -> None:
    """A chair, with its back at negative y."""
    draw = room.rng.uniform
    width, height = draw(0.4, 0.55), draw(0.42, 0.5)
    frame = frame or room.on_floor(width, width)
    if frame is None:
        return
    room.begin()
    seat, wood = drawn(room.rng, *WOVEN), drawn(room.rng, *WOODEN)
    half = width / 2
    if room.rng.random() < 0.75:
        _legs(room, CHAIR, frame, half, half, height)
    else:
        room.put(Cylinder, CHAIR, frame, (0, 0, height / 2), (0.04, 0.04, height / 2), wood)
        room.put(Cylinder, CHAIR, frame, (0, 0, 0.03), (half, half, 0.03), wood)
    room.put(Box, CHAIR, frame, (0, 0, height), (half, half, draw(0.02, 0.06)), seat)
    room.put(Box, CHAIR, frame, (0, 0.02 - half, height + 0.25), (half, 0.02, 0.25), seat)


def table(room: Room) -> None:
    """A table in the room, with things on it, and chairs if it is high."""
    draw = room.rng.uniform
    width, depth = draw(0.7, 1.6), draw(0.5, 1.0)
    high = bool(room.rng.random() < 0.6)
    height = draw(0.68, 0.78) if high else draw(0.35, 0.5)
    frame = room.on_floor(width + high, depth + high)
    if frame is None:
        return
    room.begin()
    wood = drawn(room.rng, *WOODEN)
    if room.rng.random() < 0.3:
        room.put(Cylinder, TABLE, frame, (0, 0, height), (width / 2, depth / 2, 0.02), wood)
        room.put(Cylinder, TABLE, frame, (0, 0, height / 2), (0.05, 0.05, height / 2), wood)
    else:
        room.put(Box, TABLE, frame, (0, 0, height), (width / 2, depth / 2, 0.02), wood)
        _legs(room, TABLE, frame, width / 2, depth / 2, height)
    _clutter(room, frame, width / 2 - 0.15, 0, depth / 2 - 0.12, height + 0.02, (0, 5))
    for x, y, turned in (
        (0, depth / 2 + 0.25, np.pi),
        (0, -depth / 2 - 0.25, 0),
        (width / 2 + 0.25, 0, np.pi / 2),
        (-width / 2 - 0.25, 0, -np.pi / 2),
    ):
        if high and room.rng.random() < 0.6:
            chair(room, frame.moved(x, y, turned + room.rng.normal(0, 0.25)))


def cabinet(room: Room) -> None:
    """A cabinet with doors; a low one carries a television or other things."""
    draw = room.rng.uniform
    low = bool(room.rng.random() < 0.65)
    width, depth = draw(0.6, 1.6), draw(0.35, 0.6)
    height = draw(0.45, 0.9) if low else draw(1.6, 2.1)
    frame = room.against_wall(width, depth)
    if frame is None:
        return
    room.begin()
    wood, door = drawn(room.rng, *WOODEN), drawn(room.rng, *WOODEN)
    half = (width / 2, depth / 2, height / 2)
    room.put(Box, FURNITURE, frame, (0, depth / 2, height / 2), half, wood)
    columns, rows = max(1, round(width / 0.5)), max(1, round(height / draw(0.3, 0.9)))
    for column in range(columns):
        for row in range(rows):
            x, z = (column + 0.5) * width / columns - width / 2, (row + 0.5) * height / rows
            leaf = (width / columns / 2 - 0.015, 0.015, height / rows / 2 - 0.015)
            room.put(Box, FURNITURE, frame, (x, depth, z), leaf, door)
    if low and room.rng.random() < 0.65:
        _television(room, frame, depth / 2, height + 0.06)
    elif low:
        _clutter(room, frame, width / 2 - 0.1, depth / 2, depth / 2 - 0.08, height, (1, 6))


def shelf(room: Room) -> None:
    """Shelves of books and other things."""
    draw = room.rng.uniform
    width, depth, height = draw(0.6, 1.7), draw(0.25, 0.35), draw(1.0, 2.1)
    frame = room.against_wall(width, depth)
    if frame is None:
        return
    room.begin()
    shelves, wood = room.things, drawn(room.rng, *WOODEN)
    room.put(Box, FURNITURE, frame, (0, 0.01, height / 2), (width / 2, 0.01, height / 2), wood)
    for side in (-1, 1):
        place = (side * width / 2, depth / 2, height / 2)
        room.put(Box, FURNITURE, frame, place, (0.015, depth / 2, height / 2), wood)
    number = max(2, round(height / draw(0.32, 0.42)))
    step = height / number
    for level in range(number + 1):
        place = (0, depth / 2, level * step)
        room.put(Box, FURNITURE, frame, place, (width / 2, depth / 2, 0.015), wood)
    for level in range(number):
        _row(room, frame, width, depth, level * step + 0.015, step - 0.03)
    room.things = max(room.things, shelves)


def _row(room: Room, frame: Frame, width: float, depth: float, z: float, space: float) -> None:
    """What stands on a shelf, from left to right."""
    draw, x = room.rng.uniform, 0.03 - width / 2
    while x < width / 2 - 0.12:
        extent = min(draw(0.12, 0.45), width / 2 - 0.03 - x) / 2
        half = draw(0.6, 0.95) * space / 2
        place, kind = (x + extent, depth / 2, z + half), room.rng.random()
        if kind < 0.7:
            room.begin()
            spines = drawn(room.rng, "spines", scale=(0.02, 0.045))
            room.put(Box, BOOKS, frame, place, (extent, 0.38 * depth, half), spines)
        elif kind < 0.85:
            room.begin()
            shape = (Box, Cylinder, Ellipsoid)[room.rng.integers(3)]
            size = (0.7 * min(extent, 0.12), 0.3 * depth, half)
            room.put(shape, OBJECTS, frame, place, size, drawn(room.rng, *WOVEN))
        x += 2 * extent


def rug(room: Room) -> None:
    """A rug, which is of the floor."""
    width, depth, _ = map(float, room.size)
    room.begin()
    half = (width * room.rng.uniform(0.15, 0.35), depth * room.rng.uniform(0.15, 0.35), 0.006)
    frame = Frame(width / 2, depth / 2, 0.005, 0.0)
    room.put(Box, FLOOR, frame, (0, 0, 0), half, drawn(room.rng, *WOVEN, scale=(0.1, 0.5)))


def clutter(room: Room) -> None:
    """A few things on the floor."""
    frame = room.on_floor(0.4, 0.4)
    if frame is not None:
        _clutter(room, frame, 0.1, 0, 0.1, 0.0, (1, 3))


def picture(room: Room) -> None:
    """A picture in a frame."""
    width, height = room.rng.uniform(0.4, 1.3), room.rng.uniform(0.4, 0.95)
    frame = room.hang(width, height, room.rng.uniform(1.35, 1.75))
    if frame is not None:
        room.begin()
        edge = drawn(room.rng, *WOODEN)
        inside = drawn(room.rng, "patches", "patches", "cloth", "sky", scale=(0.05, 0.3))
        room.put(Box, PICTURE, frame, (0, 0.01, 0), (width / 2, 0.015, height / 2), edge)
        half = (width / 2 - 0.04, 0.006, height / 2 - 0.04)
        room.put(Box, PICTURE, frame, (0, 0.022, 0), half, inside)


def hung_television(room: Room) -> None:
    """A television on a wall."""
    frame = room.hang(1.1, 0.65, room.rng.uniform(1.2, 1.5))
    if frame is not None:
        _television(room, frame, 0.04, -0.36)


def window(room: Room) -> None:
    """A window, bright by day, with curtains now and then."""
    width, height = room.rng.uniform(0.7, 1.9), room.rng.uniform(0.8, 1.3)
    frame = room.hang(width + 0.4, height, room.rng.uniform(1.3, 1.6))
    if frame is None:
        return
    room.begin()
    edge = drawn(room.rng, value=(0.6, 1), saturation=(0, 0.3))
    value = (0.7, 1.0) if room.daylight else (0.05, 0.3)
    view = drawn(room.rng, "sky", "cloth", value=value, saturation=(0.1, 0.6), scale=(0.3, 0.9))
    pane = glowing(view, room.rng.uniform(0.5, 1.1) if room.daylight else 0.02)
    room.put(Box, WINDOW, frame, (0, 0.01, 0), (width / 2, 0.02, height / 2), edge)
    panes = int(room.rng.integers(1, 4))
    for number in range(panes):
        place = ((number + 0.5) * width / panes - width / 2, 0.03, 0.0)
        half = (width / panes / 2 - 0.035, 0.003, height / 2 - 0.05)
        room.put(Box, WINDOW, frame, place, half, pane)
    if room.rng.random() < 0.4:
        cloth = drawn(room.rng, *WOVEN)
        for side in (-1, 1):
            place = (side * (width / 2 + 0.1), 0.07, -0.1)
            room.put(Box, WINDOW, frame, place, (0.18, 0.03, height / 2 + 0.2), cloth)
    if room.daylight:
        power = width * height * room.rng.uniform(0.6, 1.8) * np.array([0.95, 1, 1.1])
        room.lights.append((frame.point(0, 0.5, 0.2), power.astype(np.float32)))


def door(room: Room) -> None:
    """A door, which is of the wall."""
    width = room.rng.uniform(0.75, 0.95)
    frame = room.hang(width, 2.0, 1.0)
    if frame is not None:
        room.begin()
        edge, leaf = drawn(room.rng, value=(0.4, 1)), drawn(room.rng, *WOODEN)
        room.put(Box, WALL, frame, (0, 0.01, 0), (width / 2 + 0.06, 0.02, 1.05), edge)
        room.put(Box, WALL, frame, (0, 0.03, 0), (width / 2, 0.01, 1.0), leaf)


def _television(room: Room, frame: Frame, y: float, z: float) -> None:
    """A screen that stands at y and z of a frame, on or off."""
    room.begin()
    half = room.rng.uniform(0.4, 0.6)
    dark = drawn(room.rng, value=(0.1, 0.3), saturation=(0, 0.2))
    on = room.rng.random() < 0.4
    screen = drawn(room.rng, "patches", scale=(0.05, 0.2)) if on else dark
    height = 0.58 * half
    room.put(Box, TV, frame, (0, y, z + height), (half, 0.03, height), dark)
    place, extent = (0, y + 0.03, z + height), (half - 0.03, 0.004, height - 0.03)
    room.put(Box, TV, frame, place, extent, glowing(screen, 0.5 if on else 0.0))


def _legs(room: Room, label: int, frame: Frame, across: float, along: float, height: float) -> None:
    wood, thick = drawn(room.rng, *WOODEN), room.rng.uniform(0.02, 0.035)
    kind = (Box, Cylinder)[room.rng.integers(2)]
    for x in (thick - across, across - thick):
        for y in (thick - along, along - thick):
            half = (thick, thick, height / 2)
            room.put(kind, label, frame, (x, y, height / 2), half, wood)


def _clutter(
    room: Room,
    frame: Frame,
    across: float,
    middle: float,
    along: float,
    z: float,
    number: tuple[int, int],
) -> None:
    """Books, vases, boxes, balls and lamps on a surface."""
    draw = room.rng.uniform
    for _ in range(room.rng.integers(*number)):
        x, y = draw(-across, across), middle + draw(-along, along)
        room.begin()
        kind, material = room.rng.integers(5), drawn(room.rng, *WOVEN)
        if kind == 0:
            for level in range(room.rng.integers(1, 4)):
                place = (x, y, z + 0.02 + 0.04 * level)
                cover = drawn(room.rng, saturation=(0.5, 1))
                room.put(Box, BOOKS, frame, place, (0.12, 0.15, 0.02), cover, draw(0, 0.6))
        elif kind == 1:
            half = (draw(0.04, 0.09), draw(0.04, 0.09), draw(0.06, 0.16))
            room.put(Cylinder, OBJECTS, frame, (x, y, z + half[2]), half, material)
        elif kind == 2:
            half = (draw(0.05, 0.13), draw(0.05, 0.13), draw(0.05, 0.13))
            room.put(Box, OBJECTS, frame, (x, y, z + half[2]), half, material, draw(0, 3))
        elif kind == 3:
            half = (draw(0.06, 0.12), draw(0.06, 0.12), draw(0.05, 0.12))
            room.put(Ellipsoid, OBJECTS, frame, (x, y, z + half[2]), half, material)
        else:
            shade = glowing(drawn(room.rng, value=(0.7, 1), saturation=(0, 0.4)), draw(0, 0.5))
            room.put(Cylinder, OBJECTS, frame, (x, y, z + 0.15), (0.02, 0.02, 0.15), material)
            room.put(Cylinder, OBJECTS, frame, (x, y, z + 0.38), (0.12, 0.12, 0.09), shade)
