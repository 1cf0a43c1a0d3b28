import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from equipoise.study.detection import separation


def made_up(seed=0, samples=60, tasks=3):
    generator = np.random.default_rng(seed)
    corrupted = generator.random((samples, tasks)) < [0.3, 0.5, 0]
    weights = generator.integers(0, 5, (samples, tasks)) + np.where(corrupted, 0, 1.5)
    weights[generator.random((samples, tasks)) < 0.2] = np.nan
    return weights.astype(np.float32), corrupted


def share_of_pairs(weights, wrong):
    """Of all pairs of a clean and a wrong label, in how many the clean one weighs more."""
    clean, bad = weights[~wrong], weights[wrong]
    wins = sum(float(one > other) + 0.5 * float(one == other) for one in clean for other in bad)
    return wins / (len(clean) * len(bad))


def test_is_the_mean_over_tasks_with_wrong_labels():
    weights, corrupted = made_up()
    areas = []
    for task in range(2):
        seen = ~np.isnan(weights[:, task])
        own, wrong = weights[seen, task], corrupted[seen, task]
        areas.append(roc_auc_score(~wrong, own))
        assert areas[-1] == pytest.approx(share_of_pairs(own, wrong))
    assert 0.6 < areas[0] < 1
    assert separation(weights, corrupted) == pytest.approx(np.mean(areas))


def test_what_was_not_seen_does_not_count():
    weights, corrupted = made_up()
    seen = ~np.isnan(weights[:, 1])
    weights[seen & corrupted[:, 1], 1] = np.nan
    assert separation(weights, corrupted) == pytest.approx(
        separation(weights[:, :1], corrupted[:, :1])
    )
    assert math.isnan(separation(np.full_like(weights, np.nan), corrupted))
    assert math.isnan(separation(weights, np.zeros_like(corrupted)))


def test_ends_of_the_scale():
    corrupted = np.array([[True], [False], [True], [False]])
    assert separation(np.array([[0.0], [1], [0.5], [2]]), corrupted) == 1
    assert separation(np.array([[3.0], [1], [3.5], [2]]), corrupted) == 0
    assert separation(np.ones((4, 1)), corrupted) == 0.5


def test_within_a_class_what_the_class_alone_tells_counts_nothing():
    classes = np.repeat([0, 1], [80, 20])[:, None]
    corrupted = np.random.default_rng(0).random((100, 1)) < np.where(classes, 0.8, 0.1)
    by_class = 1.0 - classes
    assert separation(by_class, corrupted) > 0.7
    assert separation(by_class, corrupted, classes) == 0.5
    values = by_class + np.random.default_rng(1).normal(0, 0.5, (100, 1)) - 0.3 * corrupted
    pairs = [
        (one, other)
        for each in (0, 1)
        for one in values[(classes == each) & ~corrupted]
        for other in values[(classes == each) & corrupted]
    ]
    expected = np.mean([one > other for one, other in pairs])
    assert separation(values, corrupted, classes) == pytest.approx(expected)
