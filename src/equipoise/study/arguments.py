"""What a user may say of a weighting: the options of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equipoise.errors import UserError, near_match
from equipoise.study.literals import as_annotated, in_words
from equipoise.study.names import shown
from equipoise.weighting import Weighting

NEVER = {"self", "tasks", "losses", "model", "main"}
"""Arguments that a study gives."""

OF_THE_STUDY = {"seed": "that of the run", "shared": "the problem's"}
"""What a study gives whatever the constructor's default is, unless a user does."""


@dataclass(frozen=True)
class Option:
    """A parameter of a constructor that can be given as text."""

    name: str
    hint: Any
    """Its annotation."""
    default: object
    """``inspect.Parameter.empty`` if it has to be given."""

    def __str__(self) -> str:
        """Name and default, for people to read."""
        if self.name in OF_THE_STUDY:
            return f"{self.name} ({OF_THE_STUDY[self.name]} by default)"
        if self.default is inspect.Parameter.empty:
            return f"{self.name} (has to be given)"
        return f"{self.name}={self.default!r}"

    def is_default(self, value: object) -> bool:
        """Whether a value of it, read, says nothing new."""
        if self.name in OF_THE_STUDY:
            return False
        try:
            default = as_annotated(self.hint, self.default)
        except (TypeError, ValueError):
            return False
        return type(value) is type(default) and value == default


def options_of(kind: type[Weighting]) -> dict[str, Option]:
    """The options of a class by name, in the order of its constructor.

    Where that passes on ``**options``, those of the base class follow.
    """
    found: dict[str, Option] = {}
    for base in kind.__mro__:
        constructor = vars(base).get("__signature__", vars(base).get("__init__"))
        parameters = _parameters(constructor) if constructor else []
        for each in parameters:
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
                found.setdefault(each.name, Option(each.name, each.annotation, each.default))
        if parameters and all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break
    return {
        name: option
        for name, option in found.items()
        if name not in NEVER and in_words(option.hint) not in ("", "None")
    }


def checked(name: str, kind: type[Weighting], given: Mapping[str, object]) -> dict[str, object]:
    """Of the given options those that differ from the default, as and where they are declared.

    Args:
        name: of the method, for messages.
        kind: its class.
        given: Python literals by name.

    Raises:
        UserError: for an option that is not one of the class, or of the wrong type.
    """
    known = options_of(kind)
    for option in given:
        if option not in known:
            hint = near_match(option, known) if known else "it has none."
            raise UserError(f"{name} has no option {shown(option)!r}: {hint}")
    read = {
        option.name: _read(name, option, given[option.name])
        for option in known.values()
        if option.name in given
    }
    return {option: value for option, value in read.items() if not known[option].is_default(value)}


def _parameters(constructor: Any) -> list[inspect.Parameter]:
    if isinstance(constructor, inspect.Signature):
        return list(constructor.parameters.values())
    try:
        signature = inspect.signature(constructor, eval_str=True)
    except NameError:  # an annotation that is there for type checkers only
        signature = inspect.signature(constructor)
    return list(signature.parameters.values())


def _read(name: str, option: Option, value: object) -> object:
    try:
        return as_annotated(option.hint, value)
    except (TypeError, ValueError):
        raise UserError(
            f"{name}: {option.name} must be {in_words(option.hint)}, found {shown(repr(value))}"
        ) from None
