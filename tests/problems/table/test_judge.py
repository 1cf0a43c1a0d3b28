"""Labels that were looked up, as what judges in a table."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from equipoise.errors import UserError
from equipoise.problems.table.table import table

ROWS = 200
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(ROWS, 2)), columns=["x", "y"]).assign(
    sold=RNG.choice(["yes", "no"], ROWS), price=RNG.normal(100, 9, ROWS)
)
TARGETS = ("sold", "price")


def looked_up(sold, price=()):
    """A file of answers: the other class for even rows of the one, 7 for those of the other."""
    lines = []
    for target, rows in (("sold", sold), ("price", price)):
        for row in rows:
            given = FRAME[target][row - 1]
            turned = "no" if given == "yes" else "yes"
            answer = 7.0 if target == "price" else turned if row % 2 == 0 else given
            lines.append((row, target, given, "at random", answer))
    return pd.DataFrame(lines, columns=["row", "target", "given", "chosen", "answer"])


def rows_of(part, whole):
    """The rows of a part, by the first feature, which is that of one row only."""
    encoded = whole.tensors[0] if hasattr(whole, "tensors") else whole
    return {int((encoded[:, 0] - x).abs().argmin()) for x in part.tensors[0][:, 0]}


def test_rows_that_were_looked_up_judge_and_nothing_else():
    sold, price = range(1, 61), range(50, 71)
    problem = table(FRAME, TARGETS, main="sold", judge=looked_up(sold, price))
    whole = torch.from_numpy(problem.labelled().inputs)
    assert rows_of(problem.held_out, whole) == {row - 1 for row in sold}
    others = [rows_of(part, whole) for part in (problem.train, problem.validation, problem.test)]
    assert set.union(*others) == set(range(60, ROWS))
    assert sum(map(len, others)) == ROWS - 60

    classes = (FRAME["sold"] == "yes").to_numpy(float)
    right = [1 - classes[row - 1] if row % 2 == 0 else classes[row - 1] for row in sold]
    column = list(problem.tasks).index("sold")
    np.testing.assert_array_equal(problem.held_out.tensors[1][:, column], right)
    prices = next(t for t in problem.labelled().targets if t.name == "price").values
    assert (prices == 7).nonzero()[0].tolist() == [row - 1 for row in price]
    (note,) = (note for note in problem.notes if note.startswith("Looked-up labels of sold"))
    assert "no " in note and "yes " in note and "Fewer" not in note  # noqa: PT018


def test_too_few_are_said_to_be_so():
    problem = table(FRAME, TARGETS, main="sold", judge=looked_up(range(1, 13)))
    assert any("Fewer than 10 of a class can make" in note for note in problem.notes)
    problem = table(FRAME, TARGETS, main="price", judge=looked_up((), range(1, 10)))
    assert any("of price that judge: 9. Fewer" in note for note in problem.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "`judge` is for a main task"),
        ({"main": "price"}, "has no answer for the main task 'price'"),
    ],
)
def test_what_cannot_judge(options, words):
    with pytest.raises(UserError, match=words):
        table(FRAME, TARGETS, judge=looked_up(range(1, 30)), **options)


def test_a_file_of_another_table_is_refused(tmp_path):
    looked_up(range(1, 30)).to_csv(tmp_path / "check.csv", index=False)
    other = FRAME.assign(sold=FRAME["sold"].map({"yes": "no", "no": "yes"}))
    with pytest.raises(UserError, match=r"`judge`: .*it is of another table"):
        table(other, TARGETS, main="sold", judge=tmp_path / "check.csv")


def test_from_an_audit_to_a_comparison(run, tmp_path):
    rng = np.random.default_rng(0)
    sold = FRAME["x"] + rng.logistic(0, 0.2, ROWS) > 0
    wrong = rng.random(ROWS) < 0.2
    FRAME.assign(sold=np.where(sold ^ wrong, "yes", "no")).to_csv(
        tmp_path / "houses.csv", index=False
    )
    options = ["table", "--data", "houses.csv", "--targets", "sold", "--leave-out", "price"]
    code, text = run("audit", *options, "--check", 40, "--out", "audit")
    assert code == 0, text
    assert "to look up: audit/check.csv" in text
    asked = pd.read_csv(tmp_path / "audit" / "check.csv")
    asked["answer"] = np.where(sold[asked["row"] - 1], "yes", "no")
    asked.to_csv(tmp_path / "answers.csv", index=False)
    code, text = run("audit", *options, "--checked", "answers.csv", "--out", "audit")
    assert code == 0, text
    assert "sold, looked up: of 20 labels that were likely wrong" in text
    judged = ["--main", "sold", "--judge", "answers.csv", "--methods", "constant,slgate"]
    code, text = run("compare", *options, *judged, "--steps", 20, "--seeds", 2, "--out", "study")
    assert code == 0, text
    assert "samples: 129 to train on, 15 to choose the step on, 16 to test on" in text  # of 200
    said = json.loads((tmp_path / "study" / "study.json").read_text())["notes"]
    assert any(note.startswith("Looked-up labels of sold that judge: no ") for note in said)
