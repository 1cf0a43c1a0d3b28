"""The command line: ``equipoise compare|audit|predict|methods|problems|report``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

from equipoise.errors import UserError, reason_of

STOPPED, GOES_ON = 130, "stopped: the same command goes on from here"
PATIENCE = 1.5
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
    try:
        signal.signal(signal.SIGINT, _stop)
        equipoise(prog_name="equipoise", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print(GOES_ON, file=sys.stderr)
        sys.exit(STOPPED)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename2 or error.filename}: " if error.filename else ""
        print(
            f"Error: {where}{reason_of(error)}: what is finished is kept; put that right, and the "
            "same command goes on from here",
            file=sys.stderr,
        )
        sys.exit(1)


def _stop(number: int, frame: object) -> None:
    """End soon, also where libraries do not let an exception through."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.unraisablehook = lambda _: None  # where Python lets none through it would say so at length
    watchdog = threading.Timer(PATIENCE, _stop_at_once)
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt


def _stop_at_once() -> None:
    for each in multiprocessing.active_children():
        each.kill()
    os.write(2, f"{GOES_ON}\n".encode())
    os._exit(STOPPED)
