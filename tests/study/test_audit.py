"""Audits from end to end: of tables, of other problems, of what cannot be audited."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from study import toy
from torch import nn

import equipoise
from equipoise.errors import UserError
from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.audit import audit
from equipoise.study.auditing import folds
from equipoise.study.auditing.members import OF_CLASSES, OF_NUMBERS

ROWS = 240
QUIET = {"progress": False}
LOGISTIC = "logistic regression"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Only the models that are fitted in no time; one test is of all."""
    monkeypatch.setattr(folds, "OF_CLASSES", {LOGISTIC: OF_CLASSES[LOGISTIC]})
    monkeypatch.setattr(folds, "OF_NUMBERS", {"ridge": OF_NUMBERS["ridge"]})


@pytest.fixture
def houses():
    """A class and a number of each row, some missing, a tenth of both wrong; and which are."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["x", "y", "z"])
    sold = frame["x"] + frame["y"] + rng.logistic(0, 0.1, ROWS) > 0
    price = 100 * frame["y"] - 50 * frame["z"] + rng.normal(0, 5, ROWS)
    wrong = pd.DataFrame({"sold": rng.random(ROWS) < 0.1, "price": rng.random(ROWS) < 0.1})
    frame["sold"] = np.where(sold ^ wrong["sold"], "yes", "no")
    frame["price"] = price + np.where(wrong["price"], rng.choice([-600, 600], ROWS), 0)
    frame["true price"] = price
    frame.loc[3, "sold"] = None
    frame.loc[5, "price"] = np.nan
    return frame, wrong


def of_table(frame, tmp_path, **more):
    return audit(
        "table",
        options={"data": frame.drop(columns="true price"), "targets": ("sold", "price")},
        out=tmp_path,
        **QUIET | more,
    )


def test_every_label_is_judged_and_wrong_ones_are_found(houses, tmp_path):
    frame, wrong = houses
    found = of_table(frame, tmp_path)
    table = found.labels
    assert list(table.columns) == [
        "row", "target", "given", "likely", "probability wrong", "flagged",
    ]  # fmt: skip
    assert len(table) == 2 * ROWS - 2
    assert not table.duplicated(["row", "target"]).any()
    assert table["probability wrong"].is_monotonic_decreasing
    assert (table["flagged"] == (table["probability wrong"] > 0.5)).all()
    for target, part in table.groupby("target"):
        assert part["given"].tolist() == frame[target].iloc[part["row"] - 1].tolist()
        known = wrong[target].iloc[part["row"] - 1].to_numpy()
        assert average_precision_score(known, part["probability wrong"]) > 0.9
        flagged = part["flagged"] == 1
        assert known[flagged].mean() > part["probability wrong"][flagged].mean() - 0.1
        assert any(line.startswith(f"{target}: ") for line in found.findings)
    written = pd.read_csv(tmp_path / "audit.csv")
    pd.testing.assert_frame_equal(written, table.astype(written.dtypes), check_exact=False)
    assert found.page.exists()
    assert "<table" in found._repr_html_()
    assert not (tmp_path / "check.csv").exists()


def test_all_models_find_more_than_one(houses, tmp_path, monkeypatch):
    frame, wrong = houses
    monkeypatch.undo()
    sold = frame["sold"].dropna()
    found = equipoise.audit(frame.loc[sold.index, ["x", "y", "z"]], sold, out=tmp_path, **QUIET)
    known = wrong["sold"][sold.index].to_numpy()[found.labels["row"] - 1]
    assert average_precision_score(known, found.labels["probability wrong"]) > 0.9


def test_arrays_are_audited_like_the_table_of_their_columns(houses, tmp_path):
    frame, _ = houses
    one = of_table(frame, tmp_path / "table").labels
    labels = frame[["sold", "price"]]
    other = equipoise.audit(frame[["x", "y", "z"]].to_numpy(), labels, out=tmp_path, **QUIET).labels
    pd.testing.assert_frame_equal(one, other)


def test_from_labels_to_look_up_to_what_the_answers_tell(houses, tmp_path):
    frame, wrong = houses
    first = of_table(frame, tmp_path, check=80)
    asked = pd.read_csv(tmp_path / "check.csv")
    assert len(asked) == 80
    truth = frame.copy()
    truth["sold"] = np.where(
        wrong["sold"], np.where(frame["sold"] == "yes", "no", "yes"), truth.sold
    )
    truth["price"] = truth["true price"]
    asked["answer"] = [
        truth.loc[row - 1, target]
        for row, target in zip(asked["row"], asked["target"], strict=True)
    ]
    asked.to_csv(tmp_path / "answers.csv", index=False)

    second = of_table(frame, tmp_path, checked=tmp_path / "answers.csv")
    table = second.labels.merge(asked, on=["row", "target"], suffixes=("", " asked"))
    known = [
        wrong.loc[row - 1, target] for row, target in zip(table.row, table.target, strict=True)
    ]
    assert (table["probability wrong"] == np.array(known, float)).all()
    assert not table["flagged"].any()
    assert second.labels["checked"].notna().sum() == 80
    said = "\n".join(second.findings)
    for target in ("sold", "price"):
        assert f"{target}, looked up: of " in said
    assert "looked up" not in "\n".join(first.findings)
    with pytest.raises(UserError, match=r"check\.csv already, which somebody may have filled in"):
        of_table(frame, tmp_path, check=10)


def test_trusted_rows_are_never_flagged(houses, tmp_path):
    frame, _ = houses
    half = np.arange(ROWS) < ROWS // 2
    found = audit(
        frame[["x", "y", "z"]], frame[["sold", "price"]], trusted=half, out=tmp_path, **QUIET
    )
    trusted = found.labels["row"] <= ROWS // 2
    assert (found.labels["probability wrong"][trusted] == 0).all()
    assert (found.labels["probability wrong"][~trusted] > 0).all()
    whole = audit(
        frame[["x", "y", "z"]],
        frame["sold"],
        trusted=np.full(ROWS, True),
        out=tmp_path / "all",
        **QUIET,
    )
    assert whole.findings == [f"sold: 0.0% [0.0, 0.0] of {ROWS - 1} labels are wrong; 0 flagged"]


def test_a_problem_that_knows_its_wrong_labels_says_how_well_they_are_found(tmp_path):
    found = audit("toy-noise", options={"noise": 0.2, "noisy": "all"}, out=tmp_path, **QUIET)
    assert found.labels["corrupted"].sum() == 2 * 120
    assert (
        average_precision_score(found.labels["corrupted"], found.labels["probability wrong"]) > 0.9
    )
    assert all("are known to be" in line for line in found.findings[:2])


def test_an_audit_is_the_same_again_and_with_more_jobs(houses, tmp_path):
    frame, _ = houses
    first = of_table(frame, tmp_path / "one").labels
    pd.testing.assert_frame_equal(of_table(frame, tmp_path / "one").labels, first)
    pd.testing.assert_frame_equal(of_table(frame, tmp_path / "more", jobs=2).labels, first)
    other = of_table(frame, tmp_path / "two", seed=1).labels
    assert not other["probability wrong"].equals(first["probability wrong"])


def test_nothing_flagged_is_said_without_a_list(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 3))
    sold = inputs[:, 0] + rng.logistic(0, 0.3, 200) > 0
    found = audit(inputs, np.where(sold, "yes", "no"), out=tmp_path, **QUIET)
    assert len(found.findings) == 1
    assert "0 flagged" in found.findings[0]


def table_of(**columns):
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60), **columns})


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (table_of(sold=["yes"] * 60), "sold"),
        (table_of(sold=["a", "b", "c"] * 19 + ["d"] * 3), "class 'd' of 'sold' has 3 labels"),
        (table_of(sold=["a", "b"] * 30, leak=[1.5, 2.5] * 30), "column 'leak' tells 'sold'"),
    ],
)
def test_what_cannot_be_audited(tmp_path, frame, words):
    with pytest.raises(UserError, match=words):
        audit("table", options={"data": frame, "targets": ("sold",)}, out=tmp_path, **QUIET)
    assert not (tmp_path / "audit.csv").exists()


def test_other_things_that_cannot_be(tmp_path, houses):
    frame, _ = houses
    inputs, labels = frame[["x", "y", "z"]], frame["sold"]
    for arguments, options, words in (
        ((toy.noisy(),), {}, "does not say what its labels are"),
        ((inputs, labels[:-1]), {}, "240 samples and 239 rows of labels"),
        ((inputs.rename(columns={"x": "sold"}), labels), {}, "both have a column 'sold'"),
        ((inputs, labels), {"check": 1}, "check"),
        ((inputs, labels), {"jobs": 0}, "jobs"),
        ((inputs, labels), {"seed": -1}, "seed"),
        ((inputs, np.zeros((ROWS, 1, 1))), {}, "one or two dimensions"),
        (("table",), {"trusted": [True]}, "`trusted` is of samples with `labels`"),
        ((inputs, labels), {"trusted": [True]}, "and 1 of `trusted`"),
        ((inputs, labels), {"checked": tmp_path / "nowhere.csv"}, "nowhere.csv"),
    ):
        with pytest.raises(UserError, match=words):
            audit(*arguments, out=tmp_path, **QUIET | options)


def test_a_problem_of_ones_own_says_what_its_labels_are(houses, tmp_path):
    from equipoise.problems.table.table import table

    frame, _ = houses
    own = table(frame, ("sold",), features=("x", "y"))
    assert len(audit(own, out=tmp_path, **QUIET).labels) == ROWS - 1
    with pytest.raises(UserError, match="does not say what its labels are"):
        audit(replace(own, labelled=None), out=tmp_path, **QUIET)


def test_a_network_finds_what_no_line_tells_apart(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(ROWS, 2)).astype(np.float32)
    wrong = rng.random(ROWS) < 0.1
    values = ((inputs.prod(1) > 0) ^ wrong).astype(float)
    plain = Labelled(
        inputs,
        [Target("same sign", "binary", values, ("no", "yes"))],
        np.arange(1, ROWS + 1),
        pd.DataFrame(inputs),
        wrong=wrong[:, None],
    )

    def network(outputs):
        return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, outputs))

    def precision(labelled):
        problem = toy.toy(labelled=lambda: labelled)
        table = audit(problem, out=tmp_path, **QUIET).labels
        return average_precision_score(table["corrupted"], table["probability wrong"])

    assert precision(plain) < 0.3
    assert precision(replace(plain, network=network)) > 0.8
    assert precision(replace(plain, network=network, without=(LOGISTIC,))) > 0.8


def test_a_judge_whose_labels_look_wrong_is_no_evidence(tmp_path):
    options = {"noise": 0.0, "held_out_noise": 0.3}
    found = audit("toy-noise", options=options, out=tmp_path, **QUIET)
    (line,) = (line for line in found.findings if line.startswith("held out: "))
    assert "of the 200 labels of main that judge look wrong; above 5%" in line
    table = found.labels.query("target == 'main' and 600 < row <= 800")
    assert f"{table['probability wrong'].mean():.1%}" in line


@pytest.mark.parametrize("clean", [True, False])
def test_a_table_says_how_its_judge_looks(houses, tmp_path, clean):
    frame, wrong = houses
    if clean:
        right = np.where(
            wrong["sold"], frame["sold"].map({"yes": "no", "no": "yes"}), frame["sold"]
        )
        frame = frame.assign(sold=right)
    options = {"data": frame, "targets": ("sold",), "main": "sold", "features": ("x", "y")}
    found = audit("table", options=options, out=tmp_path, **QUIET)
    (line,) = (line for line in found.findings if line.startswith("held out: "))
    assert ("is no evidence, so look some up" in line) != clean
