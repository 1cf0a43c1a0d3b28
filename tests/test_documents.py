"""What README and examples show works as it stands there."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from equipoise.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for line in README.replace("\\\n", " ").splitlines()
    if line.startswith("    equipoise ")
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "snippet"})
    assert re.search("depth|price|seeds", capsys.readouterr().out)


def test_there_are_snippets_and_commands():
    assert SNIPPETS
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_are_understood(command, monkeypatch, capsys):
    # With --help all options before it are still parsed.
    monkeypatch.chdir(ROOT / "examples")
    monkeypatch.setattr(sys, "argv", [*command, "--help"])
    main()
    assert "Usage: equipoise" in capsys.readouterr().out


def test_the_plain_loop_balances_and_resumes(capsys):
    runpy.run_path(str(ROOT / "examples" / "plain_loop.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "after 200 steps" in said
    assert "after 400 steps" in said


def test_noisy_labels_fade_out(capsys):
    runpy.run_path(str(ROOT / "examples" / "noisy_labels.py"), run_name="__main__")
    said = capsys.readouterr().out
    uniform, gated = map(float, re.findall(r"clean labels ([\d.]+)", said))
    assert gated < uniform / 5
    right, wrong = map(int, re.findall(r"(\d+)% of the", said))
    assert right > 2 * wrong


def test_a_data_frame_is_compared(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "compare_frame.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "over constant" in said
    assert "sold probability of True" in said
    assert (tmp_path / "results" / "houses" / "report.html").exists()


def test_the_own_weighting_conforms_and_balances(capsys):
    runpy.run_path(str(ROOT / "examples" / "own_weighting.py"), run_name="__main__")
    depth, normals = map(float, re.findall(r"'([\d.e-]+)'", capsys.readouterr().out))
    assert depth < normals / 1_000  # the losses differ by a factor of a million
    assert depth + normals == pytest.approx(2, rel=0.01)


def test_the_own_weighting_compares(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT / "examples")
    methods = "slaw,own_weighting:FirstLoss,own_weighting:FirstLoss(power=0.5)"
    arguments = ["--tasks", "3", "--steps", "20", "--seeds", "1", "--out", str(tmp_path / "o")]
    command = ["equipoise", "compare", "mtregression", "--methods", methods, *arguments]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert "own_weighting:FirstLoss(power=0.5)" in capsys.readouterr().out


def test_the_own_problem_compares(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT / "examples")
    arguments = ["--stations", "100", "--steps", "20", "--seeds", "1", "--out", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", ["equipoise", "compare", "own_problem:weather", *arguments])
    main()
    assert (tmp_path / "o" / "report.html").exists()
    assert "R²" in capsys.readouterr().out
