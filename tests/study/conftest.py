import sys
from pathlib import Path

import pytest

from equipoise.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tests")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["equipoise", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        said = capsys.readouterr()
        text = said.out + said.err + (code if isinstance(code, str) else "")
        return (1 if isinstance(code, str) else code or 0), text

    return run
