"""How likely each given class is wrong, from out-of-fold probabilities.

A given class g of a row is its true one y, or y was taken for it: P(g) = Σ_y T(g | y) p(y). Models
learn from given classes, so their probabilities are flat where labels are noisy; a temperature and
the matrix T are fitted together, by the likelihood of what is given, so that p is of the true one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from equipoise.study.auditing.likelihood import interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNKNOWN = -1
"""In place of a class that is known."""
LEAST = 1e-4
"""Probability below which no model can be believed."""
MOST_WRONG, FEWEST_WRONG = 0.5, 1e-4
"""Shares of a class: beyond the first nothing can be told, and the second keeps an order."""
SHARPEST = 8.0
"""Largest power to which probabilities are raised, the inverse of the temperature."""
STARTS = (0.01, 0.1)
"""Rates of wrong labels from which a fit begins."""
ROUNDS = 40
STEPS = 5
"""Of expectation maximisation between two fits of the temperature."""
MOST_ROWS = 5_000
"""Rows that a temperature and a matrix of flips are fitted to; more change nothing."""
ENOUGH = 1e-7
"""Rise of the mean log likelihood below which a fit has converged."""
TINY = 1e-300


@dataclass(frozen=True)
class Truth:
    """What is believed of the true classes, and of how they are taken for others."""

    probabilities: Floats
    """Of the true class ``(rows, classes)``, by the models alone."""
    flips: Floats
    """P(given | true) ``(true, given)``."""
    likelihood: Floats
    """Of the given class of each row, and of the known true one, ``(rows,)``."""

    def posterior(self, given: Ints) -> Floats:
        """Probabilities of the true class in view of the given one ``(rows, classes)``."""
        return _normalised(self.probabilities * self.flips[:, given].T)


@dataclass(frozen=True)
class _Fit:
    """A temperature and a matrix of flips."""

    sharpness: float
    """Power of the probabilities, the inverse of the temperature."""
    flips: Floats
    criterion: float
    """Bayes' information criterion: smaller is better."""


Form = Callable[[Floats], Floats]
"""From counts ``(true, given)`` to the matrix of flips that a form allows."""


def fit(probabilities: Floats, given: Ints, known: Ints, *, simple: bool = False) -> Truth:
    """The truth that makes the given classes likely, with as few parameters as that takes.

    Of three forms of flips: one rate, a rate of each true class, one of each pair of classes.

    Args:
        probabilities: of the given class, out of fold, ``(rows, classes)``.
        given: index of the given class ``(rows,)``.
        known: index of the true class ``(rows,)``, or ``UNKNOWN``.
        simple: whether to try the first form only, and from one start.
    """
    classes = probabilities.shape[1]
    forms: list[Form] = [_one_rate]
    if not simple:
        forms += [_rate_by_class, _rate_by_pair] if classes > 2 else [_rate_by_class]
    logits = np.log(np.maximum(probabilities, LEAST))
    possible = _possible(known, classes)
    some = _some(given)
    starts = _starts(probabilities[some], given[some])[: 1 if simple else None]
    fits = [
        _fitted(logits[some], given[some], possible[some], form, start)
        for form in forms
        for start in starts
    ]
    best = min(fits, key=lambda each: each.criterion)
    truth = _sharpened(logits, best.sharpness)
    likelihood = _likelihood(truth, given, possible, best.flips)
    return Truth(truth, best.flips, likelihood)


def together(
    members: Sequence[Floats], given: Ints, known: Ints
) -> tuple[Truth, tuple[float, float]]:
    """The truth by several models, each calibrated and weighed by what it makes likely.

    And the share of wrong classes, in the ends of its interval.
    """
    each = [fit(probabilities, given, known, simple=True) for probabilities in members]
    weights = mixture_weights(np.stack([truth.likelihood for truth in each]))
    mixed = np.tensordot(weights, np.stack([truth.probabilities for truth in each]), 1)
    truth = fit(mixed, given, known)
    return truth, _share(mixed, given, known, truth.flips, truth.probabilities.mean(0))


def _share(
    probabilities: Floats, given: Ints, known: Ints, flips: Floats, classes: Floats
) -> tuple[float, float]:
    """The share of wrong classes by likelihood, where all rates of flips grow and fall together.

    Models that are right about the given classes are so for any share that leaves no probability
    below zero once flips are taken out of it. So beside the sharpened probabilities those without
    flips may be the truth.
    """
    some = _some(given)
    own, given_some, possible = probabilities[some], given[some], _possible(known, len(classes))
    logits, possible = np.log(np.maximum(own, LEAST)), possible[some]
    off = flips - np.eye(len(classes))
    rate = -float(classes @ off.diagonal())

    def log_likelihood(share: float) -> float:
        grown = np.eye(len(classes)) + share / rate * off
        without = _normalised(np.maximum(own @ np.linalg.pinv(grown), LEAST))
        sharpened = _sharpened(logits, _sharpest(logits, given_some, possible, grown))
        return max(
            len(given) * float(np.log(_likelihood(each, given_some, possible, grown)).mean())
            for each in (sharpened, without)
        )

    most = MOST_WRONG * rate / -float(off.diagonal().min())
    return interval(log_likelihood, rate, min(FEWEST_WRONG, rate), most)


