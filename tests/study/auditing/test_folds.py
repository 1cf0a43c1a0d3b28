"""Out-of-fold predictions, against each model fitted by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing import folds
from equipoise.study.auditing.folds import fits_of, out_of_fold
from equipoise.study.auditing.members import OF_CLASSES, OF_NUMBERS

ROWS = 60
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(ROWS, 3)).astype(np.float32)
CLASS = (INPUTS[:, 0] + RNG.normal(0, 0.5, ROWS) > 0).astype(float)
NUMBER = np.where(RNG.random(ROWS) < 0.2, np.nan, 100 * INPUTS[:, 1].astype(float) + 40)
TARGETS = [Target("class", "binary", CLASS, ("no", "yes")), Target("number", "regression", NUMBER)]
LABELLED = Labelled(INPUTS, TARGETS, np.arange(1, ROWS + 1), pd.DataFrame(INPUTS))
APART = np.zeros((2, 2), bool)


@pytest.fixture
def quick(monkeypatch):
    """Only the models that are fitted in no time."""
    for members, name in ((OF_CLASSES, "logistic regression"), (OF_NUMBERS, "ridge")):
        few = {name: members[name]}
        monkeypatch.setattr(folds, "OF_CLASSES" if members is OF_CLASSES else "OF_NUMBERS", few)


def test_each_label_is_predicted_once_by_each_model_from_the_other_folds():
    fits = fits_of(TARGETS, None, APART, seed=0)
    for place, (target, members) in enumerate(zip(TARGETS, (OF_CLASSES, OF_NUMBERS), strict=True)):
        there = np.flatnonzero(~np.isnan(target.values))
        for member in members:
            for others in ((), (1 - place,)):
                own = [
                    fit
                    for fit in fits
                    if (fit.target, fit.member, fit.others) == (place, member, others)
                ]
                assert len(own) == 5
                assert sorted(np.concatenate([fit.test for fit in own])) == there.tolist()
                for fit in own:
                    assert sorted([*fit.train, *fit.test]) == there.tolist()
    assert len(fits) == 2 * 5 * (len(OF_CLASSES) + len(OF_NUMBERS))


def test_predictions_are_those_of_a_model_fitted_by_hand(quick, tmp_path):
    fits = [fit for fit in fits_of(TARGETS, None, APART, seed=3) if fit.target == 0]
    found = list(out_of_fold(LABELLED, TARGETS, fits, seed=3, jobs=1, cache=tmp_path))
    low, centre, high = np.nanpercentile(NUMBER, [25, 50, 75])
    scaled = np.clip((NUMBER - centre) / ((high - low) / 1.35), -5, 5)
    beside = np.stack([np.nan_to_num(scaled), np.isnan(NUMBER)], 1).astype(np.float32)
    splits = list(StratifiedKFold(5, shuffle=True, random_state=3).split(CLASS, CLASS))
    for fit, predicted in zip(fits, found, strict=True):
        train, test = next(each for each in splits if each[1].tolist() == fit.test.tolist())
        inputs = np.hstack([INPUTS, beside]) if fit.others else INPUTS
        scaler = StandardScaler().fit(inputs[train])
        model = LogisticRegression(max_iter=300).fit(scaler.transform(inputs[train]), CLASS[train])
        np.testing.assert_allclose(predicted, model.predict_proba(scaler.transform(inputs[test])))


def test_what_belongs_together_stays_in_one_fold():
    groups = np.arange(ROWS) // 3
    for fit in fits_of(TARGETS, groups, APART, seed=0):
        assert not {*groups[fit.train]} & {*groups[fit.test]}


def test_a_copy_of_a_target_is_no_input():
    twins = [*TARGETS, replace(TARGETS[1], name="in other units", values=2.54 * NUMBER)]
    copies = np.zeros((3, 3), bool)
    copies[1, 2] = copies[2, 1] = True
    others = {(fit.target, fit.others) for fit in fits_of(twins, None, copies, seed=0)}
    assert others == {(0, ()), (0, (1, 2)), (1, ()), (1, (0,)), (2, ()), (2, (0,))}


def test_what_is_done_is_not_done_again(quick, tmp_path, monkeypatch):
    fits = fits_of(TARGETS, None, APART, seed=0)
    first = list(out_of_fold(LABELLED, TARGETS, fits, seed=0, jobs=1, cache=tmp_path))

    def refuse(*_):
        raise AssertionError("fitted again")

    monkeypatch.setitem(folds.OF_CLASSES, "logistic regression", refuse)
    monkeypatch.setitem(folds.OF_NUMBERS, "ridge", refuse)
    again = list(out_of_fold(LABELLED, TARGETS, fits, seed=0, jobs=1, cache=tmp_path))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    changed = [replace(TARGETS[0], values=1 - CLASS), TARGETS[1]]
    with pytest.raises(AssertionError, match="fitted again"):
        list(out_of_fold(LABELLED, changed, fits, seed=0, jobs=1, cache=tmp_path))


def test_a_class_that_no_training_row_has_gets_no_probability(quick, tmp_path):
    values = np.where(np.arange(ROWS) < 20, 2.0, CLASS)
    target = Target("three", "multiclass", values, ("a", "b", "c"))
    train, test = np.arange(20, ROWS), np.arange(20)
    fit = folds.Fit(0, "logistic regression", (), train, test)
    labelled = replace(LABELLED, targets=[target])
    (found,) = out_of_fold(labelled, [target], [fit], seed=0, jobs=1, cache=tmp_path)
    assert found.shape == (20, 3)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(1), 1)
