"""The command line: ``equipoise compare|audit|methods|problems|report``."""

from __future__ import annotations

import sys

from equipoise.errors import UserError


def main() -> None:
    """Run the command line; exit code 0, 1 for a user's mistake, 2 for wrong usage, 130 stopped."""
    try:
        from equipoise.cli.commands import equipoise
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("equipoise"):
            raise
        sys.exit(f"{error.name} is missing: install it with pip install 'equipoise[study]'")
    try:
        equipoise(standalone_mode=True)
    except (UserError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
