"""Values as annotations have them, Python literals among them."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

_UNTOLD = (Any, object, inspect.Parameter.empty, tuple, list, dict, Sequence, Iterable, Mapping)
"""Annotations that leave open what is in a value, or what it is."""


def adapter(hint: Any) -> TypeAdapter[Any]:
    """What reads values of an annotation; any value, of one that pydantic cannot describe."""
    try:
        config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
        return TypeAdapter(hint, config=config)
    except (PydanticSchemaGenerationError, TypeError):
        return TypeAdapter(Any)


def as_annotated(hint: Any, value: object) -> object:
    """A literal as an annotation has it: 1 is a float where one is wanted, a list a tuple.

    Raises:
        TypeError: if it is no literal.
        ValueError: if it is none of the annotation's.
    """
    if _is_untold(hint):
        return value
    kinds = get_args(hint) if get_origin(hint) in _UNIONS else (hint,)
    literal = reduce(or_, map(_sized, filter(in_words, kinds)))
    # As JSON, of which strict types take 1 for a float and a list for a tuple.
    return adapter(literal).validate_json(json.dumps(value), strict=True)


_UNIONS = (Union, types.UnionType)
_LISTS = (tuple, list, Sequence, Iterable)
_MAPPINGS = (dict, Mapping)
_WORDS = {
    bool: "True or False",
    int: "an integer",
    str: "a text in quotes",
    float: "a number",
    None: "None",
    types.NoneType: "None",
}


def in_words(hint: Any) -> str:
    """What literals an annotation takes; empty if none."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if _is_untold(hint):
        return "any literal"
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is Annotated:
        return in_words(inner[0])
    if kind not in (*_UNIONS, *_LISTS, *_MAPPINGS):
        return ""
    parts = [in_words(each) for each in inner if each is not Ellipsis]
    if kind in _UNIONS:
        return " or ".join(dict.fromkeys(filter(None, parts)))
    if not all(parts):
        return ""
    if kind in _MAPPINGS:
        return f"{{{parts[0]}: {parts[1]}, …}}"
    if kind is tuple and Ellipsis not in inner:
        return f"({', '.join(parts)})"
    return f"[{parts[0]}, …]"


def _is_untold(hint: Any) -> bool:
    return hint in _UNTOLD or isinstance(hint, str)


def _sized(hint: Any) -> Any:
    """A list instead of an iterable, which pydantic would read only when it is gone through."""
    return list[get_args(hint)] if get_origin(hint) is Iterable else hint  # type: ignore[misc]
