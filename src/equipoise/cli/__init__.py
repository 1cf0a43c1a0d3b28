"""The command line: ``equipoise compare|audit|predict|methods|problems|report``."""

from __future__ import annotations

import os
import signal
import sys
import threading

from equipoise.errors import UserError, reason_of

STOPPED = 130
PATIENCE = 2.0
"""Seconds after Ctrl-C in which the program may end by itself."""


def main() -> None:
    """Run the command line; exit code 0, 1 for a user's mistake, 2 for wrong usage, 130 stopped."""
    try:
        import click

        from equipoise.cli.commands import equipoise
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("equipoise"):
            raise
        sys.exit(f"{error.name} is missing: install it with pip install 'equipoise[study]'")
    signal.signal(signal.SIGINT, _stop)
    try:
        equipoise(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("stopped: the same command goes on from here", file=sys.stderr)
        sys.exit(STOPPED)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"Error: {where}{reason_of(error)}", file=sys.stderr)
        sys.exit(1)


def _stop(number: int, frame: object) -> None:
    """End soon, also where libraries do not let an exception through."""
    watchdog = threading.Timer(PATIENCE, os._exit, [STOPPED])
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt
