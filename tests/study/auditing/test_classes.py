"""What is believed of classes, against plain likelihoods and made-up errors."""

import numpy as np
import pytest
from scipy.optimize import minimize

from equipoise.study.auditing.classes import UNKNOWN, fit, mixture_weights, together


def made_up(rows, classes, flips, seed=0, strength=3.0):
    """Probabilities of a model, flattened as by noise, and given classes; and the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    logits = rng.normal(0, 1, (rows, classes))
    logits[np.arange(rows), true] += strength
    given = np.array([rng.choice(classes, p=flips[each]) for each in true])
    flat = np.exp(logits / 2)
    return flat / flat.sum(1, keepdims=True), given, true


def one_rate(classes, rate):
    return np.eye(classes) * (1 - rate) + (1 - np.eye(classes)) * rate / (classes - 1)


def nothing(given):
    return np.full(len(given), UNKNOWN)


def plain_posterior(probabilities, given, sharpness, flips):
    """Bayes' rule, row by row."""
    found = []
    for row, told in zip(probabilities, given, strict=True):
        sharp = np.maximum(row, 1e-4) ** sharpness
        joint = [p / sharp.sum() * flips[true][told] for true, p in enumerate(sharp)]
        found.append([each / sum(joint) for each in joint])
    return np.array(found)


def test_one_rate_is_that_of_the_largest_likelihood():
    probabilities, given, _ = made_up(300, 3, one_rate(3, 0.2))

    def loss(parameters):
        sharpness, rate = np.exp(parameters[0]), 1 / (1 + np.exp(-parameters[1]))
        total = 0.0
        for row, told in zip(probabilities, given, strict=True):
            sharp = np.maximum(row, 1e-4) ** sharpness
            sharp = sharp / sharp.sum()
            total -= np.log(sum(p * one_rate(3, rate)[k][told] for k, p in enumerate(sharp)))
        return total

    best = minimize(loss, [0.5, -2.0], method="Nelder-Mead", options={"maxiter": 120})
    sharpness, rate = np.exp(best.x[0]), 1 / (1 + np.exp(-best.x[1]))
    truth = fit(probabilities, given, nothing(given), simple=True)
    np.testing.assert_allclose(truth.flips, one_rate(3, rate), atol=0.01)
    expected = plain_posterior(probabilities, given, sharpness, one_rate(3, rate))
    np.testing.assert_allclose(truth.posterior(given), expected, atol=0.03)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("rate", [0.0, 0.15, 0.3])
def test_flags_are_as_right_as_they_say(classes, rate):
    probabilities, given, true = made_up(2_000, classes, one_rate(classes, rate), strength=4.0)
    truth, (low, high) = together([probabilities, probabilities**2], given, nothing(given))
    wrong = 1 - truth.posterior(given)[np.arange(len(given)), given]
    flagged = wrong > 0.5
    assert low - 1e-4 <= (given != true).mean() <= high
    if rate == 0:
        assert flagged.mean() < 0.005
    else:
        said, right = wrong[flagged].mean(), (given != true)[flagged].mean()
        # They may be righter: a rate can be taken for a model that is not sure.
        assert said - 0.06 < right
        assert flagged[given != true].mean() > 0.6


def test_flips_of_one_class_into_another_are_found_to_be_so():
    flips = np.eye(3)
    flips[0] = [0.7, 0.3, 0.0]
    probabilities, given, true = made_up(3_000, 3, flips, strength=4.0)
    truth, _ = together([probabilities], given, nothing(given))
    np.testing.assert_allclose(truth.flips, flips, atol=0.05)
    wrong = 1 - truth.posterior(given)[np.arange(len(given)), given]
    assert (given == 1)[wrong > 0.5].mean() > 0.97
    assert abs((given != true)[wrong > 0.5].mean() - wrong[wrong > 0.5].mean()) < 0.06


def test_what_is_known_is_believed():
    probabilities, given, true = made_up(500, 2, one_rate(2, 0.3))
    known = np.where(np.arange(500) < 250, true, UNKNOWN)
    truth = fit(probabilities, given, known)
    rate = (given != true)[:250].mean()
    assert abs(1 - truth.flips.diagonal().mean() - rate) < 0.06


def test_weights_are_those_of_the_likeliest_mixture():
    rng = np.random.default_rng(0)
    likelihoods = rng.random((3, 200)) ** [[1], [2], [3]]

    def loss(logits):
        weights = np.exp(logits) / np.exp(logits).sum()
        return -np.log(weights @ likelihoods).sum()

    best = minimize(loss, np.zeros(3)).x
    expected = np.exp(best) / np.exp(best).sum()
    np.testing.assert_allclose(mixture_weights(likelihoods), expected, atol=5e-3)
