"""From a problem's name to the problem: its parameters are the command's options."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from equipoise.errors import UserError
from equipoise.problems import BUILT_IN
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.modules import imported, sha256, source_of


@dataclass(frozen=True)
class ProblemSource:
    """A problem, or a function that makes one of its options."""

    name: str
    made: Problem | Callable[..., Problem]

    @classmethod
    def find(cls, name: str) -> ProblemSource:
        """The source that a built-in name or ``module:attribute`` stands for.

        Raises:
            UserError: if it cannot be imported, or is neither a problem nor a function.
        """
        made = imported(name, BUILT_IN.get(name))
        if not (isinstance(made, Problem) or callable(made)):
            raise UserError(f"{name} is neither a Problem nor a function that returns one")
        return cls(name, made)

    def description(self) -> str:
        """What it says of itself; the first line stands alone."""
        text = inspect.getdoc(self.made) if callable(self.made) else None
        return (text or "A problem of your own.").split("\n\nRaises:")[0]

    def options(self) -> list[click.Option]:
        """An option for each parameter of the function."""
        if isinstance(self.made, Problem):
            return []
        hints = get_type_hints(self.made, include_extras=True)
        return [
            _option(name, parameter.default, hints.get(name, str))
            for name, parameter in inspect.signature(self.made).parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and hints.get(name) is not Recipe
        ]

    def make(self, values: dict[str, Any]) -> Problem:
        """The problem of these options."""
        problem = self.made if isinstance(self.made, Problem) else self.made(**values)
        if not isinstance(problem, Problem):
            raise UserError(f"{self.name} must return a Problem, found {type(problem).__name__}")
        return problem

    def identity(self, values: dict[str, Any]) -> dict[str, Any]:
        """What tells this problem from others: options, contents of files, own source text."""
        identity = {
            name: f"sha256:{sha256(value)}" if isinstance(value, Path) else value
            for name, value in values.items()
            if value is not None
        }
        if self.name not in BUILT_IN and (source := source_of(self.name)):
            identity["source"] = source
        return identity


class _Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them."""

    name = "A,B,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(","))


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "1,2,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not whole numbers with commas between them", param, ctx)


def _option(name: str, default: Any, hint: Any) -> click.Option:
    text = None
    if get_origin(hint) is Annotated:
        hint, text = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    usual = {} if default is inspect.Parameter.empty else {"default": default}
    return click.Option(
        [f"--{name.replace('_', '-')}"],
        type=_type(hint),
        help=text,
        required=not usual,
        show_default=default is not None,
        **usual,
    )


def _type(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if get_origin(hint) is tuple:
        return _Numbers() if int in get_args(hint) else _Names()
    if hint is Path:
        return click.Path(path_type=Path)
    return hint
