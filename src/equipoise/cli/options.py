"""From the parameters of a problem to options of the command line, and back in what is said."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click

from equipoise.study.sources import Parameter, Source


def options_of(source: Source) -> list[click.Option]:
    """An option for each parameter of the problem's function."""
    parameters = source.parameters()
    return [_option(each, parameters) for each in parameters.values() if _is_option(each)]


def as_options(text: str, names: Iterable[str]) -> str:
    """What Python says, with parameters in backquotes, as the command line says it: --lr."""
    known = set(names)
    return re.sub(
        r"`+(\w+)`+(?:=(?=\w))?",
        lambda found: _flag(found[1]) if found[1] in known else found[0],
        text,
    )


def _is_option(parameter: Parameter) -> bool:
    """Whether the command line can give it, or has to; what has a default can be left alone."""
    return parameter.default is inspect.Parameter.empty or _type(_told(parameter.hint)) is not None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _option(parameter: Parameter, known: Iterable[str]) -> click.Option:
    hint, default = _told(parameter.hint), parameter.default
    help = None if parameter.text is None else as_options(parameter.text, known)
    flag = _flag(parameter.name)
    if hint is bool:
        names = [flag, f"--no-{flag[2:]}"] if default is True else [flag]
        return click.Option(["/".join(names)], is_flag=True, default=bool(default), help=help)
    required = default is inspect.Parameter.empty
    return click.Option(
        [flag],
        type=_type(hint) or str,
        help=help,
        required=required,
        show_default=default is not None,
        **({} if required else {"default": default}),
    )


def _told(hint: Any) -> Any:
    """What a value is, where it can be ``None`` too."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _type(hint: Any) -> Any:
    """What reads a value of this kind from a command line, if anything does."""
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if get_origin(hint) is tuple:
        return _List(get_args(hint)[0])
    if hint is Path:
        return PATH
    return hint if hint in (bool, int, float, str) else None


class _Path(click.ParamType[Path]):
    """A path that a file system takes: an empty one is what a variable without a value leaves."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        text = str(value)
        if not text or "\0" in text:
            self.fail(f"{text!r} is no path.", param, ctx)
        return Path(text)


PATH = _Path()


class _List(click.ParamType[tuple[Any, ...]]):
    """Values of a kind with commas between them."""

    name = "A,B,…"

    def __init__(self, kind: type) -> None:
        self.kind = click.types.convert_type(kind)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        parts: Sequence[Any] = value if isinstance(value, tuple) else str(value).split(",")
        return tuple(
            self.kind.convert(part.strip() if isinstance(part, str) else part, param, ctx)
            for part in parts
        )
