"""What is believed of numbers, against plain likelihoods and made-up errors."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from equipoise.study.auditing.numbers import together

ERRORS = {
    "another row's": lambda labels, rng: rng.permutation(labels),
    "ten times": lambda labels, rng: 10 * labels,
    "negative": lambda labels, rng: -labels,
}


def made_up(rows=600, seed=0, spread=1.0):
    """True numbers and two predictions of them, one better than the other."""
    rng = np.random.default_rng(seed)
    true = rng.normal(50, 15, rows)
    close = true + spread * rng.standard_t(5, rows)
    far = true + 8 * spread * rng.normal(0, 1, rows)
    return true, np.stack([close, far]), rng


def unknown(given):
    return np.full(len(given), np.nan)


def test_a_single_model_has_the_likeliest_spread_and_share():
    true, predictions, rng = made_up(300)
    given = np.where(rng.random(300) < 0.1, rng.permutation(true), true)
    low, high = np.percentile(given, [25, 75])
    inner = np.clip(given, *np.percentile(given, [1, 99]))
    width = 2 * max((high - low) / 1.35, inner.std() / 2)
    anywhere = stats.t.pdf((given - np.median(given)) / width, 1) / width

    def densities(parameters):
        scale, share = np.exp(parameters[0]), 1 / (1 + np.exp(-parameters[1]))
        right = (1 - share) * stats.t.pdf((given - predictions[0]) / scale, 3) / scale
        return right, share * anywhere

    best = minimize(lambda x: -np.log(sum(densities(x))).sum(), [0.0, -2.0], method="Nelder-Mead")
    right, off = densities(best.x)
    truth = together(predictions[:1], given, unknown(given))
    # Errors that grow with the size may be a little likelier by chance.
    np.testing.assert_allclose(truth.wrong, off / (right + off), atol=0.06)


@pytest.mark.parametrize("error", ERRORS)
def test_flags_are_as_right_as_they_say(error):
    true, predictions, rng = made_up()
    bad = rng.random(len(true)) < 0.1
    given = np.where(bad, ERRORS[error](true, rng), true)
    truth = together(predictions, given, unknown(given))
    flagged = truth.wrong > 0.5
    # Another row's number is often near the right one.
    assert flagged[bad].mean() > (0.35 if error == "another row's" else 0.7)
    assert bad[flagged].mean() > truth.wrong[flagged].mean() - 0.06
    # Which is why there are more of them than can be told.
    most = 1.0 if error == "another row's" else truth.share[1]
    assert truth.share[0] <= bad.mean() <= most


@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_nothing_is_flagged_where_nothing_is_wrong(spread):
    true, predictions, _ = made_up(spread=spread)
    truth = together(predictions, true, unknown(true))
    assert (truth.wrong > 0.5).mean() < 0.005
    assert truth.share[0] < 0.005


def test_errors_that_grow_with_the_number_are_no_wrong_numbers():
    rng = np.random.default_rng(0)
    true = np.exp(rng.normal(3, 1, 800))
    truth = together(np.stack([true * np.exp(rng.normal(0, 0.1, 800))]), true, unknown(true))
    assert (truth.wrong > 0.5).mean() < 0.01


def test_a_column_that_is_mostly_zero_has_a_spread():
    rng = np.random.default_rng(0)
    true = np.where(rng.random(400) < 0.9, 0.0, rng.exponential(5, 400))
    truth = together(np.stack([true + rng.normal(0, 0.1, 400)]), true, unknown(true))
    assert np.isfinite(truth.wrong).all()
    assert (truth.wrong > 0.5).mean() < 0.02


def test_what_is_known_to_be_wrong_says_where_wrong_numbers_are():
    true, predictions, rng = made_up(spread=5.0)
    bad = rng.random(len(true)) < 0.3
    given = np.where(bad, rng.permutation(true), true)
    known = np.where(np.arange(len(true)) < 200, bad.astype(float), np.nan)
    truth = together(predictions, given, known)
    assert (truth.wrong[:200] == bad[:200]).all()
    assert abs(truth.wrong.mean() - bad.mean()) < 0.1
