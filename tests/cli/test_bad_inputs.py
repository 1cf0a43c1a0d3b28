"""Command lines that cannot be: each ends in a sentence, before anything is trained."""

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from equipoise.study import executors
from equipoise.study.compare import compare

HUGE = "1234567890123456789012345678901"
LONG = "x" * 300

PROBLEMS = """
import sys
from pathlib import Path
from typing import Callable, Literal

import torch
from study.toy import toy
from torch.utils.data import TensorDataset


class Refused(Exception):
    def __str__(self):
        return "two lines\\nof text"


def raises():
    raise RuntimeError("no luck")


def raises_lines():
    raise Refused


def raises_nothing():
    raise AssertionError


def misses():
    return {}["key"]


def exits():
    sys.exit("done")


def recurses():
    return recurses()


def nothing():
    pass


def number():
    return 3


def kind():
    return type(toy())


def another():
    return toy


def no_tasks():
    return toy(tasks=[])


def same_tasks():
    return toy(tasks=["a", "a"])


def no_scores():
    return toy(scores={})


def wrong_main():
    return toy(main="c")


def no_samples():
    return toy(train=TensorDataset(*(part[:0] for part in toy().train.tensors)))


def samples_of_another_kind():
    return toy(train=toy().train[:])


def network_fails():
    return toy(network=lambda: 1 / 0)


def network_is_none():
    return toy(network=lambda: None)


def losses_fail():
    def losses(outputs, batch):
        raise KeyError("no such column")

    return toy(losses=losses)


def losses_of_another_shape():
    return toy(losses=lambda outputs, batch: outputs[:, :1])


def losses_are_none():
    return toy(losses=lambda outputs, batch: None)


def shared_fails():
    return toy(shared=lambda network: network.nowhere.parameters())


def same_seeds(seeds: int = 3):
    return toy()


def same_out(out: str = ""):
    return toy()


def same_help(help: str = ""):
    return toy()


def same_no(fast: bool = True, no_fast: bool = False):
    return toy()


def unknown_hint(size: "Nowhere" = 1):
    return toy()


def odd_hint(call: Callable[[int], int]):
    return toy()


def positional(size, /):
    return toy()


def options(
    size: int,
    names: tuple[int, ...] = (1, 2),
    kind: Literal["a", "b"] = "a",
    share: float | None = None,
    path: Path | None = None,
    fast: bool = True,
):
    return toy()


text = "toy"
value = None
"""

MODULES = {
    "bad_problems": PROBLEMS,
    "bad_syntax": "x = 1\ndef problem(:\n    pass\n",
    "bad_indentation": "def problem():\nreturn 3\n",
    "bad_null": "x = 1\0\n",
    "bad_import": "import torch\nimport nowhere_at_all\n",
    "bad_from": "from torch import nowhere_at_all\n",
    "bad_raise": "x = 1\n\n\nraise RuntimeError('no luck')\n",
    "bad_exit": "import sys\nsys.exit(3)\n",
    "bad_deep": "def f(n):\n    return f(n + 1)\n\n\nf(0)\n",
}

TOY = ["compare", "study.toy:toy"]
TABLE = ["compare", "table", "--data", "table.csv", "--targets", "y"]
OWN = ["compare", "bad_problems:options", "--size", "1"]


def comparing(problem, *more):
    return ["compare", problem, *more]


