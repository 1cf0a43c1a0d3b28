"""Numbers that a problem is made with, checked in one way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipoise.errors import UserError

LARGEST = 2**63 - 1
"""Seed of PyTorch's generators."""
WIDEST = 65_536
"""Units of a layer."""


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Raise a :class:`UserError` unless a value is a whole number from ``least`` to ``most``."""
    if not _is_whole(value, least, most):
        raise UserError(
            f"`{name}` must be a whole number from {least} to {most:,}, found {_shown(value)}"
        )


def check_seed(name: str, value: Any) -> None:
    """Raise a :class:`UserError` unless a parameter can be a seed."""
    check_whole(name, value, 0, LARGEST)


def check_widths(name: str, values: Sequence[Any]) -> None:
    """Raise a :class:`UserError` unless a parameter is widths of layers, one at least."""
    if not values or not all(_is_whole(value, 1, WIDEST) for value in values):
        found = ",".join(map(_shown, values))
        raise UserError(
            f"`{name}` must be widths of layers, whole numbers from 1 to {WIDEST:,} such as "
            f"128,64, found {found or 'none'}"
        )


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _shown(value: Any) -> str:
    # Python refuses to write integers of more than 4,300 digits.
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    return f"{value!r}"
