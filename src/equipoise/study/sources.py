"""Where a problem comes from, and what tells it from others."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args, get_origin

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils._pytree import tree_leaves

from equipoise.errors import UserError, near_match
from equipoise.problems import BUILT_IN
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.files import HASH, sha256
from equipoise.study.literals import adapter
from equipoise.study.modules import imported, loaded, source_of, users_own

ProblemLike: TypeAlias = "str | Problem | pd.DataFrame | Callable[..., Problem]"
"""A built-in problem's name or ``module:attribute``; a problem; a table; a function that makes one.
"""

TOLD_APART = 1_000
"""Samples of each part by which one problem is told from another."""


@dataclass(frozen=True)
class Parameter:
    """What a problem can be made with."""

    name: str
    hint: Any
    """Its annotation, without the text."""
    default: Any
    """``inspect.Parameter.empty`` if it has to be given."""
    text: str | None
    """What it is, for people to read."""


@dataclass(frozen=True)
class Source:
    """A problem, or a function that makes one of its options."""

    name: str
    made: Problem | Callable[..., Problem]

    @classmethod
    def find(cls, name: str) -> Source:
        """The source that a built-in name or ``module:attribute`` stands for.

        Raises:
            UserError: if there is none, it cannot be imported, or is no problem and no function.
        """
        if name not in BUILT_IN and ":" not in name:
            raise UserError(
                f"there is no problem {name!r}: {near_match(name, BUILT_IN)} One of your own is "
                "module:attribute"
            )
        made = imported(name, BUILT_IN.get(name))
        if not (isinstance(made, Problem) or callable(made)):
            raise UserError(f"{name} is neither a Problem nor a function that returns one")
        return cls(name, made)

    @classmethod
    def of(cls, problem: ProblemLike) -> Source:
        """The source of whatever stands for a problem, but a table.

        Raises:
            UserError: as :meth:`find`, and if it is nothing of the kind.
        """
        if isinstance(problem, str):
            return cls.find(problem)
        if isinstance(problem, Problem):
            return cls("problem", problem)
        if callable(problem):
            return cls(getattr(problem, "__name__", type(problem).__name__), problem)
        raise UserError(
            "a problem is a name, a Problem, a data frame, or a function that returns a Problem; "
            f"found {type(problem).__name__}"
        )

    def description(self) -> str:
        """What it says of itself; the first line stands alone."""
        text = inspect.getdoc(self.made) if callable(self.made) else None
        return (text or "A problem of your own.").split("\n\nRaises:")[0]

    @property
    def recipe(self) -> Recipe | None:
        """How it is trained unless a user says otherwise, as far as that is known before."""
        if isinstance(self.made, Problem):
            return self.made.recipe
        default = getattr(self._signature().parameters.get("recipe"), "default", None)
        return default if isinstance(default, Recipe) else None

    def parameters(self) -> dict[str, Parameter]:
        """What it can be made with, by name; of a recipe :attr:`recipe` tells."""
        if isinstance(self.made, Problem):
            return {}
        found = {}
        for name, each in self._signature().parameters.items():
            told = str if each.annotation is each.empty else each.annotation
            hint, *texts = get_args(told) if get_origin(told) is Annotated else (told,)
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and hint is not Recipe:
                found[name] = Parameter(name, hint, each.default, texts[0] if texts else None)
        return found

    def _signature(self) -> inspect.Signature:
        assert not isinstance(self.made, Problem)
        with users_own(self.name):
            return inspect.signature(self.made, eval_str=True)

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options: those given, as they are declared, and the defaults.

        Raises:
            UserError: for one that is not known, of the wrong type, or missing.
        """
        known = self.parameters()
        for name in given:
            if name not in known and name != "recipe":
                hint = near_match(name, known) if known else "it has none."
                raise UserError(f"{self.name} has no option {name!r}: {hint}")
        missing = [
            each.name
            for each in known.values()
            if each.default is inspect.Parameter.empty and each.name not in given
        ]
        if missing:
            raise UserError(f"{self.name} needs `{missing[0]}`: {known[missing[0]].text}")
        defaults = {name: each.default for name, each in known.items()}
        read = {
            name: _read(known[name], value) if name in known else value
            for name, value in given.items()
        }
        return {**defaults, **read}

    def make(self, options: Mapping[str, Any]) -> Problem:
        """The problem of these options."""
        if isinstance(self.made, Problem):
            return self.made
        with nullcontext() if self.name in BUILT_IN else users_own(self.name):
            problem = self.made(**options)
        if not isinstance(problem, Problem):
            raise UserError(f"{self.name} must return a Problem, found {type(problem).__name__}")
        return problem

    def identity(self, options: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
        """What tells this problem from others: options, contents of files, source or samples."""
        identity = {
            name: _told(value)
            for name, value in options.items()
            if value is not None and name != "recipe"
        }
        texts = [value for value in (self.name, *options.values()) if isinstance(value, str)]
        sources = [source for text in texts if loaded(text) and (source := source_of(text))]
        if sources:
            identity["source"] = sources[0] if len(sources) == 1 else sources
        elif self.name not in BUILT_IN:
            identity["source"] = f"{HASH}{_content(problem)}"
        return identity


def _read(parameter: Parameter, value: Any) -> Any:
    """A value as it is declared: a list as a tuple, a text as a path."""
    try:
        return adapter(parameter.hint).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"`{parameter.name}` cannot be {value!r}: {reason}") from None


def _told(value: Any) -> Any:
    """An option as it is recorded."""
    if isinstance(value, Path):
        return f"{HASH}{sha256(value)}"
    if isinstance(value, pd.DataFrame):
        rows = pd.util.hash_pandas_object(value, index=False).to_numpy()
        names = repr(list(value.columns)).encode()
        return f"{HASH}{hashlib.sha256(names + rows.tobytes()).hexdigest()}"
    return list(value) if isinstance(value, tuple) else value


def _content(problem: Problem) -> str:
    """SHA-256 of the first samples of each part, and of their numbers."""
    digest = hashlib.sha256()
    for part in (problem.train, problem.validation, problem.test, problem.held_out):
        if part is None:
            continue
        first = part[torch.arange(min(TOLD_APART, len(part)))]
        digest.update(str(len(part)).encode())
        for leaf in tree_leaves(first):
            if isinstance(leaf, Tensor):
                digest.update(np.ascontiguousarray(leaf.cpu().numpy()).tobytes())
    return digest.hexdigest()
