"""The idx files of MNIST."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import UserError

BYTES = b"\x00\x00\x08"
"""How a file of unsigned bytes begins; the number of dimensions follows."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes, gzipped (``.gz``) or not.

    Raises:
        UserError: if it cannot be read, is of another kind, or too short or long for its shape.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if content[:3] != BYTES or len(content) < 4 + 4 * content[3]:
        raise UserError(f"{path} is not an idx file of unsigned bytes, as those of MNIST are")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{path} must have {math.prod(shape):,} bytes of data by its own account, and has "
            f"{len(content) - start:,}; it is damaged, get it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
