"""A judge whose labels are as wrong as the rest is noticed, and what it judges is no evidence."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import equipoise
from equipoise.problems.synthetic.toynoise import toynoise
from equipoise.problems.table.table import table
from equipoise.study.audit import wrong_held_out
from equipoise.study.intervals import Interval
from equipoise.study.verdict import verdict

ROWS = 600


def frame_with_wrong(share):
    """A class that two columns determine, a share of it flipped, and another target."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["x", "y", "z"])
    right = (frame["x"] + frame["y"] > 0).to_numpy()
    wrong = rng.random(ROWS) < share
    return frame.assign(sold=np.where(right ^ wrong, "yes", "no"), price=frame["z"])


@pytest.mark.parametrize("share", [0, 0.2])
def test_the_share_that_looks_wrong_is_near_the_share_that_is(share):
    problem = table(frame_with_wrong(share), targets=("sold", "price"), main="sold")
    assert wrong_held_out(problem.labelled()) == pytest.approx(share, abs=0.1)


def test_drawn_labels_are_known_to_be_right():
    assert wrong_held_out(toynoise(noise=0.0).labelled()) == 0


def test_what_is_known_is_not_looked_for():
    problem = toynoise(noise=0.0, held_out_noise=0.3)
    found = problem.labelled()
    known = found.wrong[found.held_out][:, 0].mean()
    assert wrong_held_out(found) == pytest.approx(known)
    assert known > 0.1


def test_without_held_out_labels_there_is_nothing_to_say():
    problem = table(frame_with_wrong(0), targets=("sold", "price"))
    assert wrong_held_out(problem.labelled()) is None


def study_of(share, out):
    return equipoise.compare(
        frame_with_wrong(share),
        options={"targets": ("sold", "price"), "main": "sold"},
        methods="constant,slgate,slaw",
        seeds=2,
        steps=4,
        out=out,
        progress=False,
    )


def test_a_study_with_a_dirty_judge_says_so(tmp_path):
    found = study_of(0.3, tmp_path)
    assert set(found.study.doubted) == {"slgate"}
    assert "of the held-out labels look wrong" in found.verdict
    assert "is no evidence: slgate. Look some up (equipoise audit, --check)" in found.verdict
    assert "look wrong" in found.page.read_text()
    again = equipoise.open_study(tmp_path)
    assert again.verdict == found.verdict


def test_a_study_with_a_clean_judge_does_not(tmp_path):
    assert "look wrong" not in study_of(0, tmp_path).verdict


def test_a_gain_by_a_dirty_judge_is_not_called_better(tmp_path):
    summary = study_of(0, tmp_path).comparison
    rows = [
        replace(row, judgement="better", difference=1.0, difference_half_width=0.1)
        if row.method == "slgate"
        else row
        for row in summary.methods
    ]
    believed = replace(summary, methods=tuple(rows))
    lead = Interval(1.0, 0.1).ranged
    assert f"slgate by {lead}" in verdict(believed)
    assert f"slgate by {lead}" not in verdict(replace(believed, doubted={"slgate": 0.2}))
