import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from equipoise.study.report import write_report
from equipoise.study.results import History, Run, Study

NASTY = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """What a page holds, as a browser reads it."""

    def __init__(self, path: Any) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.raw: str | None = None
        self.cell = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag in ("script", "style"):
            self.raw = tag
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            self.cell = "bold" if ("class", "best") in attrs else "plain"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.raw = None
        elif tag in ("th", "td"):
            if self.cell == "bold":
                self.bold.append(self.rows[-1][-1])
            self.cell = ""

    def handle_data(self, data: str) -> None:
        if self.raw == "script":
            self.scripts.append(data)
        elif self.raw is None:
            self.text += data
        if self.cell:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row[0] == name)


def study(tasks: list[str], **options: Any) -> Study:
    goals = {"AUC": "max", "loss": "min"}
    recipe = {"steps": 900, "batch_size": 8, "lr": 0.1}
    return Study("toy", options, recipe, tuple(tasks), goals, ("A note.",))


def run(
    method: str,
    seed: int,
    tasks: list[str],
    *,
    score: float = 0.5,
    steps: int = 900,
    diverged_at: int | None = None,
    single: bool = False,
) -> Run:
    generator = np.random.default_rng(seed)
    score = math.nan if diverged_at is not None else score + 0.01 * seed
    values = dict.fromkeys([*tasks, *([] if single else ["all"])], score)
    at = np.arange(100, steps + 1, 100, dtype=np.float32)
    curve = np.linspace(0.4, score, len(at), dtype=np.float32)
    weights = generator.uniform(0.5, 2, (steps, len(tasks))).astype(np.float32)
    if diverged_at is not None:
        weights[diverged_at:] = np.nan
    losses = {task: 1 - value for task, value in values.items()}
    return Run(
        method,
        seed,
        tasks[0] if single else None,
        int(at[-1]) if len(at) else 0,
        diverged_at,
        {"AUC": values, "loss": losses},
        History(weights, weights, at, curve, curve, np.full(len(at), 0.012, np.float32)),
    )


def report(tmp_path: Any, study: Study, runs: list[Run]) -> Page:
    write_report(study, runs, tmp_path / "report.html")
    return Page(tmp_path / "report.html")


TASKS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    runs = [
        run(method, seed, TASKS, score=score)
        for method, score in {"constant": 0.5, "slaw": 0.6, "ideal": 0.9}.items()
        for seed in range(3)
    ]
    runs += [
        run("single", seed, [task], score=0.4, single=True) for seed in (0, 1) for task in "abc"
    ]
    return report(tmp_path_factory.mktemp("plain"), study(TASKS, split="scaffold"), runs)


def test_the_page_needs_nothing_else(plain):
    assert plain.links == []
    assert not {"link", "iframe"} & plain.tags
    assert "@import" not in plain.source.split("<script>")[0]
    assert sum("plotly.js v" in script for script in plain.scripts) == 1


def test_the_page_says_what_was_done(plain):
    for words in ("A note.", "scaffold", "3 (0, 1, 2)", "batch size", "never used for choosing"):
        assert words in plain.text


def test_the_verdict_leaves_out_ideal_weights(plain):
    assert "slaw has the best AUC" in plain.text


def test_results(plain):
    heading = plain.row("method")
    slaw = dict(zip(heading, plain.row("slaw"), strict=True))
    assert slaw["AUC\N{NO-BREAK SPACE}↑"] == "0.610 ± 0.025"
    assert slaw["loss\N{NO-BREAK SPACE}↓"] == "0.390 ± 0.025"
    assert slaw["mean rank\N{NO-BREAK SPACE}↓"] == "2.00"
    assert slaw["over constant"].startswith("+0.1000 ±")
    assert slaw["p"] == "< 0.001"
    assert slaw["Δm, %\N{NO-BREAK SPACE}↑"].startswith("+")
    assert slaw["ms per step"] == "12.00"
    assert slaw["diverged runs"] == "0 of 3"
    constant = dict(zip(heading, plain.row("constant"), strict=True))
    assert constant["over constant"] == "reference"


def test_best_of_what_one_can_choose_is_bold(plain):
    assert plain.bold[0] == "0.610 ± 0.025"
    assert plain.bold[-3:] == ["0.6100"] * 3
    assert plain.row("a") == ["a", "0.9100", "0.6100", "0.5100", "0.4050"]


def test_no_column_without_what_it_compares_with(tmp_path):
    page = report(tmp_path, study(TASKS), [run("slaw", 0, TASKS), run("dwa", 0, TASKS)])
    assert [heading.split("\N{NO-BREAK SPACE}")[0] for heading in page.row("method")] == [
        "method",
        "AUC",
        "loss",
        "mean rank",
        "ms per step",
        "diverged runs",
    ]


