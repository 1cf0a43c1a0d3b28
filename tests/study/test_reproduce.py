"""Reproductions: a tiny run of each, what becomes of claims, and what their pages hold."""

import json
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study.made_up import made_up_run

from equipoise import reproduce
from equipoise.errors import UserError
from equipoise.problems.vision.rooms import dataset
from equipoise.reproductions import REPRODUCTIONS
from equipoise.study.claims import better, cheaper, follows, no_worse, tells_wrong_labels
from equipoise.study.configuration import Study
from equipoise.study.methods import find_methods
from equipoise.study.reproduce import reproduction
from equipoise.study.results import Results
from equipoise.study.sources import Source

SHARED = Path(os.environ.get("EQUIPOISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
DATA = {
    "slaw-screening": "tox21.csv.gz",
    "slgrad-cifar": "cifar10_train_first4000.npz",
    "slgrad-weights": "cifar10_train_first4000.npz",
    "slgrad-multimnist": "mnist",
}


CLAIMED = ("constant", "slaw", "slaw(spread='differences')", "slgrad")
"""Methods that a tiny run is made of; claims about others have nothing to hold by."""


def tiny(name):
    """Two variants, a few steps."""
    quick = reproduction(name).quick
    ends = {*list(quick.variants)[:1], *list(quick.variants)[-1:]}
    variants = {label: own for label, own in quick.variants.items() if label in ends}
    if name == "slaw-screening":
        variants = {
            str(number): {**options, "first": number, "labelled_in_first": 2}
            for number, options in zip((2, 4), variants.values(), strict=True)
        }
    if name in ("slaw-regression", "slaw-efficiency"):
        variants = {number: {"tasks": int(number)} for number in ("2", "3")}
    if name.endswith("vision"):
        variants = {label: {**own, "scenes": 6} for label, own in quick.variants.items()}
        return replace(quick, variants=variants, seeds=1, steps=2, batch_size=2)
    seeds = 1 if name in DATA else 2
    return replace(quick, variants=variants, seeds=seeds, steps=20, batch_size=32)


@pytest.fixture
def few_methods(monkeypatch):
    """Leaves the methods of :data:`CLAIMED` to a reproduction."""

    def few(name):
        found = reproduction(name)
        methods = [method for method in found.methods if method in CLAIMED]
        module = import_module(REPRODUCTIONS[name])
        monkeypatch.setattr(module, "REPRODUCTION", replace(found, methods=methods))
        return tiny(name)

    return few


def test_methods_and_problems_are_known():
    for name in REPRODUCTIONS:
        found = reproduction(name)
        for method in found.methods:
            if method != "ideal":
                find_methods(method)
        known = Source.find(found.problem).parameters()
        for size in (found.quick, found.full):
            for options in size.variants.values():
                assert set(options) - {"driver"} <= known.keys()
            assert set(size.without) <= set(size.variants)
            assert {each for own in size.without.values() for each in own} <= set(found.methods)


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_each_runs_and_says_whether_its_claims_held(name, tmp_path, monkeypatch, few_methods):
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset, "SCENES", {"train": 6, "val": 2, "test": 2})
    data = SHARED / DATA[name] if name in DATA else None
    if data is not None and not data.exists():
        pytest.skip(f"there is no {data}: set EQUIPOISE_DATA to the folder of the real data")
    size = few_methods(name)
    found = reproduce(name, size=size, data=data, out=tmp_path, progress=False)
    assert len(found.held) == len(reproduction(name).claims)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text, outcome, _ in found.findings.claims:
        assert outcome in ("held", "did not hold", "too few seeds to say")
        assert text.split("'")[0] in page
    table = pd.read_csv(tmp_path / "data.csv")
    assert set(table["variant"].astype(str)) == set(size.variants)
    assert {"slaw", "slgrad"} & set(table["method"].dropna())


def test_the_data_beside_the_page_are_what_the_figure_shows(tmp_path, few_methods):
    reproduce("slgrad-toy", size=few_methods("slgrad-toy"), out=tmp_path, progress=False)
    table = pd.read_csv(tmp_path / "data.csv")
    own = table[(table["metric"] == "mean squared error") & (table["task"] == "main")]
    means = own.groupby(["method", "variant"])["value"].mean()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    place = page.index("[", page.index('"figure-0",', page.index("Plotly.newPlot(  ")))
    traces, _ = json.JSONDecoder().raw_decode(page[place:])
    (drawn,) = (trace["y"] for trace in traces if trace["name"] == "slgrad")
    expected = [means["slgrad", label] for label in tiny("slgrad-toy").variants]
    np.testing.assert_allclose(drawn, expected)


def test_what_is_finished_is_kept(tmp_path, few_methods):
    size = few_methods("slgrad-toy")
    reproduce("slgrad-toy", size=size, out=tmp_path, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}
    reproduce("slgrad-toy", size=replace(size, seeds=3), out=tmp_path, progress=False)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}
    assert before.items() < after.items()


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("slaw-regresion", {}, "did you mean 'slaw-regression'"),
        ("slgrad-cifar", {}, "needs `data`: an .npz file of CIFAR-10"),
        ("slgrad-toy", {"data": "x"}, "makes its data itself: leave out `data`"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(name, options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        reproduce(name, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "smiles,a,b\nCC,0,1\nCO,1,0\nCN,1,1\n",
            "has 2 columns of labels, and 128 are needed: 'a', 'b'",
        ),
        ("name,a\nCC,0\nCO,1\n", "has no columns called smiles"),
        (None, "No such file"),
    ],
)
def test_a_file_without_the_columns_of_all_variants_is_refused_at_once(content, sentence, tmp_path):
    if content is not None:
        (tmp_path / "pcba.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        reproduce("slaw-screening", data=tmp_path / "pcba.csv", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def results(tmp_path, goal="max", **values):
    """A study of made-up objectives, of which a step takes as many seconds."""
    runs = [
        made_up_run(
            method, seed, {"score": {"all": value}}, seconds_per_step=value, detection=value
        )
        for method, own in values.items()
        for seed, value in enumerate(own)
    ]
    return Results(tmp_path, Study("toy", {}, {}, ("a",), {"score": goal}, ()), tuple(runs))


LOW, HIGH, WIDE = [0.50, 0.51, 0.52], [0.70, 0.72, 0.71], [0.2, 0.9, 0.7]


@pytest.mark.parametrize(
    ("judge", "outcome"),
    [
        (better("high", "low"), "held"),
        (better("low", "high"), "did not hold"),
        (better("wide", "low"), "too few seeds to say"),
        (better("gone", "low"), "did not hold"),
        (no_worse("low", "low2", margin=0.01), "held"),
        (no_worse("low", "high", margin=0.5), "held"),
        (no_worse("low", "high", margin=0.1), "did not hold"),
        (cheaper("low", "high"), "held"),
        (cheaper("high", "low"), "did not hold"),
        (cheaper("high", "low", factor=2), "held"),
        (tells_wrong_labels("high"), "held"),
        (tells_wrong_labels("low", area=0.6), "did not hold"),
        (tells_wrong_labels("wide"), "too few seeds to say"),
    ],
)
def test_three_outcomes(judge, outcome, tmp_path):
    study = results(tmp_path, low=LOW, low2=LOW, high=HIGH, wide=WIDE)
    assert judge({"one": study})[0] == outcome


def test_where_lower_is_better_the_lower_one_is(tmp_path):
    study = results(tmp_path, "min", low=LOW, high=HIGH)
    assert better("low", "high")({"one": study})[0] == "held"


def test_every_study_must_say_so(tmp_path):
    good = results(tmp_path, a=HIGH, constant=LOW)
    unclear = results(tmp_path, a=WIDE, constant=LOW)
    bad = results(tmp_path, a=LOW, constant=HIGH)
    judge = better("a")
    assert judge({"x": good, "y": good})[0] == "held"
    assert judge({"x": good, "y": unclear})[0] == "too few seeds to say"
    assert judge({"x": good, "y": unclear, "z": bad})[0] == "did not hold"
    assert better("a", where=["x"])({"x": good, "z": bad})[0] == "held"


@pytest.mark.parametrize(
    ("correlation", "outcome"),
    [(0.99, "held"), (0.5, "did not hold"), (0.91, "too few seeds to say")],
)
def test_a_correlation_is_judged_by_fisher_s_interval(correlation, outcome):
    agreed = pd.DataFrame(
        {"method": ["slaw"], "weights": [120], "correlation": [correlation], "variant": ["x"]}
    )
    assert follows("slaw", 0.9)(agreed)[0] == outcome
