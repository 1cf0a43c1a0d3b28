import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from study.made_up import history, made_up_run

from equipoise.errors import UserError
from equipoise.study.configuration import Study, Tuned
from equipoise.study.confirming import Confirmation
from equipoise.study.intervals import Interval
from equipoise.study.page import charts, sample_charts
from equipoise.study.page.images import write_images
from equipoise.study.page.report import Beside, figures, write_report
from equipoise.study.page.tables import results_html
from equipoise.study.runs import Run, Samples, metrics_table
from equipoise.study.statistics import gains_by_task, summarise

NASTY = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """What a page holds, as a browser reads it."""

    def __init__(self, path: Any) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.raw: str | None = None
        self.in_cell = False
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag in ("script", "style"):
            self.raw = tag
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.raw = None
        elif tag == "strong":
            self.bold.append(self.rows[-1][-1])
        elif tag in ("th", "td"):
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.raw == "script":
            self.scripts.append(data)
        elif self.raw is None:
            self.text += data
        if self.in_cell:
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
    samples: Samples | None = None,
    areas: list[float] | None = None,
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
    return made_up_run(
        method,
        seed,
        {"AUC": values, "loss": losses},
        task=tasks[0] if single else None,
        selected_step=int(at[-1]) if len(at) else 0,
        diverged_at=diverged_at,
        seconds_per_step=0.012,
        detection=areas[-1] if areas else None,
        recorded=history(
            losses=weights,
            weights=weights,
            evaluated_at=at,
            validation=curve,
            test=curve,
            detection=np.array(areas or np.full(len(at), np.nan), np.float32),
        ),
        samples=samples,
    )


def report(
    tmp_path: Any,
    study: Study,
    runs: list[Run],
    corrupted: Any = None,
    expected: dict[str, int] | None = None,
) -> Page:
    path = tmp_path / "report.html"
    write_report(study, runs, summarise(study, runs, expected or {}), corrupted, path)
    return Page(path)


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
    assert slaw["judgement"] == "better"
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
        each.facts.metrics["AUC"]["b"] += 0.2 * (each.facts.method == "slaw")
        del each.facts.metrics["loss"]["b"]
    page = report(tmp_path, replace(study(TASKS), main="b"), runs)
    assert "The main task is b: its AUC decides" in page.text
    assert "slaw has the best AUC of b" in page.text
    heading = [each.split("\N{NO-BREAK SPACE}")[0] for each in page.row("method")]
    assert heading[1:3] == ["AUC of b", "loss"]
    assert page.row("slaw")[1:3] == ["0.705 ± 0.064", "0.495 ± 0.064"]
    assert "Test AUC of b over steps" in page.text
    assert any("AUC of b, test part" in script for script in page.scripts)
    assert "main task" not in report(tmp_path, study(TASKS), runs).text


def test_results_come_before_what_was_trained(plain):
    headings = re.findall(r"<h2>(.*?)</h2>", plain.source)
    assert headings[:3] == ["Results", "Against equal weights", "What was trained"]


def test_options_read_well(tmp_path):
    digest = "0123456789abcdef" * 4
    options = {"targets": ["128", "64"], "data": f"sha256:{digest}", "code": f"sha256:{digest}"}
    chosen = replace(study(TASKS, **options), files={"data": "/home/someone/prices & more.csv"})
    page = report(tmp_path, chosen, [run("slaw", 0, TASKS)])
    assert "<dt>targets</dt><dd>128, 64</dd>" in page.source
    assert "<dt>data</dt><dd>prices &amp; more.csv (sha256:0123456789ab)</dd>" in page.source
    assert "<dt>code</dt><dd>sha256:0123456789ab</dd>" in page.source
    assert digest not in page.source
    assert "someone" not in page.source


def test_what_scrolls_can_be_reached_by_keyboard(weighed):
    boxes = re.findall(r'<div class="box[^>]*>', weighed[1].source)
    assert len(boxes) == 3
    for box in boxes:
        assert re.search(r'tabindex="0" role="region" aria-label="[^"]+"', box)
    assert "main" in weighed[1].tags


