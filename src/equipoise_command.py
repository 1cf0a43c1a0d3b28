"""Where the command ``equipoise`` begins: Ctrl-C is answered from here on.

Not in the package, whose import takes a second or two.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _stop)
    from equipoise.cli import main

    try:
        main()
    finally:  # there is nothing left to stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop(number: int, frame: object) -> None:
    sys.stderr.write("stopped, before anything was begun\n")
    os._exit(130)
