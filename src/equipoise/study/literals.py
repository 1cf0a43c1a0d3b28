"""Python literals, and the annotations that they are to fit."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_UNTOLD = (Any, object, inspect.Parameter.empty, tuple, list, dict, Sequence, Iterable, Mapping)
"""Annotations that leave open what is in a value, or what it is."""


def as_annotated(hint: Any, value: object) -> object:
    """A literal as an annotation has it: 1 is a float where one is wanted, a list a tuple.

    Raises:
        TypeError: if it cannot be that.
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if hint in _UNTOLD or isinstance(hint, str):
        return value
    if kind in _READERS:
        return _READERS[kind](inner, value)
    if value is None and kind in (None, types.NoneType):
        return None
    raise TypeError


def _union(inner: tuple[Any, ...], value: object) -> object:
    for each in inner:
        try:
            return as_annotated(each, value)
        except TypeError:
            continue
    raise TypeError


def _literal(inner: tuple[Any, ...], value: object) -> object:
    for each in inner:
        if each == value and type(each) is type(value):
            return value
    raise TypeError


def _number(_: tuple[Any, ...], value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not abs(value) <= sys.float_info.max:  # an integer may be larger than any float
        raise TypeError
    return float(value)


def _annotated(inner: tuple[Any, ...], value: object) -> object:
    return as_annotated(inner[0], value)


def _exactly(kind: type) -> Callable[[tuple[Any, ...], object], object]:
    def read(_: tuple[Any, ...], value: object) -> object:
        if type(value) is not kind:
            raise TypeError
        return value

    return read


def _tuple(inner: tuple[Any, ...], value: object) -> tuple[object, ...]:
    values = _list((Any,), value)
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = inner[:1] * len(values)
    if len(inner) != len(values):
        raise TypeError
    return tuple(map(as_annotated, inner, values))


def _list(inner: tuple[Any, ...], value: object) -> list[object]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return [as_annotated(inner[0], each) for each in value]


def _mapping(inner: tuple[Any, ...], value: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise TypeError
    keys, values = inner
    return {as_annotated(keys, key): as_annotated(values, each) for key, each in value.items()}


_READERS: dict[Any, Callable[[tuple[Any, ...], object], object]] = {
    Union: _union,
    types.UnionType: _union,
    Literal: _literal,
    Annotated: _annotated,
    bool: _exactly(bool),
    int: _exactly(int),
    str: _exactly(str),
    float: _number,
    tuple: _tuple,
    list: _list,
    Sequence: _list,
    Iterable: _list,
    dict: _mapping,
    Mapping: _mapping,
}

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
    if hint in _UNTOLD or isinstance(hint, str):
        return "any literal"
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind is Annotated:
        return in_words(inner[0])
    if kind not in _READERS:
        return ""
    parts = [in_words(each) for each in inner if each is not Ellipsis]
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(filter(None, parts)))
    if not all(parts):
        return ""
    if kind in (dict, Mapping):
        return f"{{{parts[0]}: {parts[1]}, …}}"
    if kind is tuple and Ellipsis not in inner:
        return f"({', '.join(parts)})"
    return f"[{parts[0]}, …]"