def test_a_study_that_is_not_finished(tmp_path):
    runs = [run("constant", 0, TASKS), run("slaw", 0, TASKS, score=0.7)]
    expected = {"constant": 1, "slaw": 2, "dwa": 2}
    page = report(tmp_path, study(TASKS), runs, expected=expected)
    assert "The study is not finished" in page.text
    assert "nothing is marked as best" in page.text
    assert page.bold == []
    assert page.row("slaw")[-1] == "1 of 2 seeds"
    assert page.row("dwa")[1:3] == ["–", "–"]
    assert page.row("dwa")[-1] == "0 of 2 seeds"
    assert page.row("task") == ["task", "slaw", "constant"]
    assert "No run has finished yet." in report(tmp_path, study(TASKS), [], None, expected).text


def luminance(colour):
    """Relative luminance as the Web Content Accessibility Guidelines define it."""
    parts = np.array([int(part) for part in re.findall(r"\d+", colour)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("number", [1, 2, 3, 7, 12, 20])
def test_lines_of_tasks_are_seen_on_light_and_dark_pages(number):
    colours = charts.task_colours([str(task) for task in range(number)])
    assert len(set(colours.values())) == number
    white, dark = 1, luminance(str((0x16, 0x19, 0x1D)))
    for colour in colours.values():
        assert (white + 0.05) / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / (dark + 0.05) >= 3


def test_results_for_a_notebook_are_the_page_s(tmp_path):
    runs = [run(name, seed, TASKS) for name in ("constant", NASTY) for seed in range(2)]
    summary = summarise(study(TASKS), runs, {})
    (tmp_path / "part.html").write_text(results_html(summary), encoding="utf-8")
    part, page = Page(tmp_path / "part.html"), report(tmp_path, study(TASKS), runs)
    assert part.rows == page.rows[: len(part.rows)]
    assert part.bold == page.bold[: len(part.bold)]
    assert part.text.strip().startswith(
        f"equal weights (constant) and {NASTY} tie for the best AUC"
    )
    assert "script" not in part.tags


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
    drawings = re.sub(r'"meta":".*?(?<!\\)"', "", drawings)  # which is drawn nowhere
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
        each.facts.metrics["AUC"]["b"] = math.nan
    page = report(tmp_path, study(TASKS), runs)
    assert page.row("b") == ["b", "–", "–"]
    assert "it is undefined there" in page.text


def test_one_seed(tmp_path):
    runs = [run("constant", 0, TASKS), run("slaw", 0, TASKS, score=0.4)]
    page = report(tmp_path, study(TASKS), runs)
    assert page.row("slaw")[1] == "0.4000"
    assert "With fewer than two seeds" in page.text


def test_nothing_finished(tmp_path):
    assert "No run has finished yet." in report(tmp_path, study(TASKS), []).text


def test_a_page_is_the_same_each_time(tmp_path):
    runs = [run("constant", 0, TASKS), run("slaw", 0, TASKS)]
    first = report(tmp_path, study(TASKS), runs).source
    assert report(tmp_path, study(TASKS), runs).source == first


SIZE = 60
CORRUPTED = np.random.default_rng(0).random((SIZE, 3)) < [0.3, 0, 0.5]
PICTURES = np.random.default_rng(1).integers(0, 256, (48, 6, 5, 3), dtype=np.uint8)


def weighing(
    method, seed, tasks=TASKS, corrupted=CORRUPTED, pictures=PICTURES, unseen=(), **options
):
    """A run of a weighting of samples, by which wrong labels weigh less."""
    generator = np.random.default_rng(10 + seed)
    size = options.get("steps", 900) // 100, SIZE, len(tasks)
    weights = generator.gamma(2, 1, size) - (0.8 * corrupted if corrupted is not None else 0)
    weights[:, unseen, 1] = np.nan
    samples = Samples(
        weights=weights.astype(np.float32),
        mean_weights=weights.mean(0).astype(np.float32),
        alignments=weights[-1].astype(np.float32),
        shown=generator.permutation(SIZE)[:48],
        pictures=pictures,
    )
    areas = [area(each) for each in weights] if corrupted is not None else None
    return run(method, seed, tasks, samples=samples, areas=areas, **options)


def area(weights):
    """Over the tasks with wrong labels."""
    return np.mean([roc_auc_score(~CORRUPTED[:, task], weights[:, task]) for task in (0, 2)])


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    runs = [run("constant", seed, TASKS) for seed in range(3)]
    runs += [weighing(method, seed) for method in ("slgate", "slgrad") for seed in (2, 0, 1)]
    chosen = replace(study(TASKS), main="a")
    return runs, report(tmp_path_factory.mktemp("weighed"), chosen, runs, CORRUPTED)


def test_no_samples_without_a_weighting_of_samples(plain, weighed):
    assert "Weights of labels" not in plain.text
    assert "<figure" not in plain.source
    assert "Weights of labels" in weighed[1].text


def test_how_well_wrong_labels_are_told(weighed):
    runs, page = weighed
    areas = [area(each.samples().weights[-1]) for each in runs[3:6]]
    half_width = 4.302653 * np.std(areas, ddof=1) / math.sqrt(3)
    row = [each for each in page.rows if each[0] == "slgate"][1]
    mean, _, found = row[1].partition(" ± ")
    assert float(mean) == pytest.approx(np.mean(areas), abs=0.01)
    assert float(found) == pytest.approx(half_width, rel=0.05)
    assert [each for each in page.rows if each[0] == "constant" and len(each) == 2] == []
    assert sum("area under the ROC curve" in script for script in page.scripts) == 1


def test_a_diverged_run_tells_nothing(tmp_path):
    runs = [weighing("slgate", 0), weighing("slgate", 1, diverged_at=450)]
    page = report(tmp_path, study(TASKS), runs, CORRUPTED)
    assert [each for each in page.rows if each[0] == "slgate"][2][1] == "diverged"

    known = {"samples": runs[0].samples(), "areas": [math.nan]}
    early = run("slgate", 0, TASKS, steps=100, diverged_at=1, **known)
    page = report(tmp_path, study(TASKS), [early], CORRUPTED)
    assert [each for each in page.rows if each[0] == "slgate"][2][1] == "diverged"


def test_the_area_under_the_roc_curve_over_steps(weighed):
    runs = weighed[0][3:6]
    figure = sample_charts.detection({"slgate": runs}, {"slgate": charts.Style("#000", "solid")})
    line = next(trace for trace in figure.data if trace.mode == "lines+markers")
    areas = [[area(weights) for weights in each.samples().weights] for each in runs]
    assert list(line.x) == list(range(100, 901, 100))
    assert line.y == pytest.approx(np.mean(areas, axis=0))
    band = next(trace for trace in figure.data if trace.mode == "none")
    assert sorted(band.y) == pytest.approx(sorted([*np.min(areas, 0), *np.max(areas, 0)]))


def test_clean_labels_and_wrong_ones_have_a_histogram_each(weighed, monkeypatch):
    runs = weighed[0][3:6]
    weights = np.mean([each.samples().weights.mean(0) for each in runs], axis=0)
    kinds = sample_charts.label_weights(study(TASKS), runs, CORRUPTED)
    clean = np.concatenate([weights[~CORRUPTED[:, task], task] for task in (0, 2)])
    assert sorted(kinds["clean labels"]) == pytest.approx(sorted(clean), rel=1e-5)
    assert sorted(kinds["wrong labels"]) == pytest.approx(sorted(weights[CORRUPTED]), rel=1e-5)

    monkeypatch.setattr(sample_charts, "to_html", lambda figure, name: figure)
    ((name, note, figure),) = sample_charts.histograms(study(TASKS), {"slgate": runs}, CORRUPTED)
    assert (name, note) == ("slgate", "")
    for bars, values in zip(figure.data, kinds.values(), strict=True):
        width = bars.x[1] - bars.x[0]
        assert sum(bars.y) == pytest.approx(100)
        for middle, height in zip(bars.x[:-1], bars.y[:-1], strict=True):
            inside = (values >= middle - width / 2) & (values < middle + width / 2)
            assert height == pytest.approx(100 * inside.mean())


def test_without_known_wrong_labels(tmp_path):
    runs = [
        weighing("slgate", seed, corrupted=None, unseen=unseen)
        for seed, unseen in enumerate([range(9), range(2, 11)])
    ]
    chosen = replace(study(TASKS), main="b")
    page = report(tmp_path, chosen, runs)
    assert "Which training labels are wrong" not in page.text
    assert "known to be wrong" not in page.text
    assert page.source.count("<figure><img") == 48
    kinds = sample_charts.label_weights(chosen, runs, None)
    assert {kind: len(values) for kind, values in kinds.items()} == {
        "main task": SIZE - 7,
        "other tasks": 2 * SIZE,
    }


def pixels(source):
    start = "data:image/png;base64,"
    assert source.startswith(start)
    return np.array(Image.open(io.BytesIO(base64.b64decode(source.removeprefix(start)))))


def test_pictures_are_those_of_the_first_seed_with_their_places(weighed):
    runs, page = weighed
    (first,) = (each for each in runs if each.facts.method == "slgate" and each.facts.seed == 0)
    shown = first.samples().shown
    assert len(page.links) == 2 * 48
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.source)[:48]
    order = [*range(24), *range(47, 23, -1)]
    for link, caption, place in zip(page.links, captions, order, strict=False):
        assert np.array_equal(pixels(link), PICTURES[place])
        wrong = " wrong" if CORRUPTED[shown[place]].any() else ""
        assert caption == f"{shown[place]}{wrong}"
    assert 0 < sum(caption.endswith("wrong") for caption in captions) < 48


def test_grey_and_large_pictures(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (48, 300, 150, 1), dtype=np.uint8)
    page = report(tmp_path, study(TASKS), [weighing("slgate", 0, pictures=grey)])
    assert {pixels(link).shape for link in page.links} == {(96, 48)}
    small = report(tmp_path, study(TASKS), [weighing("slgate", 0, pictures=grey[:, :9, :9])])
    assert np.array_equal(pixels(small.links[0]), grey[0, :9, :9, 0])


def test_no_pictures(tmp_path):
    page = report(tmp_path, study(TASKS), [weighing("slgate", 0, pictures=np.empty(0, np.uint8))])
    assert "Weights of labels" in page.text
    assert "<figure" not in page.source
    assert "total weight" not in page.text


def test_names_of_wrong_labels_are_only_ever_text(tmp_path):
    tasks = [NASTY, '" onmouseover="alert(1)', "<b>x</b>"]
    page = report(tmp_path, study(tasks), [weighing("<i>", 0, tasks=tasks)], CORRUPTED)
    assert NASTY not in page.source
    assert "onmouseover" not in page.attributes
    assert "title" in page.attributes
    assert "b" not in page.tags
    assert all(link.startswith("data:image/png;base64,") for link in page.links)


def test_what_else_a_study_has(tmp_path):
    """Confirmation, tuning and the table at equal time, each with its figures."""
    runs = [
        run(method, seed, TASKS, score=score)
        for method, score in {"constant": 0.5, "slaw": 0.6}.items()
        for seed in range(3)
    ]
    tuned = {"slaw": Tuned({"lr": 0.25, "beta": 0.9}, ("lr",), 4, None)}
    whole = replace(
        study(TASKS), tuned=tuned, equal_time="operations", equal_steps={"constant": 900, "slaw": 7}
    )
    summary = summarise(whole, runs, {})
    fresh = Confirmation("slaw", 4, 4, Interval(0.25, 0.125), 0.004)
    path = tmp_path / "report.html"
    write_report(whole, runs, summary, None, path, Beside("All of it.", [fresh], summary))
    page = Page(path)
    assert "All of it." in page.text
    assert ["slaw", Interval(0.25, 0.125).signed, "0.004", "4 of 4", "better"] in page.rows
    assert ["slaw", "0.25", "0.9", "diverged", "lr", "4"] in page.rows
    assert any(row[:2] == ["slaw", "7"] for row in page.rows)


def test_gains_are_paired_means_and_a_diverged_run_has_none():
    runs = [
        run(method, seed, TASKS, score=score, diverged_at=40 if method == "dwa" and seed else None)
        for method, score in {"constant": 0.5, "slaw": 0.6, "dwa": 0.4}.items()
        for seed in range(3)
    ]
    table = gains_by_task(metrics_table(runs), study(TASKS))
    assert list(table.index) == TASKS
    assert table["slaw"].tolist() == pytest.approx([0.1] * 3)
    assert table["dwa"].isna().all()
    assert gains_by_task(metrics_table(runs[3:]), study(TASKS)).empty


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_figures_are_files(tmp_path, kind):
    runs = [run(method, seed, TASKS) for method in ("constant", "slaw") for seed in range(2)]
    summary = summarise(study(TASKS), runs, {})
    drawn = {"forest": figures(study(TASKS), runs, summary)["forest"]}
    (path,) = write_images(drawn, kind, tmp_path / "figures")
    assert path.name == f"forest.{kind}"
    assert (b"<svg" if kind == "svg" else b"%PDF") in path.read_bytes()[:200]


def test_figures_without_what_draws_them_are_one_sentence(tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise ValueError("\nImage export requires Kaleido")

    monkeypatch.setattr(go.Figure, "write_image", fails)
    with pytest.raises(UserError, match=r"pip install 'equipoise\[figures\]'"):
        write_images({"forest": go.Figure()}, "pdf", tmp_path / "figures")
