"""What networks predict out of fold."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing import network
from equipoise.study.auditing.folds import folds_of
from equipoise.study.auditing.network import TRAININGS, by_network

ROWS = 300
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(ROWS, 4)).astype(np.float32)
CLASS = INPUTS[:, :3].argmax(1).astype(float)
NUMBER = np.where(RNG.random(ROWS) < 0.2, np.nan, 1_000 + 50.0 * INPUTS[:, 3])
TARGETS = [
    Target("class", "multiclass", CLASS, ("a", "b", "c")),
    Target("number", "regression", NUMBER),
]


@pytest.fixture
def few_steps(monkeypatch):
    """In this process; others have all of them."""
    monkeypatch.setattr(network, "FEWEST_STEPS", 250)


def two_layers(outputs):
    return nn.Sequential(nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, outputs))


def labelled(targets=TARGETS):
    rows = np.arange(1, ROWS + 1)
    return Labelled(INPUTS, targets, rows, pd.DataFrame(INPUTS), network=two_layers)


def predicted(tmp_path, samples, **options):
    done = []
    options = {"seed": 0, "jobs": 1, "cache": tmp_path, **options}
    found = by_network(samples, samples.targets, advance=lambda: done.append(1), **options)
    assert len(done) == TRAININGS
    return found


def test_classes_and_numbers_are_learned_from_the_other_folds(tmp_path, few_steps):
    classes, numbers = predicted(tmp_path, labelled())
    assert classes.shape == (ROWS, 3)
    np.testing.assert_allclose(classes.sum(1), 1, atol=1e-6)
    assert (classes.argmax(1) == CLASS).mean() > 0.9
    there = ~np.isnan(NUMBER)
    assert np.abs(numbers - NUMBER)[there].mean() < 10


def test_a_label_tells_nothing_of_itself(tmp_path, few_steps):
    """Labels that are drawn at random cannot be predicted, however well they are learned."""
    drawn = [Target("coin", "binary", RNG.integers(0, 2, ROWS).astype(float), ("0", "1"))]
    (found,) = predicted(tmp_path, labelled(drawn))
    right = found[np.arange(ROWS), drawn[0].values.astype(int)]
    assert abs(right.mean() - 0.5) < 0.06


def test_the_look_that_counts_is_the_likeliest_out_of_fold():
    target = TARGETS[0]
    right = torch.nn.functional.one_hot(torch.from_numpy(CLASS).long(), 3).float()
    looks = torch.stack([torch.zeros_like(right), 3 * right, 9 * right.roll(1, 0)])
    found = network._best(looks.expand(2, -1, -1, -1), target)
    np.testing.assert_allclose(found, (3 * right).softmax(1).numpy(), rtol=1e-6)


def test_every_label_is_in_the_fold_that_the_other_models_have():
    folds = network._fold_of_labels(labelled(), TARGETS, seed=3)
    for place, target in enumerate(TARGETS):
        assert ((folds[:, place] >= 0) == ~np.isnan(target.values)).all()
        for number, (_, test) in enumerate(folds_of(target, None, 3)):
            assert (np.flatnonzero(folds[:, place] == number) == test).all()


def test_it_goes_on_where_it_was_stopped_and_leaves_the_random_state(
    tmp_path, few_steps, monkeypatch
):
    before = torch.get_rng_state()
    first = predicted(tmp_path, labelled())
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(network, "_looked", None)  # so that nothing can be trained
    for one, other in zip(first, predicted(tmp_path, labelled()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_made_by_a_function_reaches_other_processes(tmp_path):
    classes, _ = predicted(tmp_path, labelled(), jobs=2)
    assert (classes.argmax(1) == CLASS).mean() > 0.9
