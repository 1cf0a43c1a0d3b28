"""The command that makes a study again."""

from __future__ import annotations

import shlex
from typing import Any

from equipoise.problems import BUILT_IN
from equipoise.study.configuration import Study
from equipoise.study.files import HASH
from equipoise.study.names import SINGLE


def command(study: Study) -> str | None:
    """The command line that asks for this study; ``None`` where only Python can.

    That is a problem without a name, or one made of a table that is in no file.
    """
    if not study.asked or (study.problem not in BUILT_IN and ":" not in study.problem):
        return None
    methods = [method for method in study.asked if method != SINGLE]
    options = {
        **{name: value for name, value in study.options.items() if name != "source"},
        **study.files,
        **study.recipe,
        "methods": methods,
        "seeds": max(study.asked.values(), default=0),
    }
    if any(str(value).startswith(HASH) for value in options.values()):
        return None
    given = [part for name, value in options.items() for part in _option(name, value)]
    alone = ["--single-task"] if SINGLE in study.asked else []
    return shlex.join(["equipoise", "compare", study.problem, *given, *alone])


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
