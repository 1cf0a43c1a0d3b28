"""What goes wrong through no fault of the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "near_match", "positive", "reason_of"]


class UserError(ValueError):
    """One sentence that says what was wrong, with which file, column, task or option; what to do.

    The command line shows it without a traceback.
    """


def near_match(name: str, known: Iterable[str]) -> str:
    """What to say to somebody who gave a name that is not known."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}."


def reason_of(error: Exception) -> str:
    """What an exception says, on one line, and of the system's without number and file."""
    return (getattr(error, "strerror", None) or str(error)).partition("\n")[0]


def positive(name: str, value: object) -> float:
    """``value`` as a float, or a ``ValueError`` that names the parameter."""
    if not (isinstance(value, (int, float)) and 0 < value < float("inf")):
        raise ValueError(f"{name} must be a positive number, found {value!r}")
    return float(value)