UNKNOWN = [
    ["compere"],
    ["--compare"],
    [HUGE],
    [""],
    ["compare", ""],
    ["compare", " "],
    ["compare", "tabel"],
    ["compare", LONG],
    ["compare", "[bold]"],
    ["compare", ":"],
    ["compare", "a:"],
    ["compare", ":a"],
    ["compare", "nowhere:problem"],
    ["compare", "study:problem"],
    ["compare", "study.nowhere:problem"],
    ["compare", "study.toy:nowhere"],
    ["compare", "study.toy:torch"],
    ["compare", "../toy:toy"],
    ["compare", "study/toy.py:toy"],
    ["compare", "a\0b:c"],
    ["compare", f"{LONG}:c"],
    ["compare", "table", "--dat", "table.csv"],
    ["compare", "table", "table.csv"],
    ["audit", "tabel"],
    ["audit", ""],
    ["audit", "study.toy:nowhere"],
    ["audit", "table", "--methods", "slgate"],
    ["methods", "slow"],
    ["methods", ""],
    ["methods", "[bold]"],
    ["methods", LONG],
    ["methods", "a", "b"],
    ["problems", "table"],
    ["report"],
    ["report", ""],
    ["predict"],
    ["predict", "study"],
    ["predict", "study", "rows.csv", "more"],
    ["predict", "study", "rows.csv", "--methods", "slaw"],
    ["compare", "study.toy:toy", "--predict", "rows.csv"],
]
OPTIONS = [
    *(
        [*TOY, option, value]
        for option in ("--seeds", "--steps", "--batch-size", "--threads", "--processes", "--jobs")
        for value in ("0", "-1", "1.5", "many", HUGE, "")
    ),
    *(
        [*TOY, option, str(2**63 - 1)]
        for option in ("--seeds", "--steps", "--threads", "--processes")
    ),
    *([*TOY, "--lr", value] for value in ("nan", "inf", "-inf", "-1", "0", "1e400", "fast", "")),
    *([*TOY, "--checkpoint", value] for value in ("nan", "-1", "inf", "1e400", "often")),
    *(
        [*TOY, "--device", value]
        for value in (
            "meta",
            "abacus",
            "cuda:99",
            "cuda:-1",
            "cuda:x",
            "",
            "[bold]",
            "mps",
            "xla",
            HUGE,
        )
    ),
    *([*TOY, "--on", value] for value in ("", "Ray", "cloud")),
    [*TOY, "--address", "auto"],
    [*TOY, "--on", "processes", "--address", "10.0.0.1:6379"],
    [*TOY, "--seeds"],
    [*TOY, "--single-task=yes"],
    [*TOY, "--methods"],
    [*TOY, "--steps", str(10**14)],
    [*TABLE, "--split-seed", HUGE],
    [*TABLE, "--split-seed", "-1"],
    [*TABLE, "--head", HUGE],
    [*TABLE, "--head", "-1"],
    [*TABLE, "--trunk", HUGE],
    [*TABLE, "--trunk", ""],
    [*TABLE, "--trunk", "128,"],
    [*TABLE, "--trunk", "0"],
    [*TABLE, "--trunk", "wide"],
    [*TABLE, "--trunk", "65536,65536,65536,65536"],
    [*TABLE, "--held-out", "nan", "--main", "y"],
    [*TABLE, "--held-out", "2", "--main", "y"],
    [*TABLE, "--main", "nowhere"],
    comparing("mtregression", "--tasks", HUGE),
    comparing("mtregression", "--tasks", "1"),
    comparing("mtregression", "--tasks", "many"),
    comparing("mtregression", "--tasks", "1000000000"),
    comparing("mtregression", "--data-seed", HUGE),
    comparing("digits", "--data-seed", HUGE),
    comparing("toy-noise", "--noise", "nan"),
    comparing("toy-noise", "--noise", "2"),
    comparing("toy-noise", "--data-seed", "-1"),
    comparing("cifar10", "--data", "nowhere"),
    comparing("cifar10", "--data", "table.csv"),
    comparing("cifar10", "--data", "."),
    comparing("cifar10", "--data", "table.csv", "--noise-kind", "loud"),
    comparing("multimnist", "--data", "nowhere"),
    comparing("multimnist", "--data", "table.csv"),
    comparing("molecules"),
    comparing("molecules", "--data", "table.csv"),
    comparing("molecules", "--data", "table.csv", "--kind", "odd"),
    comparing("table", "--data", "table.csv"),
    comparing("table", "--targets", "y"),
]
FILES = [
    *(
        comparing("table", "--targets", "y", "--data", path)
        for path in (
            "nowhere.csv",
            "",
            ".",
            "empty.csv",
            "binary.csv",
            "table.csv/more",
            f"{LONG}.csv",
            "a\0b.csv",
            "broken.parquet",
            "[bold].csv",
        )
    ),
    *([*TABLE[:-1], columns] for columns in ("", "z", "y,y", "y,", ",", "[bold]", HUGE)),
    [*TABLE, "--features", "nowhere"],
    [*TABLE, "--features", "y"],
    [*TABLE, "--features", ""],
    [*TABLE, "--leave-out", "nowhere"],
    [*TABLE, "--leave-out", "x,name"],
    [*TABLE, "--kinds", "y"],
    [*TABLE, "--kinds", "y=odd"],
    [*TABLE, "--kinds", "z=binary"],
    [*TABLE, "--categorical", "nowhere"],
    [*TABLE, "--group", "nowhere"],
    [*TABLE, "--time", "name"],
    [*TABLE, "--group", "name", "--time", "x"],
    *(
        [*TOY, "--out", path]
        for path in (
            "table.csv",
            "table.csv/out",
            f"{LONG}",
            "a\0b",
            "/proc/study",
            "/dev/null",
            "/dev/null/out",
            "notes",
            "",
        )
    ),
    ["audit", "toy-noise", "--out", "table.csv"],
    ["audit", "study.toy:toy"],
    ["audit", "mtregression"],
    ["audit", "toy-noise", "--check", "1"],
    ["audit", "toy-noise", "--check", "many"],
    ["audit", "toy-noise", "--seed", "-1"],
    ["audit", "toy-noise", "--jobs", "0"],
    [*TOY, "--out", "study", "--methods", "slaw", "--lr", "0.5"],
    [*TOY, "--out", "study", "--methods", "slaw", "--threads", "2"],
    comparing("study.toy:serving", "--out", "study"),
]
METHODS = [
    *(
        [*TOY, "--methods", text]
        for text in (
            "",
            ",",
            "slaw,",
            "slow",
            "slaw(",
            "slaw(beta=0.9",
            "slaw(beta)",
            "slaw(0.9)",
            "slaw(beta=2)",
            "slaw(beta=nan)",
            "slaw(beta='high')",
            "slaw(beat=0.9)",
            f"slaw(warmup={HUGE})",
            f"random(seed={HUGE})",
            "random(seed=-1)",
            "slaw,slaw",
            "slaw+",
            "+slaw",
            "slaw+dwa",
            "ideal",
            "slgate",
            "torchjd/",
            "torchjd/PCGard",
            "torchjd/Krum",
            "bad_problems:toy",
            "bad_problems:nowhere",
            "bad_syntax:Method",
            "bad_raise:Method",
            "nowhere:Method",
            "slaw\0",
            "[bold]slaw[/]",
            "x" * 100_000,
            "constant(initial=[1])",
            "constant(initial=[0,0])",
            "constant(initial=[1e400,1])",
            "slaw(bounds=(2, 1))",
        )
    ),
    [*TOY, "--processes", "2", "--methods", "torchjd/PCGrad"],
]
OWN_PROBLEMS = [
    *(
        comparing(f"bad_problems:{name}")
        for name in (
            "raises",
            "raises_lines",
            "raises_nothing",
            "misses",
            "exits",
            "recurses",
            "nothing",
            "number",
            "kind",
            "another",
            "no_tasks",
            "same_tasks",
            "no_scores",
            "wrong_main",
            "no_samples",
            "samples_of_another_kind",
            "network_fails",
            "network_is_none",
            "losses_fail",
            "losses_of_another_shape",
            "losses_are_none",
            "shared_fails",
            "same_seeds",
            "same_out",
            "same_help",
            "same_no",
            "unknown_hint",
            "odd_hint",
            "positional",
            "options",
            "text",
            "value",
            "sys",
        )
    ),
    *(["audit", f"bad_problems:{name}"] for name in ("raises", "nothing", "same_out")),
    *(comparing(f"{name}:problem") for name in MODULES if name != "bad_problems"),
    [*OWN[:-1], "small"],
    [*OWN[:-1], "1.5"],
    [*OWN, "--names", "1,b"],
    [*OWN, "--names", ""],
    [*OWN, "--kind", "c"],
    [*OWN, "--share", "half"],
    [*OWN, "--fast=yes"],
    [*OWN, "--path", "a\0b"],
    [*OWN, "--path", "nowhere"],
]
READING = [
    *(
        ["report", path]
        for path in (
            "nowhere",
            "table.csv",
            "table.csv/more",
            "notes",
            "a\0b",
            LONG,
            "/dev/null",
            "/proc",
            "damaged",
            "[bold]",
        )
    ),
    *(
        ["predict", path, "rows.csv"]
        for path in ("nowhere", "table.csv", "notes", "a\0b", LONG, "damaged", "study", "moved")
    ),
    *(
        ["predict", "able", path]
        for path in (
            "nowhere.csv",
            "",
            ".",
            "able",
            "a\0b",
            LONG,
            "binary.csv",
            "empty.csv",
            "other.csv",
        )
    ),
    *(
        ["predict", "able", "rows.csv", "--method", name]
        for name in ("slow", "", "dwa", "a\0b", LONG, "[bold]")
    ),
    *(
        ["predict", "able", "rows.csv", "--device", name]
        for name in ("meta", "abacus", "cuda:99", "")
    ),
    *(
        ["predict", "able", "rows.csv", "--out", path]
        for path in (
            "table.csv",
            "table.csv/more",
            "able",
            "/proc/out.csv",
            "a\0b",
            LONG,
            "",
            "nowhere/[bold].csv/",
        )
    ),
]

