"""What fits into memory."""

from __future__ import annotations

import psutil
import torch

from equipoise.errors import UserError

CPU = torch.device("cpu")
COPIES = 4
"""Arrays of float64 that labels are held in at once, from the file to the samples."""


def free_memory(device: torch.device = CPU) -> int:
    """Bytes that can be allocated on a device before it has no more."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def gigabytes(size: float) -> str:
    """A number of bytes for people to read."""
    return f"{size / 1e9:,.1f} GB"


def check_labels(rows: int, targets: int, what: str) -> None:
    """Refuse labels ``(rows, targets)`` that cannot be prepared in the memory that is free.

    Call it when the file has been read: what that takes is no longer free.

    Raises:
        UserError: naming ``what``, the file or problem that the labels are of.
    """
    what = f"the labels of {targets:,} targets in {rows:,} rows of {what}"
    check_fits(COPIES * 8 * rows * targets, what, "targets or rows")


def check_fits(need: int, what: str, fewer: str) -> None:
    """Raise a :class:`UserError` if ``need`` bytes for ``what`` are not free."""
    free = free_memory()
    if need > free:
        raise UserError(
            f"{what} need about {gigabytes(need)}, and {gigabytes(free)} are free: choose fewer "
            f"{fewer}"
        )
