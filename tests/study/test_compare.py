"""The study as Python has it."""

import inspect
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from study import toy

import equipoise
from equipoise import SLAW, Constant, LossWeighting
from equipoise.errors import UserError
from equipoise.study.runs import metrics_table
from equipoise.study.settings import DEFAULTS

QUIET = {"progress": False, "steps": 8, "seeds": 2}


class Halves(LossWeighting):
    """Half of equal weights."""

    def update(self, losses, counts):
        return torch.full_like(losses, 0.5)


def tuned(problem):
    return SLAW(problem.tasks, beta=0.5)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return equipoise.compare(
        toy.noisy(),
        methods=["constant", "slaw(beta=0.9),dwa", SLAW, Halves, tuned, "slgate"],
        out=tmp_path_factory.mktemp("study") / "out",
        **QUIET,
    )


def test_methods_are_texts_classes_and_functions(result):
    labels = set(result.summary["method"])
    here = __name__
    assert labels == {
        "constant",
        "slaw(beta=0.9)",
        "dwa",
        "slaw",
        f"{here}:Halves",
        f"{here}:tuned",
        "slgate",
    }
    by_label = {run.facts.method: run for run in result.runs}
    assert np.allclose(by_label[f"{here}:Halves"].history.weights, 0.5)
    assert by_label["slaw"].facts.source is None
    assert by_label[f"{here}:tuned"].facts.source.startswith("sha256:")
    same = equipoise.compare(toy.noisy(), methods="slaw(beta=0.5)", out=result.folder, **QUIET)
    by_label = {run.facts.method: run for run in same.runs}
    np.testing.assert_array_equal(
        by_label["slaw(beta=0.5)"].history.weights, by_label[f"{here}:tuned"].history.weights
    )


def test_what_comes_back_is_what_is_in_the_folder(result):
    again = equipoise.open_study(result.folder)
    assert again.study.asked.keys() >= {"constant", "slgate"}
    assert again.best == result.best
    assert again.page == result.folder / "report.html"
    assert again.page.read_text().startswith("<!")
    assert result.failures == {}
    table = metrics_table(again.runs)
    read = pd.read_csv(result.folder / "results.csv")
    np.testing.assert_allclose(read["value"], table["value"])
    frame = result.summary
    means = (
        table[(table.metric == "error") & (table.task == "[a]")].groupby("method")["value"].mean()
    )
    for method, mean in zip(frame["method"], frame["error of [a]"], strict=True):
        assert mean == pytest.approx(means[method])
    assert result.best == frame["method"][0]
    assert result.verdict in result._repr_html_() or "&" in result._repr_html_()


def test_runs_read_their_arrays_when_asked(result):
    gate = next(run for run in result.runs if run.facts.method == "slgate")
    assert gate.weighs_samples
    samples = gate.samples()
    assert samples.weights.shape == (8, 50, 2)
    np.testing.assert_array_equal(gate.samples_part("mean_weights"), samples.mean_weights)
    expected = pd.DataFrame(samples.weights.reshape(8, -1)).mean().to_numpy()
    np.testing.assert_allclose(samples.mean_weights.ravel(), expected, rtol=1e-5)
    assert gate.history.losses.shape == (8, 2)
    assert pickle.loads(pickle.dumps(gate)).facts == gate.facts


def test_a_study_that_was_asked_for_more_seeds_than_it_has_names_no_winner(result):
    unfinished = replace(result, study=replace(result.study, asked={"constant": 3}))
    assert unfinished.best is None
    assert "not finished" in unfinished.verdict
    assert result.best is not None


def test_a_function_that_makes_the_problem_and_its_options(tmp_path):
    def made(size: int, flag: bool = False):
        assert flag
        return toy.toy(main="a" if size == 3 else None)

    result = equipoise.compare(
        made, options={"size": 3, "flag": True}, methods="constant", out=tmp_path, **QUIET
    )
    assert result.study.main == "a"
    assert result.study.options["size"] == 3
    with pytest.raises(UserError, match="did you mean 'size'"):
        equipoise.compare(made, options={"sise": 3}, out=tmp_path, **QUIET)
    with pytest.raises(UserError, match="`size`"):
        equipoise.compare(made, options={"flag": True}, out=tmp_path, **QUIET)
    with pytest.raises(UserError, match="another configuration"):
        equipoise.compare(made, options={"size": 4, "flag": True}, out=tmp_path, **QUIET)


