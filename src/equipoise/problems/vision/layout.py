"""Scenes in the layout that MTAN made of NYUv2, and LibMTL and Nash-MTL read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from equipoise.errors import UserError, reason_of

CLASSES = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
IGNORED = -1
CHANNELS = {"image": 3, "label": 0, "depth": 1, "normal": 3}
"""What a scene is made of, a folder each → channels, last; 0 where there is no such axis."""
SHORTEST = 1e-3
"""Length of a normal below which there is none."""
KEPT = 2**30
"""Bytes of a part, as a network takes it, up to which scenes stay in memory once they are read."""


class Batch(NamedTuple):
    """Scenes as a network takes them. Where a label is missing it is −1, a depth 0, a normal 0."""

    image: Tensor
    """``(scenes, 3, height, width)``, float32 in [0, 1]."""
    label: Tensor
    """``(scenes, height, width)``, int64."""
    depth: Tensor
    """``(scenes, height, width)``, metres, float32."""
    normal: Tensor
    """``(scenes, 3, height, width)``, float32, of unit length: x right, y up, z to the camera."""


@dataclass(frozen=True)
class Part:
    """The scenes of a folder ``train``, ``val`` or ``test``, checked by their headers alone."""

    folder: Path
    scenes: int
    height: int
    width: int

    def array(self, kind: str, scene: int) -> NDArray[Any]:
        """A file, which is read when its values are."""
        return _opened(self.folder / kind / f"{scene}.npy")


def open_part(folder: Path) -> Part:
    """The scenes of a folder with ``image``, ``label``, ``depth`` and ``normal``.

    Raises:
        UserError: if a folder is missing, files differ in number or size, or one is cut short.
    """
    numbers = {kind: _numbered(folder / kind) for kind in CHANNELS}
    counts = {kind: len(found) for kind, found in numbers.items()}
    if len(set(counts.values())) > 1 or not counts["image"]:
        shown = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        raise UserError(f"{folder} must have as many files of each kind, 1 or more; found {shown}")
    scenes = counts["image"]
    for kind, found in numbers.items():
        if found != set(range(scenes)):
            missing = min(set(range(scenes)) - found)
            raise UserError(f"{folder / kind} has {scenes} files, but no {missing}.npy")
    part = Part(folder, scenes, *part_size(folder))
    for kind, channels in CHANNELS.items():
        expected = (part.height, part.width, *([channels] if channels else []))
        for scene in range(scenes):
            shape = part.array(kind, scene).shape
            if shape != expected:
                raise UserError(
                    f"{folder / kind / f'{scene}.npy'} must be {expected}, as {folder / 'image'} "
                    f"has it, found {shape}"
                )
    return part


def part_size(folder: Path) -> tuple[int, int]:
    """Height and width of the first image."""
    shape = _opened(folder / "image" / "0.npy").shape
    if len(shape) != 3:
        raise UserError(f"{folder / 'image' / '0.npy'} must be (height, width, 3), found {shape}")
    return shape[0], shape[1]


def _numbered(folder: Path) -> set[int]:
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}: scenes are in train and val, each with the folders "
            f"{', '.join(CHANNELS)} of files 0.npy, 1.npy, …, as MTAN has preprocessed NYUv2"
        )
    return {int(path.stem) for path in folder.glob("*.npy") if path.stem.isdecimal()}


def _opened(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read {path} as an array: {reason_of(error)}") from error
    if found.dtype.kind not in "fiu":
        raise UserError(f"{path} must be an array of numbers, found {found.dtype}")
    return found


class Scenes:
    """Scenes of a part at any size, read when they are asked for.

    Args:
        part: where they are.
        rows: which of them.
        size: height and width to make them; images by averages over areas, all else by the nearest
            value, since a mean of two classes, or across an edge of depths, is neither.
        flip_y: whether y of the normals in the files points down.
    """

    def __init__(
        self, part: Part, rows: Sequence[int], size: tuple[int, int], *, flip_y: bool = False
    ) -> None:
        self.part = part
        self.rows = list(rows)
        self.size = size
        self.flip_y = flip_y
        self._nearest = np.ix_(_nearest(part.height, size[0]), _nearest(part.width, size[1]))
        scene = 4 * size[0] * size[1] * (3 + 2 + 1 + 3)
        self._kept: dict[int, Batch] | None = {} if scene * len(self.rows) <= KEPT else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> Batch:
        """The batch of scenes at ``indices``, int64."""
        scenes = [self._scene(self.rows[index]) for index in indices.tolist()]
        return Batch(*map(torch.stack, zip(*scenes, strict=True)))

    def _scene(self, row: int) -> Batch:
        if self._kept is None:
            return self._read(row)
        if row not in self._kept:
            self._kept[row] = self._read(row)
        return self._kept[row]

    def _read(self, row: int) -> Batch:
        image = torch.from_numpy(np.array(self.part.array("image", row), np.float32))
        label, depth, normal = (
            torch.from_numpy(self.part.array(kind, row)[self._nearest].astype(np.float32))
            for kind in ("label", "depth", "normal")
        )
        self._check(image, label, row)
        small = interpolate(image.permute(2, 0, 1)[None], self.size, mode="area")[0]
        depth = torch.where(depth.isfinite() & (depth > 0), depth, 0)[..., 0]
        return Batch(small, label.round().long(), depth, self._normals(normal.permute(2, 0, 1)))

    def _check(self, image: Tensor, label: Tensor, row: int) -> None:
        where = f"{row}.npy of {self.part.folder}"
        if not (image.min() >= 0 and image.max() <= 1):
            raise UserError(
                f"image/{where} must be in [0, 1], found {image.min():g} to {image.max():g}"
            )
        if not (label.min() >= IGNORED and label.max() < len(CLASSES)):
            raise UserError(
                f"label/{where} must be classes from 0 to {len(CLASSES) - 1}, or {IGNORED} where "
                f"there is none; found {label.min():g} to {label.max():g}"
            )

    def _normals(self, normal: Tensor) -> Tensor:
        """Of unit length; 0 where they are missing, which is wherever they have no length."""
        normal = torch.where(normal.isfinite().all(0) & (normal.norm(dim=0) > SHORTEST), normal, 0)
        if self.flip_y:
            normal = normal * normal.new_tensor([1, -1, 1])[:, None, None]
        return normalize(normal, dim=0)


def _nearest(pixels: int, wanted: int) -> NDArray[np.int64]:
    """Of so many pixels those in whose middle, or nearest to it, the middles of fewer are."""
    return (2 * np.arange(wanted) + 1) * pixels // (2 * wanted)
