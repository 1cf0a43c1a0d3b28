"""A run on its way, on disk: what is stopped goes on from here."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from equipoise.processes import of_all, of_first, rank
from equipoise.study.folder import write_bytes
from equipoise.study.loop import Loop
from equipoise.study.modules import sha256_of

SHARE = 50
"""A checkpoint that takes a second is not written again for so many: it costs 2% at most."""
DIGITS = 64
"""Of the SHA-256 that stands in front."""


@dataclass
class Checkpoint:
    """Where a run on its way is kept, and for whom.

    Args:
        path: of the file; its folder may be missing, on another machine, and then nothing is kept.
        identity: tells the run from others.
        every: seconds from one to the next.
    """

    path: Path
    identity: str
    every: float
    _next: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.identity = f"{self.identity} torch {torch.__version__}"
        self._next = time.monotonic() + self.every

    def restore(self, loop: Loop) -> None:
        """Take a fresh loop to where this one was; what is damaged or of another run is as none."""
        states = of_first(self._read() if rank() == 0 else None)
        if states is not None:
            loop.load_state_dict(states[rank()])

    def step(self, loop: Loop) -> None:
        """Write the loop, of all processes that train it, if it is time."""
        began = time.monotonic()
        if not of_first(began >= self._next and self.path.parent.is_dir()):
            return
        states = of_all(loop.state_dict())
        if rank() == 0:
            self._write(states)
            ended = time.monotonic()
            self._next = ended + max(self.every, SHARE * (ended - began))

    def _write(self, states: list[dict[str, Any]]) -> None:
        content = io.BytesIO()
        torch.save({"identity": self.identity, "loops": states}, content)
        written = content.getvalue()
        write_bytes(self.path, sha256_of(written).encode() + written)

    def _read(self) -> list[dict[str, Any]] | None:
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        digest, written = content[:DIGITS], content[DIGITS:]
        if sha256_of(written).encode() != digest:
            return None
        found = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        return found["loops"] if found["identity"] == self.identity else None