def test_the_main_task(tmp_path):
    runs = [run(method, seed, TASKS) for method in ("constant", "slaw") for seed in range(2)]
    for each in runs:
        each.metrics["AUC"]["b"] += 0.2 * (each.method == "slaw")
        del each.metrics["loss"]["b"]
    page = report(tmp_path, replace(study(TASKS), main="b"), runs)
    assert "The main task is b: its AUC decides" in page.text
    assert "slaw has the best AUC of b" in page.text
    heading = [each.split("\N{NO-BREAK SPACE}")[0] for each in page.row("method")]
    assert heading[1:3] == ["AUC of b", "loss"]
    assert page.row("slaw")[1:3] == ["0.705 ± 0.064", "0.495 ± 0.064"]
    assert "Test AUC of b over steps" in page.text
    assert any("AUC of b, test part" in script for script in page.scripts)
    assert "main task" not in report(tmp_path, study(TASKS), runs).text


def test_names_are_only_ever_text(tmp_path):
    tasks = [NASTY, "<b>x</b>", "a & b", "{{ 1 + 1 }}", "<a href='http://x.example'>y</a>"]
    runs = [run(method, 0, tasks) for method in (NASTY, "<img src=http://x.example/y>", "constant")]
    page = report(tmp_path, replace(study(tasks, name=NASTY), main=NASTY), runs)
    assert not {"b", "a", "img"} & page.tags
    assert page.links == []
    assert [row[0] for row in page.rows].count(NASTY) == 2
    assert page.row("{{ 1 + 1 }}")
    assert NASTY not in page.source
    # Plotly reads tags and entities wherever it draws text, so it has to be given entities.
    drawings = "".join(script for script in page.scripts if "Plotly.newPlot" in script[:2000])
    drawings = drawings.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u002f", "/")
    assert "&lt;b&gt;x&lt;/b&gt;" in drawings
    assert "alert(1)" in drawings
    assert not re.search(r"<(script|b|img|a)\b", drawings)


def test_many_tasks_stay_a_small_page(tmp_path):
    tasks = [f"assay {number}" for number in range(617)]
    runs = [
        run(method, seed, tasks)
        for method in ("constant", "dwa", "gradnorm", "ideal", "slaw", "uncertainty")
        for seed in range(3)
    ]
    page = report(tmp_path, study(tasks), runs)
    assert len(page.source) < 8e6
    assert len(page.rows) == 1 + 6 + 1 + 617
    assert "a band with 80% of them" in page.text


def test_diverged_runs_show(tmp_path):
    runs = [run("constant", seed, TASKS) for seed in range(3)]
    runs += [run("early", seed, TASKS, steps=20, diverged_at=10) for seed in range(3)]
    runs += [run("late", 0, TASKS), run("late", 1, TASKS, steps=300, diverged_at=250)]
    runs += [run("single", 0, ["a"], single=True, diverged_at=10)]
    page = report(tmp_path, study(TASKS), runs)
    assert page.row("early")[1:3] == ["diverged", "diverged"]
    assert page.row("early")[-1] == "3 of 3"
    assert page.row("late")[1] == "diverged"
    assert page.row("late")[-1] == "1 of 2"
    assert page.row("a")[1:] == ["0.5100", "diverged", "diverged", "diverged"]
    assert "Diverged: early in 3 of 3 runs, late in 1 of 2 runs." in page.text
    assert "single-task runs diverged: 1" in page.text
    assert page.source.count("3 of 3 diverged, first at step 10") == 2


def test_undefined_tasks_are_a_dash(tmp_path):
    runs = [run("constant", 0, TASKS), run("slaw", 0, TASKS)]
    for each in runs:
        each.metrics["AUC"]["b"] = math.nan
    page = report(tmp_path, study(TASKS), runs)
    assert page.row("b") == ["b", "–", "–"]
    assert "it is undefined there" in page.text


def test_one_seed(tmp_path):
    page = report(tmp_path, study(TASKS), [run("constant", 0, TASKS), run("slaw", 0, TASKS)])
    assert page.row("slaw")[1] == "0.5000"
    assert "With fewer than two seeds" in page.text


def test_nothing_finished(tmp_path):
    assert "No run has finished yet." in report(tmp_path, study(TASKS), []).text


def test_a_page_is_the_same_each_time(tmp_path):
    runs = [run("constant", 0, TASKS), run("slaw", 0, TASKS)]
    first = report(tmp_path, study(TASKS), runs).source
    assert report(tmp_path, study(TASKS), runs).source == first
