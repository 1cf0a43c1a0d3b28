"""What docstrings say of options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import takewhile

from equipoise.weighting import Weighting


def meanings(kind: type[Weighting]) -> dict[str, str]:
    """What the docstring says of each option; where it says ``see …``, what a base class says."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for name, text in _arguments(base.__doc__ or ""):
            if not text.startswith("see ") or name not in found:
                found[name] = text
    return {name: plain(text) for name, text in found.items()}


def _arguments(docstring: str) -> Iterator[tuple[str, str]]:
    """Names and texts in the Args section of a docstring."""
    _, _, rest = inspect.cleandoc(docstring).partition("\nArgs:\n")
    lines = takewhile(lambda line: not line or line.startswith(" "), rest.splitlines())
    section = inspect.cleandoc("\n" + "\n".join(lines))
    for entry in re.split(r"\n(?=\S)", section):
        if found := re.match(r"(\w+)(?: \([^)]*\))?:\s*(.*)", entry, re.DOTALL):
            yield found[1], " ".join(found[2].split())


def plain(text: str) -> str:
    """Without the marks of reStructuredText."""
    text = re.sub(r":math:`([^`]*)`", lambda found: found[1].replace("\\", ""), text)
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", text)
    return text.replace("``", "")
