"""Files of CIFAR-10: NumPy's, and the official ones, binary and for Python."""

from __future__ import annotations

import pickle
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import UserError, reason_of
from equipoise.problems.images.cifar_pickle import read_pickled

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CHANNELS, SIDE = 3, 32
PIXELS = CHANNELS * SIDE**2
BATCH = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
"""Names of the official batches: with ``.bin`` binary, without it for Python."""


class Images(NamedTuple):
    """Labelled images."""

    pixels: NDArray[np.uint8]
    """``(images, 3, 32, 32)``."""
    labels: NDArray[np.int64]
    """``(images,)``."""


@dataclass(frozen=True)
class Cifar:
    """What a file holds."""

    train: Images
    test: Images | None
    classes: tuple[str, ...]


def read_cifar(data: Path) -> Cifar:
    """The images of an ``.npz`` file, or of a folder or ``.tar.gz`` of the official batches.

    An ``.npz`` file has ``images`` and ``labels``, or ``train_images``, ``train_labels``,
    ``test_images`` and ``test_labels``; images ``(n, 32, 32, 3)`` in uint8, labels integers; and
    ``classes``, names, unless they are CIFAR-10's. Of batches in both versions the binary ones are
    read. No pickle can run anything: see `cifar_pickle`.

    Raises:
        UserError: if there are no such images.
    """
    if data.suffix.lower() == ".npz":
        return _read_npz(data)
    contents = _contents_of_folder(data) if data.is_dir() else _contents_of_archive(data)
    binary = {name for name in contents if name.endswith(".bin")}
    batches = {
        name: _binary(contents[name], f"{name} of {data}")
        if binary
        else _pickled(contents[name], f"{name} of {data}")
        for name in sorted(binary or contents)
    }
    training = [batch for name, batch in batches.items() if name.startswith("data")]
    if not training:
        raise UserError(
            f"{data} has no batch of CIFAR-10 to train on: no data_batch_1.bin (binary version) "
            "and no data_batch_1 (version for Python)"
        )
    test = next((batch for name, batch in batches.items() if name.startswith("test")), None)
    return Cifar(Images(*map(np.concatenate, zip(*training, strict=True))), test, CLASSES)


def _read_npz(data: Path) -> Cifar:
    try:
        with np.load(data, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {data} as an .npz file of arrays: {error}") from error
    classes = tuple(map(str, arrays.get("classes", CLASSES)))
    names = [("train_images", "train_labels"), ("test_images", "test_labels")]
    if "images" in arrays:
        names = [("images", "labels")]
    for name in chain.from_iterable(names):
        if name not in arrays:
            raise UserError(
                f"{data} has no array {name!r}; it needs images and labels, or train_images, "
                "train_labels, test_images and test_labels"
            )
    parts = [_checked(arrays[pixels], arrays[labels], classes, data) for pixels, labels in names]
    return Cifar(parts[0], parts[1] if len(parts) > 1 else None, classes)


def _checked(
    pixels: NDArray[Any], labels: NDArray[Any], classes: tuple[str, ...], data: Path
) -> Images:
    if pixels.shape[1:] != (SIDE, SIDE, CHANNELS) or pixels.dtype != np.uint8:
        raise UserError(
            f"the images of {data} must be (images, 32, 32, 3) in uint8, found {pixels.shape} in "
            f"{pixels.dtype}"
        )
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"the labels of {data} must be {len(pixels):,} integers, one for each image, found "
            f"{labels.shape} in {labels.dtype}"
        )
    numbers = labels.astype(np.int64)
    _check_labels(numbers, len(classes), f"{data}")
    return Images(pixels.transpose(0, 3, 1, 2), numbers)


def _check_labels(labels: NDArray[np.int64], classes: int, where: str) -> None:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise UserError(
            f"the labels of {where} must be from 0 to {classes - 1}, found {wrong[0]}; the file is "
            "damaged, or no CIFAR-10"
        )


def _contents_of_folder(data: Path) -> dict[str, bytes]:
    places = [path for path in data.glob("cifar-10-batches-*") if path.is_dir()]
    return {
        path.name: path.read_bytes()
        for place in [data, *places]
        for path in place.iterdir()
        if BATCH.fullmatch(path.name) and path.is_file()
    }


def _contents_of_archive(data: Path) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(data) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                # None where it is no file but, say, a folder.
                if BATCH.fullmatch(name) and (file := archive.extractfile(member)):
                    contents[name] = file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(
            f"cannot read {data} as CIFAR-10, which is an .npz file, a .tar.gz file or a folder: "
            f"{reason_of(error)}"
        ) from error
    return contents


def _binary(content: bytes, where: str) -> Images:
    """Images of a label byte and 3,072 bytes each."""
    if not content or len(content) % (1 + PIXELS):
        raise UserError(
            f"{where} has {len(content):,} bytes, not a multiple of {1 + PIXELS:,}, a label and an "
            "image; it is damaged, get it again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    labels = rows[:, 0].astype(np.int64)
    _check_labels(labels, len(CLASSES), where)
    return Images(_as_images(rows[:, 1:]), labels)


def _pickled(content: bytes, where: str) -> Images:
    """Images of a pickled dict with ``data`` ``(images, 3072)`` and a list of ``labels``."""
    try:
        batch = read_pickled(content)
    except pickle.UnpicklingError as error:
        raise UserError(f"{where} is no batch of CIFAR-10: {error}; get it again") from error
    pixels, labels = batch.get(b"data"), batch.get(b"labels")
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (PIXELS,):
        raise UserError(
            f"{where} has no 'data' of 3,072 bytes an image, as every batch of CIFAR-10 has; get "
            "it again"
        )
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(isinstance(label, int) and abs(label) < 2**63 for label in labels)
    ):
        raise UserError(
            f"{where} has no 'labels', a list of an integer for each of its {len(pixels):,} "
            "images; get it again"
        )
    numbers = np.array(labels, np.int64)
    _check_labels(numbers, len(CLASSES), where)
    return Images(_as_images(pixels), numbers)


def _as_images(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return rows.reshape(-1, CHANNELS, SIDE, SIDE)
