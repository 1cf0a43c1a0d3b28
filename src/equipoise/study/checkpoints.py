"""A run on its way, on disk: what is stopped goes on from here."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from equipoise.processes import of_all, of_first, rank
from equipoise.study.files import read_bytes, sha256_of, write_bytes
from equipoise.study.loop import Loop

SHARE = 50
"""A checkpoint that takes a second is not written again for so many: it costs 2% at most."""
DIGITS = 64
"""Of the SHA-256, of whose run it is and of what follows, that stands in front."""


@dataclass
class Checkpoint:
    """Where a run on its way is kept, and for whom.

    Args:
        path: of the file; its folder may be missing, on another machine, and then nothing is kept.
        identity: tells the run from others.
        every: seconds from one to the next.
        say: is told in a sentence, once, if it cannot be written.
    """

    path: Path
    identity: str
    every: float
    say: Callable[[str], None]
    _failed: bool = field(default=False, init=False)
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
            try:
                self._write(states)
            except OSError as error:  # a run that could not go on from here may yet get to its end
                if not self._failed:
                    self.say(
                        f"{self.path} cannot be written ({error.strerror or error}): the run goes "
                        "on, and would begin anew if it were stopped"
                    )
                self._failed = True
            ended = time.monotonic()
            self._next = ended + max(self.every, SHARE * (ended - began))

    def _write(self, states: list[dict[str, Any]]) -> None:
        content = io.BytesIO()
        torch.save(states, content)
        written = content.getvalue()
        write_bytes(self.path, self._digest(written) + written)

    def _read(self) -> list[dict[str, Any]] | None:
        try:
            content = read_bytes(self.path)
        except OSError:
            return None
        digest, written = content[:DIGITS], content[DIGITS:]
        if self._digest(written) != digest:
            return None
        states: list[dict[str, Any]] = torch.load(
            io.BytesIO(written), map_location="cpu", weights_only=True
        )
        return states

    def _digest(self, written: bytes) -> bytes:
        return sha256_of(self.identity.encode() + written).encode()
