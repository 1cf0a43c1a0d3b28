"""Methods as a user writes them: ``gradnorm(alpha=1.5),slaw(beta=0.9)+torchjd/PCGrad``.

    methods := method ("," method)*
    method  := part ("+" part)*
    part    := name [ "(" [ option ("," option)* [","] ] ")" ]
    option  := identifier "=" Python literal

Only the text is looked at here: nothing is run, and whether a name is a method's is not asked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from equipoise.errors import UserError

REFERENCE = "constant"
"""The method that all others are compared with: equal weights."""
SINGLE = "single"
"""The networks that learn one task each."""
IDEAL = "ideal"
"""Weights that are known for made-up data only, and so are no method to choose."""

LONGEST = 80
"""Characters of a text that a message repeats."""

_PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|.""", re.DOTALL)
_PART = re.compile(r"\s*([\w.:/-]+)\s*(?:\((.*)\)\s*)?", re.DOTALL)


@dataclass(frozen=True)
class Named:
    """A name with its options, as they were written."""

    name: str
    options: Mapping[str, object]


def parse(text: str) -> list[tuple[Named, ...]]:
    """The methods that a text names, each of one part or of several with + between them.

    Raises:
        UserError: if it is not as above.
    """
    return [tuple(map(_part, split(method, "+"))) for method in split(text, ",")]


def shown(text: str) -> str:
    """A text as a message repeats it: not in full length."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def split(text: str, separator: str) -> list[str]:
    """What stands between the separators outside of brackets and quotes."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(text):
        depth += (piece in "([{") - (piece in ")]}")
        if piece == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _part(text: str) -> Named:
    found = _PART.fullmatch(text)
    if found is None:
        raise UserError(
            f"{shown(text.strip())!r} is no method: write a name, and its options in parentheses "
            "after it, as in slaw(beta=0.9)"
        )
    name, arguments = found.groups()
    return Named(name, _options(shown(text.strip()), arguments or ""))


def _options(text: str, arguments: str) -> dict[str, object]:
    """Keyword arguments by name; ``text`` is for the messages."""
    try:
        call = ast.parse(f"options({arguments})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    # What closes our parenthesis to begin another expression is no call of that name.
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise UserError(
            f"{text!r}: the options cannot be read; write them as in slaw(beta=0.9, warmup=20)"
        )
    options: dict[str, object] = {}
    for keyword in call.keywords:
        if keyword.arg is None or call.args:
            break
        if keyword.arg in options:
            raise UserError(f"{text!r}: the option {keyword.arg} is given twice")
        options[keyword.arg] = _value(text, keyword.arg, keyword.value)
    if len(options) != len(call.keywords) + len(call.args):
        raise UserError(f"{text!r}: options are given by name, as in slaw(beta=0.9)")
    return options


def _value(text: str, name: str, node: ast.expr) -> object:
    try:
        value: object = ast.literal_eval(node)
        repr(value)  # labels need it, and Python refuses integers of thousands of digits
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise UserError(
            f"{text!r}: the value of {name} must be a number, True, False, None, a text in "
            "quotes, or a list or mapping of these"
        ) from None
    return value
