"""Every method gets the same values to choose from, and chooses on the validation part."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
from study import toy

import equipoise
from equipoise.errors import UserError
from equipoise.study import jobs
from equipoise.study.configuration import Tuned
from equipoise.study.folder import read_runs
from equipoise.study.grids import parse_tune
from equipoise.study.stages import TRYING
from equipoise.study.tuning import validation

GRID = {"lr": [1e-9, 0.3, 1e9], "beta": [0.3, 0.6, 0.99]}


def compared(out, **more):
    given = {"methods": "constant,slaw", "steps": 10, "seeds": 1, "progress": False}
    return equipoise.compare(toy.toy(), out=out, **{**given, **more})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("tuned") / "out", tune=GRID)


def test_each_method_gets_the_best_of_what_it_takes(result):
    table = pd.read_csv(result.folder / "tuning.csv")
    assert set(table["seed"]) == {TRYING, TRYING + 1}
    labels = {"constant", "slaw(beta=0.3)", "slaw(beta=0.6)", "slaw"}  # 0.99 is the default
    assert set(table["method"]) == labels
    assert len(table) == 2 * (3 + 9)
    means = table.groupby(["method", "lr"])["validation"].agg(lambda values: np.mean([*values]))
    constant, slaw = result.study.tuned.items()
    assert constant[0] == "constant"
    assert constant[1].values == {"lr": 0.3}
    assert (constant[1].edges, constant[1].tried) == ((), 3)
    assert constant[1].validation == pytest.approx(means["constant"].min())
    best = means.drop("constant").idxmin()
    assert (slaw[0], slaw[1].values["lr"]) == best
    assert slaw[1].tried == 9
    assert {run.facts.method for run in result.runs} == {"constant", best[0]}
    assert {run.facts.seed for run in result.runs} == {0}
    assert result.tuning[0] == "constant tuned: lr 0.3, of 3 tried"
    assert not set(result.summary["method"]) - {"constant", best[0]}


def test_what_is_chosen_is_what_trains(result, tmp_path):
    plain = compared(tmp_path, lr=0.3, methods="constant")
    tuned = next(run for run in result.runs if run.facts.method == "constant")
    np.testing.assert_array_equal(plain.runs[0].history.losses, tuned.history.losses)


def test_the_figure_is_that_of_the_validation_part_at_the_selected_step(result):
    stage = "tuning/lr=0.3,batch_size=16"
    runs, damaged = read_runs(result.folder, result.study, stage)
    assert damaged == []
    table = pd.read_csv(result.folder / "tuning.csv")
    for run in runs:
        told = table[(table.method == run.facts.method) & (table.lr == 0.3)]
        told = told[told.seed == run.facts.seed]["validation"].item()
        assert told == pytest.approx(run.history.validation.min())  # of an error less is better
        assert told == pytest.approx(validation(run))
        assert told != pytest.approx(run.facts.metrics["error"]["all"])


def test_an_end_of_the_grid_is_marked(tmp_path):
    found = compared(tmp_path, methods="constant", tune={"lr": [1e-9, 0.3], "batch_size": [4, 16]})
    (tuned,) = found.study.tuned.values()
    assert tuned.values["lr"] == 0.3
    assert tuned.edges == ("lr", "batch_size")
    assert "on the edge of what was tried: lr, batch_size" in found.tuning[0]


def test_a_method_of_which_nothing_comes_out_is_said(tmp_path):
    given = {"methods": "constant", "steps": 10, "seeds": 1, "progress": False}
    problem = toy.toy(losses=toy.blows_up)
    found = equipoise.compare(problem, tune={"lr": [0.1, 0.2]}, out=tmp_path, **given)
    (tuned,) = found.study.tuned.values()
    assert tuned.validation is None
    assert "none came out" in found.tuning[0]


@pytest.mark.parametrize("tune", [GRID, 5], ids=["grid", "trials"])
def test_what_was_killed_while_it_tuned_ends_as_if_left_alone(tmp_path, monkeypatch, tune):
    if tune == 5:
        pytest.importorskip("optuna", reason="the extra `tune` is not installed")
    whole = compared(tmp_path / "whole", tune=tune)
    train, trained = jobs.run_job, []

    def killed(job, problem, told):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append(job.name)
        return train(job, problem, told)

    monkeypatch.setattr(jobs, "run_job", killed)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "out", tune=tune)
    trained.append("killed")
    again = compared(tmp_path / "out", tune=tune)
    assert len(set(trained)) == len(trained)  # nothing twice
    assert again.study.tuned == whole.study.tuned
    for name in ("tuning.csv", "results.csv"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_optuna_finds_the_learning_rate_that_learns(tmp_path):
    pytest.importorskip("optuna", reason="the extra `tune` is not installed")
    found = compared(tmp_path, lr=0.02, tune=8)
    table = pd.read_csv(found.folder / "tuning.csv")
    assert (table.groupby("method").size() == 2 * 8).all()
    assert table["lr"].between(0.002, 0.2).all()
    assert (table.groupby("method")["lr"].first() == 0.02).all()
    for method, tuned in found.study.tuned.items():
        own = table[table.method == method].groupby("lr")["validation"].mean()
        assert tuned.values["lr"] == pytest.approx(own.idxmin())
        assert tuned.values["lr"] > 0.05  # ten steps of Adam get nowhere with less
        assert tuned.validation < own[own.index < 0.03].min()


def test_without_optuna_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'equipoise\[tune\]'"):
        compared(tmp_path, tune=3)


def test_another_grid_is_another_study(result):
    with pytest.raises(UserError, match="another configuration"):
        compared(result.folder, tune={"lr": [1e-9, 0.3]})
    with pytest.raises(UserError, match="another configuration"):
        compared(result.folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tune": {"betta": [0.5, 0.9]}}, "constant and slaw cannot be tuned in 'betta': did you"),
        ({"tune": {"steps": [5, 10]}}, "'steps'"),
        ({"tune": {"initial": [[1, 1], [2, 1]]}, "methods": "constant"}, "'initial'"),
        ({"tune": {"lr": [0.1]}}, "two different values"),
        ({"tune": {"lr": [0.1, 0.1]}}, "two different values"),
        ({"tune": {"lr": [0.1, -1]}}, "lr must be a positive number, found -1"),
        ({"tune": {"lr": [0.1, math.nan]}}, "lr must be a positive number"),
        ({"tune": {"batch_size": [4, 0.5]}}, "whole number"),
        ({"tune": {"beta": [0.5, "many"]}}, "slaw: beta must be a number"),
        ({"tune": {"beta": [0.5, 2.0]}}, "beta"),
        ({"tune": {"beta": [0.5, 0.9]}, "methods": "slaw,slaw(beta=0.7)"}, "the same method"),
        ({"tune": 0}, "`tune`"),
        ({"tune": {}}, "`tune` must be values by name"),
        ({"tune": "lr=1,2"}, "`tune` must be values by name"),
        ({"tune": {"lr": [0.1, 0.2]}, "tune_seeds": 0}, "`tune_seeds`"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words) as raised:
        compared(tmp_path / "out", **arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_texts_of_the_command_line():
    assert parse_tune(["20"]) == 20
    assert parse_tune(["lr=1e-4,1e-3", "initial=[1,2], None"]) == {
        "lr": [1e-4, 1e-3],
        "initial": [[1, 2], None],
    }
    for wrong in (["lr"], ["lr="], ["lr=a,b"], ["=1,2"], ["20", "lr=1,2"], ["lr=1,2", "lr=3"]):
        with pytest.raises(UserError, match="`tune`"):
            parse_tune(wrong)


def test_a_method_without_what_is_tuned_says_so():
    assert str(Tuned({}, (), 1, 0.5)) == "there was nothing to choose"
