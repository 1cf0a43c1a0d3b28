"""From the parameters of a problem to options of a command, and what the help says of them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from equipoise.cli.options import as_options
from equipoise.problems import BUILT_IN

PROBLEM = '''
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from study.toy import toy


def problem(
    rows: Path | pd.DataFrame,
    size: Annotated[int, "with `sharp` or `widths`, not with `other`"],
    widths: tuple[int, ...] = (4, 5),
    kind: Literal["a", "b"] = "a",
    share: float | None = None,
    sharp: bool = False,
    fast: bool = True,
    extra: dict[str, Any] | None = None,
):
    """A problem of one's own, with `kind` and `no_such`."""
    assert isinstance(rows, Path)
    return replace(toy(), notes=[f"{size} {widths} {kind} {share} {sharp} {fast} of `kind`"])


def refusing(main_part: str = ""):
    """Another."""
    from equipoise.errors import UserError

    raise UserError(f"`main_part` cannot be {main_part!r}: give a larger `batch_size`, not `x`")


problem_without_function = toy()
'''


@pytest.fixture
def own(run, tmp_path, monkeypatch):
    (tmp_path / "mine_options.py").write_text(PROBLEM)
    (tmp_path / "rows.csv").write_text("x\n1\n")
    monkeypatch.delitem(sys.modules, "mine_options", raising=False)

    def own(*options, problem="mine_options:problem"):
        return run("compare", problem, *options)

    return own


REQUIRED = ["--rows", "rows.csv", "--size", "7"]
TRAINING = ["--methods", "slaw", "--seeds", "1", "--steps", "3", "--out", "out"]


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ([], "7 (4, 5) a None False True"),
        (["--widths", "1, 2,3"], "7 (1, 2, 3) a None False True"),
        (["--widths", "9"], "7 (9,) a None False True"),
        (["--kind", "b", "--share", "0.25"], "7 (4, 5) b 0.25 False True"),
        (["--sharp", "--no-fast"], "7 (4, 5) a None True False"),
        (["--fast"], "7 (4, 5) a None False True"),
    ],
)
def test_options_arrive_as_the_function_declares_them(own, tmp_path, options, made):
    code, text = own(*REQUIRED, *TRAINING, *options)
    assert code == 0, text
    assert f"note: {made} of --kind" in text
    assert f"{made} of `kind`" in json.loads((tmp_path / "out" / "study.json").read_text())["notes"]


def test_the_help_shows_them(own):
    code, text = own("--help")
    assert code == 0
    said = " ".join(text.split())
    assert "A problem of one's own, with --kind and `no_such`." in said
    assert "with --sharp or --widths, not with `other` [required]" in said
    assert "--widths A,B,… [default: 4, 5]" in said
    assert "--kind [a|b] [default: a]" in said
    assert "--fast / --no-fast" in said
    assert "--no-sharp" not in said
    assert "--extra" not in said
    assert said.index("--rows PATH") < said.index(" Options: ") < said.index("--methods")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Missing option '--rows'"),
        ([*REQUIRED, "--widths", "1,b"], "'b' is not a valid integer"),
        ([*REQUIRED, "--kind", "c"], "'c' is not one of 'a', 'b'"),
        ([*REQUIRED, "--no-sharp"], "No such option '--no-sharp'"),
        ([*REQUIRED, "--extra", "x"], "No such option '--extra'"),
        (["--rows", "", "--size", "7"], "'' is no path"),
    ],
)
def test_others_are_wrong_usage(own, options, words):
    code, text = own(*options)
    assert code == 2
    assert words in text


def test_errors_name_options(own):
    code, text = own("--main-part", "x", problem="mine_options:refusing")
    assert code == 1
    assert text == "Error: --main-part cannot be 'x': give a larger --batch-size, not `x`\n"


@pytest.mark.parametrize("command", ["compare", "audit"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_no_option_of_a_built_in_problem_stands_in_backquotes(run, command, name):
    code, text = run(command, name, "--help")
    assert code == 0
    assert "`" not in text
    expected = r"--steps .*\[default:\s" if command == "compare" else r"--seed .*\[default:\s"
    assert re.search(expected, text, re.DOTALL)


@pytest.mark.parametrize(
    ("name", "steps", "batch_size", "lr"),
    [
        ("table", "1,000", "256", "0.001"),
        ("cifar10", "40 epochs", "64", "0.01"),
        ("multimnist", "10 epochs", "64", None),
        ("mine_options:problem_without_function", "20", "16", "0.05"),
    ],
)
def test_the_recipe_is_in_the_help(own, name, steps, batch_size, lr):
    said = " ".join(own("--help", problem=name)[1].split())
    assert f"Optimizer steps of a run. [default: {steps}]" in said
    assert f"Samples in a batch. [default: {batch_size}]" in said
    if lr is not None:
        assert f"Learning rate. [default: {lr}]" in said


def test_words_that_are_no_parameters_stay_as_they_are():
    said = "`lr`, ``batch_size``, `other` and `batch_size=3`, not lr"
    assert as_options(said, ["lr", "batch_size"]) == (
        "--lr, --batch-size, `other` and `batch_size=3`, not lr"
    )


FAILING = """
from dataclasses import replace

from study import toy


class Fails(toy.Network):
    def forward(self, inputs):
        if not self.training:
            raise ZeroDivisionError("when it was measured")
        return super().forward(inputs)


def failing():
    return replace(toy.noisy(), network=Fails)


def wrong_metrics():
    from equipoise.errors import UserError

    class Wrong(toy.Network):
        def forward(self, inputs):
            if not self.training:
                raise UserError("the network needs more `size`")
            return super().forward(inputs)

    return replace(toy.noisy(), network=Wrong)
"""


def several(tmp_path, command, problem, *options):
    """A command with two jobs, as they are processes of their own."""
    (tmp_path / "mine_failing.py").write_text(FAILING)
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "equipoise", command, problem, "--jobs", "2", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tests.parent / 'src'}:{tests}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_run_that_fails_is_named_with_where_it_did(tmp_path):
    options = ["--methods", "slgate", "--seeds", "2", "--out", "out"]
    code, out, err = several(tmp_path, "compare", "mine_failing:failing", *options)
    assert code == 1
    assert "slgate, seed 1: failed: ZeroDivisionError: when it was measured" in out
    assert "Traceback" not in out
    trace, _, sentence = err.rstrip("\n").rpartition("\n")
    assert "in forward" in trace
    assert re.fullmatch(
        r"Error: slgate, seed \d failed: ZeroDivisionError: when it was measured, and so did 1 "
        "more: see above",
        sentence,
    )


def test_a_run_that_fails_with_a_sentence_has_no_traceback(tmp_path):
    options = ["--methods", "slaw", "--seeds", "1", "--out", "out"]
    code, out, err = several(tmp_path, "compare", "mine_failing:wrong_metrics", *options)
    assert code == 1
    assert "1/1 slaw, seed 0: failed: the network needs more `size`" in out
    assert err == "Error: slaw, seed 0 failed: the network needs more `size`\n"


def test_with_several_jobs_a_misspelt_option_is_a_sentence(tmp_path):
    code, _, err = several(tmp_path, "compare", "study.toy:toy", "--sedes", "2")
    assert (code, err.splitlines()[-1][:31]) == (2, "Error: No such option '--sedes'")
    code, _, err = several(tmp_path, "compare", "study.toy:toy", "--methods", "slaw(bta=1)")
    assert (code, err) == (1, "Error: slaw has no option 'bta': did you mean 'beta'?\n")