def test_another_problem_object_is_another_study(tmp_path):
    equipoise.compare(toy.toy(), methods="constant", out=tmp_path, **QUIET)
    train = toy.toy().train
    train.tensors[1][0, 0] += 1
    with pytest.raises(UserError, match="options source"):
        equipoise.compare(toy.toy(train=train), methods="constant", out=tmp_path, **QUIET)


@pytest.fixture(scope="module")
def houses():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(200, 3)), columns=["a", "b", "c"])
    return frame.assign(price=frame.a + frame.b, rent=frame.b - frame.c)


def test_a_data_frame(tmp_path, houses):
    options = {"targets": ["price", "rent"], "trunk": [8]}
    result = equipoise.compare(
        houses, options=options, methods="constant,slaw", out=tmp_path / "frame", **QUIET
    )
    path = tmp_path / "houses.csv"
    houses.to_csv(path, index=False)
    file = equipoise.compare(
        "table", options={**options, "data": path}, methods="constant", out=tmp_path / "f", **QUIET
    )
    own = [run.facts.metrics for run in result.runs if run.facts.method == "constant"]
    assert own == [run.facts.metrics for run in file.runs]

    rows = houses.head(5)
    predicted = equipoise.predict(tmp_path / "frame", rows, problem=houses, method="constant")
    assert list(predicted.columns) == ["price", "rent"]
    pd.testing.assert_frame_equal(
        predicted, equipoise.predict(tmp_path / "f", rows, method="constant")
    )
    with pytest.raises(UserError, match="give it as `problem` too"):
        equipoise.predict(tmp_path / "frame", rows)
    with pytest.raises(UserError, match="not as it was"):
        equipoise.predict(tmp_path / "frame", rows, problem=houses.head(150))


def test_networks_that_are_not_finite_predict_nothing(tmp_path):
    class Broken(toy.Network):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.tensor(float("nan")))

    problem = toy.predicting(network=Broken)
    equipoise.compare(problem, methods="constant", out=tmp_path, **QUIET)
    rows = tmp_path / "new.csv"
    rows.write_text("1,2,3\n")
    with pytest.raises(UserError, match="not finite"):
        equipoise.predict(tmp_path, rows, problem=problem)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"methods": [3]}, "a text, a class or a function"),
        ({"methods": []}, "names no method"),
        ({"methods": [torch.nn.Linear]}, "is no weighting"),
        ({"methods": ["slaw", SLAW]}, "named twice"),
        ({"lr": float("nan")}, "`lr`"),
        ({"steps": 0}, "`steps`"),
        ({"steps": 2.5}, "`steps`"),
        ({"batch_size": 10**30}, "`batch_size`"),
        ({"seeds": 10**30}, "`seeds`"),
        ({"jobs": 0}, "`jobs`"),
        ({"checkpoint": float("nan")}, "`checkpoint`"),
        ({"on": "moon"}, "`on`"),
        ({"address": "here:1"}, "`address`"),
        ({"device": "meta"}, "`device` 'meta'"),
        ({"device": "abacus"}, "`device` 'abacus'"),
        ({"options": {"a": 1}}, "no option"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_trained(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words) as raised:
        equipoise.compare(toy.toy(), **{"out": tmp_path / "out", **QUIET, **arguments})
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_problem(tmp_path):
    for thing in (3, None, "nothing", "study.toy:torch"):
        with pytest.raises(UserError):
            equipoise.compare(thing, out=tmp_path, **QUIET)
    with pytest.raises(UserError, match="must return a Problem"):
        equipoise.compare(lambda: 3, out=tmp_path, **QUIET)


def test_the_package_has_it_without_importing_it():
    assert {"compare", "audit", "predict", "open_study"} <= set(equipoise.__all__)
    assert callable(equipoise.audit)
    with pytest.raises(AttributeError):
        equipoise.nothing  # noqa: B018
    assert Constant is equipoise.Constant


def test_help_spells_out_the_settings():
    shown = inspect.signature(equipoise.compare).parameters
    for name, default in DEFAULTS.items():
        assert shown[name].default == default
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepz'"):
        equipoise.compare(toy.noisy(), stepz=3)
