"""How likely each given number is wrong, from out-of-fold predictions.

A given number g is a true one, near what the models predict, or a wrong one, which may be anywhere:
p(g) = (1 − ε) Σ_m π_m t₃((g − ŷ_m) / s_m) / s_m + ε t₁((g − c) / 2s) / 2s. Each spread s_m, then
the weights π and the share ε of wrong ones are fitted by expectation maximisation. Student's t with
3 degrees of freedom lets a true number be off at times; that of a wrong one has the centre c and
twice the spread s of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize_scalar

from equipoise.study.auditing.likelihood import interval

Floats = NDArray[np.float64]

DEGREES = 3
FLOOR = 1e-3
"""Smallest spread of a model, in that of the labels: for columns that are mostly one value."""
WIDTH = 2
"""Of where wrong numbers are, in the spread of all: wide, so that far ones are likely there too."""
NORMAL = 1.35
"""Standard deviations between the quartiles of a normal distribution."""
POWERS = (0.0, 0.5, 1.0)
"""Of the size of a prediction, that errors may grow with."""
SMALLEST = 0.1
"""In the median size: below it errors are no smaller."""
FEWEST_WRONG, MOST_WRONG, START = 1e-6, 0.5, 0.05
"""Shares: bounds of what is fitted, and where that begins."""
FACTORS = (-3.0, 1.0)
"""Logarithms, between which spreads change with the share of wrong numbers."""
MOST_ROWS = 5_000
"""That an interval is computed from."""
ROUNDS = 300
ENOUGH = 1e-7
"""Rise of the mean log likelihood, or change of a spread in it, below which a fit has converged."""
TINY = 1e-300


@dataclass(frozen=True)
class Truth:
    """What is believed of numbers."""

    wrong: Floats
    """The probability that each given number is wrong ``(rows,)``."""
    likely: Floats
    """What the models predict ``(rows,)``."""
    share: tuple[float, float]
    """Of wrong numbers, the ends of its interval."""


def together(predictions: Floats, given: Floats, known: Floats) -> Truth:
    """The mixture under which the given numbers are most likely.

    Args:
        predictions: out of fold ``(members, rows)``.
        given: numbers ``(rows,)``.
        known: 1 for a number that is known to be wrong, 0 for one known to be right, else NaN.
    """
    spread = _spread(given)
    anywhere = stats.cauchy.pdf(given, np.median(given), WIDTH * spread)
    spreads = np.stack([_spreads(given, each, anywhere, known, spread) for each in predictions])
    right = _density(given - predictions, spreads)
    weights, share, last = np.full(len(predictions), 1 / len(predictions)), START, -np.inf
    for _ in range(ROUNDS):
        joint = weights[:, None] * right
        wrong, total = _wrong(joint.sum(0), anywhere, known, share)
        value = float(np.log(total).mean())
        if value - last < ENOUGH:
            break
        last = value
        weights = (joint / np.maximum(joint.sum(0), TINY)) @ (1 - wrong)
        weights /= weights.sum()
        share = _bounded(wrong)
    some = slice(None, None, -(-len(given) // MOST_ROWS))
    residuals, spreads = (given - predictions)[:, some], spreads[:, some]

    def log_likelihood(share: float) -> float:
        """Of all, if so many are wrong, and all models' spreads grow or fall as that asks for."""

        def loss(log_factor: float) -> float:
            right = weights @ _density(residuals, np.exp(log_factor) * spreads)
            return -float(np.log(_wrong(right, anywhere[some], known[some], share)[1]).mean())

        return -len(given) * float(minimize_scalar(loss, bounds=FACTORS, method="bounded").fun)

    ends = interval(log_likelihood, share, FEWEST_WRONG, MOST_WRONG)
    return Truth(wrong, weights @ predictions, ends)


def _spreads(
    given: Floats, predicted: Floats, anywhere: Floats, known: Floats, spread: float
) -> Floats:
    """The spread of each number about one model's prediction, if it is right, ``(rows,)``.

    Errors are alike everywhere, or grow with the size of what is predicted or with its root, as the
    numbers say. That is fitted before models are mixed: else one of them would widen until it
    explains the wrong numbers.
    """
    size = np.abs(predicted)
    size = np.maximum(size, max(float(np.median(size)) * SMALLEST, TINY))
    fits = [
        _fitted(given - predicted, size**power / np.median(size**power), anywhere, known, spread)
        for power in POWERS
    ]
    return max(fits, key=lambda fit: fit[0])[1]


def _fitted(
    residuals: Floats, shape: Floats, anywhere: Floats, known: Floats, spread: float
) -> tuple[float, Floats]:
    """The mean log likelihood of residuals, and their spreads, in proportion to a shape."""
    floor = FLOOR * spread
    scale = max(float(stats.median_abs_deviation(residuals / shape, scale="normal")), floor)
    share = START
    for _ in range(ROUNDS):
        wrong, total = _wrong(_density(residuals, scale * shape), anywhere, known, share)
        squares = np.square(residuals / shape)
        pull = (1 - wrong) * (DEGREES + 1) / (DEGREES + squares / scale**2)
        last, share = scale, _bounded(wrong)
        scale = max(float(np.sqrt(pull @ squares / max((1 - wrong).sum(), 1))), floor)
        if abs(scale - last) < ENOUGH * scale:
            break
    return float(np.log(total).mean()), scale * shape


def _density(residuals: Floats, spreads: Floats) -> Floats:
    found: Floats = stats.t.pdf(residuals / spreads, DEGREES) / spreads
    return found


def _wrong(right: Floats, anywhere: Floats, known: Floats, share: float) -> tuple[Floats, Floats]:
    """The probability that each number is wrong, and its density, ``(rows,)`` both."""
    right, off = (1 - share) * right, share * anywhere
    right, off = np.where(known == 1, 0, right), np.where(known == 0, 0, off)
    total = np.maximum(right + off, TINY)
    return off / total, total


def _bounded(wrong: Floats) -> float:
    return float(np.clip(wrong.mean(), FEWEST_WRONG, MOST_WRONG))


def _spread(given: Floats) -> float:
    """A robust standard deviation that is not 0 where most numbers are one."""
    low, high = np.percentile(given, [25, 75])
    inner = np.clip(given, *np.percentile(given, [1, 99]))
    return float(max((high - low) / NORMAL, inner.std() / 2, given.std() * FLOOR))