ALL = [*UNKNOWN, *OPTIONS, *FILES, *METHODS, *OWN_PROBLEMS, *READING]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the command lines name, two studies among it."""
    place = tmp_path_factory.mktemp("place")
    for name, content in MODULES.items():
        (place / f"{name}.py").write_text(content)
    rng = np.random.default_rng(0)
    content = {"x": rng.normal(size=100), "name": [f"n{row % 7}" for row in range(100)]}
    pd.DataFrame(content).assign(y=rng.normal(size=100)).to_csv(place / "table.csv", index=False)
    np.savetxt(place / "rows.csv", np.ones((2, 3)), delimiter=",")
    (place / "empty.csv").write_text("")
    (place / "other.csv").write_text("a,b\n1,2\n")
    (place / "binary.csv").write_bytes(bytes(range(256)) * 50)
    (place / "broken.parquet").write_bytes(b"PAR1")
    (place / "notes").mkdir()
    (place / "notes" / "thesis.tex").write_text("precious")
    usual = {"methods": "slaw", "seeds": 1, "progress": False}
    compare("study.toy:toy", out=place / "study", **usual)
    compare("study.toy:predicting", out=place / "able", **usual)
    shutil.copytree(place / "study", place / "damaged")
    (place / "damaged" / "study.json").write_text("{")
    shutil.copytree(place / "able", place / "moved")
    moved = (place / "able" / "study.json").read_text().replace("study.toy:", "study.gone:")
    (place / "moved" / "study.json").write_text(moved)
    return place


def shown(command):
    return " ".join(each if len(each) < 50 else f"{each[:50]}…" for each in command)


@pytest.mark.parametrize("command", ALL, ids=shown)
def test_it_ends_in_a_sentence(run, place, monkeypatch, command):
    def never(*_):
        raise AssertionError("it was trained")

    monkeypatch.chdir(place)
    monkeypatch.setattr(executors, "try_job", never)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    code, text = run(*command)
    *usage, sentence = text.rstrip("\n").splitlines()
    assert code in (1, 2)
    assert sentence.startswith("Error: ")
    assert len(sentence) < 1_000
    assert not usage or (code == 2 and usage[0].startswith("Usage: "))
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_markup_in_names_is_nothing_special(run, tmp_path):
    code, text = run("compare", "study.toy:serving", "--out", "[bold]x[/nope]", "--seeds", 1)
    assert code == 0, text
    assert "[bold]x[/nope]/report.html" in text
    assert (tmp_path / "[bold]x[" / "nope]" / "report.html").exists()
    assert run("report", "[bold]x[/nope]")[0] == 0
