"""Labels that are looked up: which, what a file may say, and what the answers tell."""

import numpy as np
import pandas as pd
import pytest

from equipoise.errors import UserError
from equipoise.problems.answers import RANDOM, read_answers
from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.checking import (
    LIKELY,
    choose,
    estimates,
    share_wrong,
)
from equipoise.study.auditing.judged import Judged

ROWS = 400
RNG = np.random.default_rng(0)
SOLD = np.where(np.arange(ROWS) % 10 == 0, 1.0, 0.0)
PRICE = np.where(np.arange(ROWS) % 4 == 0, np.nan, np.round(RNG.random(ROWS), 2))
TARGETS = [Target("sold", "binary", SOLD, ("no", "yes")), Target("price", "regression", PRICE)]
LABELLED = Labelled(
    np.zeros((ROWS, 1), np.float32),
    TARGETS,
    np.arange(ROWS) * 2 + 1,
    pd.DataFrame({"x": np.arange(ROWS), "given": "a feature of that name"}),
)


def judged(target, wrong=None, trusted=None, checked=None):
    samples = np.flatnonzero(~np.isnan(target.values))
    return Judged(
        target,
        samples,
        target.values[samples],
        RNG.random(len(samples)) if wrong is None else wrong,
        np.zeros(len(samples), bool) if trusted is None else trusted,
        np.full(len(samples), np.nan) if checked is None else checked,
        (0.0, 1.0),
    )


def both():
    return {target.name: judged(target) for target in TARGETS}


def test_half_are_the_likeliest_and_half_at_random_within_classes():
    found = both()
    asked = choose(LABELLED, found, 60, seed=0)
    assert len(asked) == 60
    assert not asked.duplicated(["row", "target"]).any()
    random, likely = (asked[asked["chosen"] == how] for how in (RANDOM, LIKELY))
    assert len(random) == len(likely) == 30
    # 360 no, 40 yes and 300 prices.
    shares = random.groupby([random["target"], random["given"].where(random["target"] == "sold")])
    assert random.groupby("target").size().to_dict() == {"price": 13, "sold": 17}
    assert shares.size().to_dict() == {("sold", "no"): 15, ("sold", "yes"): 2}
    probabilities = {
        (LABELLED.rows[sample], name): wrong
        for name, each in found.items()
        for sample, wrong in zip(each.samples, each.wrong, strict=True)
    }
    chosen = {*map(tuple, asked[["row", "target"]].to_numpy())}
    least = min(probabilities[key] for key in map(tuple, likely[["row", "target"]].to_numpy()))
    assert all(wrong <= least for key, wrong in probabilities.items() if key not in chosen)


def test_a_file_shows_what_a_person_needs():
    asked = choose(LABELLED, both(), 4, seed=0)
    assert list(asked.columns) == [
        "row",
        "target",
        "given",
        "chosen",
        "answer",
        "x",
        "given (feature)",
    ]
    assert (asked["x"] * 2 + 1 == asked["row"]).all()


def test_neither_trusted_nor_looked_up_labels_are_asked_for():
    trusted = np.arange(ROWS) < 390
    checked = np.where(np.arange(ROWS) == 395, 1.0, np.nan)
    found = {"sold": judged(TARGETS[0], trusted=trusted, checked=checked)}
    asked = choose(LABELLED, found, 50, seed=0)
    assert sorted((asked["row"] - 1) // 2) == [*range(390, 395), *range(396, 400)]


def answered(tmp_path, change=lambda asked: asked, number=40):
    asked = choose(LABELLED, both(), number, seed=0).astype({"answer": object})
    asked["answer"] = asked["given"]
    path = tmp_path / "check.csv"
    change(asked).to_csv(path, index=False)
    return path


def test_answers_are_read_back_as_they_were_given(tmp_path):
    found = read_answers(answered(tmp_path), LABELLED, "checked")
    for place, target in enumerate(TARGETS):
        there = ~np.isnan(found.values[:, place])
        assert there.any()
        np.testing.assert_array_equal(found.values[there, place], target.values[there])
    assert found.at_random.sum() == 20
    assert np.isnan(found.values[~found.at_random]).any()


def test_empty_answers_are_none_and_others_correct(tmp_path):
    def change(asked):
        asked.loc[asked.index[:30], "answer"] = None
        last = asked.index[asked["target"] == "sold"][-1]
        asked.loc[last, "answer"] = "yes" if asked.loc[last, "given"] == "no" else "no"
        return asked

    found = read_answers(answered(tmp_path, change), LABELLED, "checked")
    assert (~np.isnan(found.values)).sum() == 10
    changed = found.corrected(0) != SOLD
    assert changed.sum() == 1
    assert found.corrected(0)[changed] == 1 - SOLD[changed]


def cell(column, value):
    def change(asked):
        asked[column] = asked[column].astype(object)
        asked.loc[asked.index[asked["target"] == "sold"][0], column] = value
        return asked

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cell("answer", "perhaps"), "the answer 'perhaps' to row .* is none of its classes: .*no"),
        (cell("row", 2), "asks for row 2 of 'sold', which is not there: it is of another table"),
        (cell("row", "x"), "asks for row x of"),
        (cell("target", "rented"), "of 'rented', which is not there"),
        (cell("given", "maybe"), "is 'maybe', and in the table '(no|yes)': it is of another table"),
        (lambda asked: asked.drop(columns="answer"), "has no column 'answer'"),
        (lambda asked: asked.assign(answer=""), "has no answer yet"),
    ],
)
def test_what_no_file_of_this_table_says(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        read_answers(answered(tmp_path, change), LABELLED, "checked")


def test_a_price_must_be_a_number(tmp_path):
    def change(asked):
        asked.loc[asked.index[asked["target"] == "price"][0], "answer"] = "a lot"
        return asked

    with pytest.raises(UserError, match=r"the answer 'a lot' to row .* is no number"):
        read_answers(answered(tmp_path, change), LABELLED, "checked")


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_labels_at_random_tell_how_many_are_wrong(rate):
    """Within classes of which one is rare and often wrong; the interval covers the truth."""
    covered, means = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        wrong = rng.random(ROWS) < np.where(SOLD == 1, 2 * rate, rate)
        found = judged(TARGETS[0], wrong=wrong.astype(float))
        asked = choose(LABELLED, {"sold": found}, 160, seed=seed)
        rows = asked.loc[asked["chosen"] == RANDOM, "row"].to_numpy()
        interval = share_wrong(found, np.isin(LABELLED.rows, rows))
        covered += abs(interval.mean - wrong.mean()) <= interval.half_width
        means.append(interval.mean - wrong.mean())
    assert covered >= 180
    assert abs(np.mean(means)) < 0.01


def test_what_the_answers_tell_is_said(tmp_path):
    answers = read_answers(answered(tmp_path), LABELLED, "checked")
    found = {
        target.name: judged(
            target,
            wrong=np.zeros(np.count_nonzero(~np.isnan(target.values))),
            checked=answers.values[~np.isnan(target.values), place],
        )
        for place, target in enumerate(TARGETS)
    }
    lines = list(estimates(LABELLED, found, answers))
    assert len(lines) == 2
    assert "labels that were likely wrong 0 were [0%," in lines[0]
    assert "by those at random 0.0% [0.0, " in lines[0]
