"""Folders of rooms, in the layout of NYUv2, drawn once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import track

from equipoise.problems.cache import cache_folder
from equipoise.problems.vision.rooms.render import render

VERSION = 2
"""Of what is drawn: another one is drawn anew."""
SCENES = {"train": 400, "val": 150, "test": 150}
DTYPES = {"image": np.float16, "label": np.int8, "depth": np.float32, "normal": np.float16}
SUMS = "sha256.json"
"""The file of checksums, written last: without it a folder is not whole."""


def rooms_folder(height: int, width: int, scenes: Mapping[str, int] | None = None) -> Path:
    """The folder of rooms of this size, which is drawn if it is not there, or not whole.

    Of :data:`SCENES` unless other numbers are given.

    Scenes of a part have the seeds from a thousand times its place on, so that a smaller part is
    the beginning of a larger one.
    """
    scenes = scenes or SCENES
    name = f"rooms-{VERSION}-{height}x{width}-" + "-".join(map(str, scenes.values()))
    folder = cache_folder() / name
    if not _whole(folder):
        _draw(folder, height, width, scenes)
    return folder


def _draw(folder: Path, height: int, width: int, scenes: Mapping[str, int]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".rooms-") as aside:
        whole = Path(aside) / folder.name
        write_rooms(whole, height, width, scenes)
        if folder.exists():
            shutil.rmtree(folder)
        try:
            os.rename(whole, folder)
        except OSError:
            # Another process was faster: what it has drawn is the same.
            if not _whole(folder):
                raise


def write_rooms(folder: Path, height: int, width: int, scenes: Mapping[str, int]) -> None:
    """Draw scenes into a folder, part by part, and the checksums of all files."""
    jobs = [
        (folder / part, number, 1_000_000 * place + number)
        for place, (part, size) in enumerate(scenes.items())
        for number in range(size)
    ]
    console = Console(stderr=True)
    parallel = Parallel(n_jobs=-1, return_as="generator")
    sums: dict[str, str] = {}
    for found in track(
        parallel(
            delayed(_write)(place, number, seed, height, width) for place, number, seed in jobs
        ),
        description="Rooms",
        total=len(jobs),
        console=console,
        transient=console.is_terminal,
    ):
        sums |= {Path(path).relative_to(folder).as_posix(): each for path, each in found.items()}
    (folder / SUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def _write(place: Path, number: int, seed: int, height: int, width: int) -> dict[str, str]:
    """Draw and save a scene; the checksums of its files."""
    sums = {}
    for kind, values in render(seed, height, width)._asdict().items():
        path = place / kind / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values.astype(DTYPES[kind]))
        sums[str(path)] = _sum(path)
    return sums


def _whole(folder: Path) -> bool:
    """Whether all files are there, as they were written."""
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        return bool(sums) and all(_sum(folder / path) == each for path, each in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
