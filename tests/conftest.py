import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

import equipoise.losses
from equipoise.cli import main

HERE = Path(__file__).parent

torch.set_num_threads(int(os.environ.get("EQUIPOISE_THREADS", "1")))
hypothesis.settings.register_profile(
    "equipoise", deadline=None, max_examples=40, database=None, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("equipoise")


@pytest.fixture(autouse=True)
def _seed(monkeypatch):
    torch.manual_seed(0)
    # Or what a test is warned of would depend on those that ran before it.
    monkeypatch.setattr(equipoise.losses, "_looks", equipoise.losses.LOOKS)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["equipoise", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
        said = capsys.readouterr()
        return code, said.out + said.err

    return run