def _some(given: Ints) -> slice:
    return slice(None, None, -(-len(given) // MOST_ROWS))


def mixture_weights(likelihoods: Floats) -> Floats:
    """Weights ``(members,)`` of the mixture under which all rows are most likely.

    Args:
        likelihoods: of each row under each member ``(members, rows)``.
    """
    weights = np.full(len(likelihoods), 1 / len(likelihoods))
    last = -np.inf
    for _ in range(ROUNDS * STEPS):
        joint = weights[:, None] * likelihoods
        total = joint.sum(0)
        weights = (joint / total).mean(1)
        value = float(np.log(total).mean())
        if value - last < ENOUGH:
            break
        last = value
    return weights


def _starts(probabilities: Floats, given: Ints) -> list[Floats]:
    """Counts of flips from which a fit begins: those that the models see, few, and many."""
    classes = probabilities.shape[1]
    alike = [np.eye(classes) * (1 - rate) + rate / classes for rate in STARTS]
    predicted = np.eye(classes)[probabilities.argmax(1)]
    return [predicted.T @ np.eye(classes)[given] + 0.5, *alike]


def _fitted(logits: Floats, given: Ints, possible: Floats, form: Form, start: Floats) -> _Fit:
    onehot = np.eye(logits.shape[1])[given]
    flips, last = form(start), -np.inf
    for _ in range(ROUNDS):
        sharpness = _sharpest(logits, given, possible, flips)
        truth = _sharpened(logits, sharpness)
        for _ in range(STEPS):
            counts = _normalised(truth * possible * flips[:, given].T).T @ onehot
            flips = form(counts)
        value = float(np.log(_likelihood(truth, given, possible, flips)).mean())
        if value - last < ENOUGH:
            break
        last = value
    penalty = (1 + _parameters(form, counts)) * float(np.log(len(given)))
    return _Fit(sharpness, flips, penalty - 2 * len(given) * value)


def _parameters(form: Form, counts: Floats) -> int:
    """How many rates are fitted; of pairs, those that a row or more is expected to be of."""
    if form is _rate_by_pair:
        return int(np.count_nonzero(counts - np.diag(counts.diagonal()) > 1))
    return 1 if form is _one_rate else len(counts)


def _sharpest(logits: Floats, given: Ints, possible: Floats, flips: Floats) -> float:
    """The power of the probabilities under which the given classes are most likely."""

    def loss(log_sharpness: float) -> float:
        truth = _sharpened(logits, float(np.exp(log_sharpness)))
        return -float(np.log(_likelihood(truth, given, possible, flips)).mean())

    bounds = (-np.log(SHARPEST), np.log(SHARPEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def _sharpened(logits: Floats, sharpness: float) -> Floats:
    found: Floats = np.exp(log_softmax(sharpness * logits, axis=1))
    return found


def _likelihood(truth: Floats, given: Ints, possible: Floats, flips: Floats) -> Floats:
    found: Floats = np.maximum((truth * possible * flips[:, given].T).sum(1), TINY)
    return found


def _possible(known: Ints, classes: int) -> Floats:
    """1 for each class that the true one may be, else 0, ``(rows, classes)``."""
    found = np.ones((len(known), classes))
    rows = known != UNKNOWN
    found[rows] = np.eye(classes)[known[rows]]
    return found


def _normalised(joint: Floats) -> Floats:
    found: Floats = joint / np.maximum(joint.sum(1, keepdims=True), TINY)
    return found


def _one_rate(counts: Floats) -> Floats:
    rate = 1 - counts.trace() / max(counts.sum(), TINY)
    return _spread(np.full(len(counts), rate), np.ones_like(counts))


def _rate_by_class(counts: Floats) -> Floats:
    return _spread(_rates(counts), np.ones_like(counts))


def _rate_by_pair(counts: Floats) -> Floats:
    return _spread(_rates(counts), counts)


def _rates(counts: Floats) -> Floats:
    found: Floats = 1 - counts.diagonal() / np.maximum(counts.sum(1), TINY)
    return found


def _spread(rates: Floats, shares: Floats) -> Floats:
    """A matrix of flips with a rate of each class, spread over the others in proportion."""
    rates = np.clip(rates, FEWEST_WRONG, MOST_WRONG)
    off = np.maximum(shares, TINY) * (1 - np.eye(len(rates)))
    flips: Floats = rates[:, None] * off / off.sum(1, keepdims=True) + np.diag(1 - rates)
    return flips
