"""Colours and patterns of surfaces."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Material:
    """A pattern between two colours."""

    pattern: str
    colour: Values
    """``(3,)``, linear, in [0, 1]."""
    other: Values
    scale: float
    """Of the pattern, metres."""
    strength: float = 1.0
    """How far the pattern goes from one colour to the other, in [0, 1]."""
    seed: int = 0
    glow: float = 0.0
    """Light that it gives by itself."""
    gloss: bool = False
    """Whether a depth sensor may see through it or be dazzled."""

    def at(self, u: Values, v: Values) -> Values:
        """Colours ``(n, 3)`` at places on a surface, metres."""
        i, j = u / self.scale, v / self.scale
        if self.pattern == "patches":
            return _many_coloured(np.floor(i), np.floor(j), self.seed)
        if self.pattern == "spines":
            place = np.floor(i)
            edge = np.where(i % 1 < 0.12, 0.4, 1.0)[..., None]
            return _many_coloured(place, np.zeros_like(place), self.seed) * edge
        share = (self.strength * PATTERNS[self.pattern](i, j, self.seed))[..., None]
        return self.colour * (1 - share) + self.other * share


def drawn(
    rng: np.random.Generator,
    *patterns: str,
    value: tuple[float, float] = (0.15, 0.9),
    saturation: tuple[float, float] = (0.15, 0.9),
    strength: tuple[float, float] = (0.3, 0.9),
    scale: tuple[float, float] = (0.04, 0.4),
) -> Material:
    """A material of one of the patterns, of colours of these values and saturations."""
    return Material(
        pattern=str(rng.choice(patterns or ("plain",))),
        colour=_colour(rng, value, saturation),
        other=_colour(rng, value, saturation),
        scale=float(rng.uniform(*scale)),
        strength=float(rng.uniform(*strength)),
        seed=int(rng.integers(2**20)),
    )


def glowing(material: Material, glow: float) -> Material:
    """The same, with light of its own, and dazzling."""
    return replace(material, glow=glow, gloss=True)


def _colour(
    rng: np.random.Generator, value: tuple[float, float], saturation: tuple[float, float]
) -> Values:
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return np.array(rgb, np.float32) ** 2


def _hashed(i: Values, j: Values, seed: int) -> Values:
    """Numbers in [0, 1) that look random, of pairs of whole ones."""
    mixed = i.astype(np.int64) * 374_761_393 + j.astype(np.int64) * 668_265_263 + seed * 974_634_777
    mixed = ((mixed ^ (mixed >> 13)) * 1_274_126_177) & 0xFFFFFFFF
    numbers: Values = ((mixed ^ (mixed >> 16)) & 0xFFFF).astype(np.float32) / 65_536
    return numbers


def _many_coloured(i: Values, j: Values, seed: int) -> Values:
    """A colour ``(n, 3)`` for each pair of whole numbers."""
    return 0.05 + 0.85 * np.stack([_hashed(i, j, seed + channel) for channel in range(3)], -1)


def _noise(u: Values, v: Values, seed: int) -> Values:
    """Smooth between random numbers at whole places."""
    i, j = np.floor(u), np.floor(v)
    a, b = (part * part * (3 - 2 * part) for part in (u - i, v - j))
    low = _hashed(i, j, seed) * (1 - a) + _hashed(i + 1, j, seed) * a
    high = _hashed(i, j + 1, seed) * (1 - a) + _hashed(i + 1, j + 1, seed) * a
    return low * (1 - b) + high * b


def _wood(u: Values, v: Values, seed: int) -> Values:
    grain: Values = 0.5 + 0.5 * np.sin(2 * np.pi * (2.5 * v + 1.5 * _noise(0.3 * u, v, seed)))
    return grain


def _bricks(u: Values, v: Values, seed: int) -> Values:
    row = np.floor(2 * v)
    u = u + 0.5 * (row % 2)
    joint = (u % 1 < 0.05) | ((2 * v) % 1 < 0.1)
    return np.where(joint, 1, 0.4 * _hashed(np.floor(u), row, seed))


def _tiles(u: Values, v: Values, seed: int) -> Values:
    joint = (u % 1 < 0.05) | (v % 1 < 0.05)
    return np.where(joint, 1, 0.4 * _hashed(np.floor(u), np.floor(v), seed))


PATTERNS: Mapping[str, Callable[[Values, Values, int], Values]] = {
    "plain": lambda u, v, seed: 0.2 * _noise(u, v, seed),
    "cloth": lambda u, v, seed: 0.65 * _noise(u, v, seed) + 0.35 * _noise(3 * u, 3 * v, seed + 1),
    "wood": _wood,
    "stripes": lambda u, v, seed: (u % 1 < 0.5).astype(np.float32),
    "checks": lambda u, v, seed: ((np.floor(u) + np.floor(v)) % 2).astype(np.float32),
    "bricks": _bricks,
    "tiles": _tiles,
    "sky": lambda u, v, seed: np.clip(0.5 + v, 0, 1),
}
"""How far a place is from the first colour to the second. Besides there are patches and spines, of
colours of their own."""
