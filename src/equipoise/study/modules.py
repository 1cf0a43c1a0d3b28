"""What a user names as ``module:attribute``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equipoise.errors import UserError
from equipoise.study.files import sha256, sha256_of

_OTHERS = (
    str(Path(__file__).parents[1]),
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")},
    "<",
)
"""Where what a user did not write is, and how Python calls what is in no file."""
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def imported(name: str, path: str | None = None) -> Any:
    """The attribute of a module, which may be in the working directory.

    Args:
        name: what messages call it.
        path: ``module:attribute``; the name itself if ``None``.

    Raises:
        UserError: if there is no such module or attribute.
    """
    path = path or name
    module_name, _, attribute = path.partition(":")
    if not _PATH.fullmatch(path):
        raise UserError(f"{name} cannot be imported: name it as module:attribute")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    with users_own(name):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise UserError(f"{name}: there is no module {error.name!r}") from None
    if not hasattr(module, attribute):
        raise UserError(f"{name}: {module_name} has no {attribute!r}")
    return getattr(module, attribute)


@contextmanager
def users_own(name: str) -> Iterator[None]:
    """Say of what goes wrong in a user's own code what it is, and in which line of which file.

    Raises:
        UserError: instead of any other exception but those of the system, which say it themselves.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except (Exception, SystemExit) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
        said = ": ".join(filter(None, [name, type(error).__name__, reason]))
        raise UserError(f"{said}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """The last line of a user's own that led to an error, if any is known."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})" if error.filename else ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_OTHERS):
            return f" ({frame.filename}, line {frame.lineno})"
    return ""


def loaded(name: str) -> bool:
    """Whether a text is a ``module:attribute`` whose module is imported."""
    return bool(_PATH.fullmatch(name)) and name.partition(":")[0] in sys.modules


def source_of(name: str) -> str | None:
    """What tells the text of the module of an imported ``module:attribute`` from a changed one."""
    file = sys.modules[name.partition(":")[0]].__file__
    return f"sha256:{sha256(Path(file))}" if file else None


def text_of(thing: Any) -> str | None:
    """What tells the file that a class or function is in, or its own text, from a changed one."""
    module = sys.modules.get(thing.__module__)
    if file := getattr(module, "__file__", None):
        return f"sha256:{sha256(Path(file))}"
    try:
        return f"sha256:{sha256_of(inspect.getsource(thing).encode())}"
    except (OSError, TypeError):  # typed in where nothing is kept
        return None
