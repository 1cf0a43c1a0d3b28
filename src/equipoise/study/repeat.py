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

    That is a problem without a name, one made of a table that is in no file, or what was tuned.
    """
    if study.tune is not None:  # whose values may be of any kind
        return None
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
    return shlex.join(["equipoise", "compare", study.problem, *given, *_asked(study)])


def _asked(study: Study) -> list[str]:
    """What is asked for beyond methods and seeds."""
    asked = ["--single-task"] if SINGLE in study.asked else []
    if study.confirming:
        asked += ["--confirm", str(max(study.confirming.values()))]
        asked += ["--confirm-top", str(len(study.confirming))]
    if study.splits is not None:
        asked += ["--splits"]
    if study.equal_time is not None:
        asked += ["--equal-time", study.equal_time, "--decide", study.decide]
    return asked


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
