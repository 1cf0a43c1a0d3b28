import shlex

import pytest
from click.testing import CliRunner

from equipoise import compare
from equipoise.cli.commands import equipoise
from equipoise.study.configuration import Study
from equipoise.study.repeat import command
from equipoise.study.results import open_study


def test_the_command_makes_the_same_study_again(tmp_path):
    options = {"tasks": 3, "data_seed": 4}
    asked = {"methods": ["constant", "slaw(beta=0.9)"], "seeds": 1, "steps": 3, "lr": 0.01}
    first = compare("mtregression", options=options, out=tmp_path / "a", progress=False, **asked)
    again = shlex.split(command(first.study))
    assert again[:3] == ["equipoise", "compare", "mtregression"]
    result = CliRunner().invoke(equipoise, [*again[1:], "--out", str(tmp_path / "b")])
    assert result.exit_code == 0, result.output
    second = open_study(tmp_path / "b")
    assert second.study == first.study
    assert (tmp_path / "a/results.csv").read_bytes() == (tmp_path / "b/results.csv").read_bytes()


@pytest.mark.parametrize(
    ("problem", "options"), [("function", {}), ("table", {"data": "sha256:00", "main": "a"})]
)
def test_what_only_python_can_ask_for_has_no_command(problem, options):
    asked = {"constant": 3}
    assert command(Study(problem, options, {}, ("a",), {"x": "max"}, (), asked=asked)) is None


def test_files_and_single_tasks_are_asked_for():
    study = Study(
        "table",
        {"data": "sha256:00", "targets": ["a b", "c"], "full": True, "flat": False},
        {"steps": 3},
        ("a",),
        {"x": "max"},
        (),
        files={"data": "/some where/x.csv"},
        asked={"constant": 2, "slaw": 5, "single": 5},
    )
    assert shlex.split(command(study)) == [
        "equipoise",
        "compare",
        "table",
        *["--data", "/some where/x.csv", "--targets", "a b,c", "--full"],
        *["--steps", "3", "--methods", "constant,slaw", "--seeds", "5", "--single-task"],
    ]
