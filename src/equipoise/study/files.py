"""Files: written whole or not at all, read without waiting, told apart by their contents."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

OURS = ".equipoise-"
"""How the names of files begin that are being written, and of the lock of a folder."""
HASH = "sha256:"
"""How what stands for a file or an object begins."""


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    handle, aside = tempfile.mkstemp(prefix=OURS, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    finally:
        Path(aside).unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes:
    """The contents of a file; what is no file is not waited for, as a pipe would be.

    Raises:
        OSError: if it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is no file")
    return path.read_bytes()


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sha256(path: Path) -> str:
    """Of a file's contents; of a folder, of the names and contents of the files in it."""
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
        lines = (f"{sha256(each)} {each.relative_to(path).as_posix()}\n" for each in files)
        return sha256_of("".join(lines).encode())
    return sha256_of(path.read_bytes())


def sha256_of(content: bytes) -> str:
    """Of bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
