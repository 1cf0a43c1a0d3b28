r"""Many methods on few seeds: intervals that hold for all of them at once.

With 30 methods that are equal and 3 seeds, a paired t-test each calls some method better in a third
of the studies; and whichever looks best was picked by the same runs. Here, with the paired
differences :math:`D` of ``methods`` from a reference over ``S`` seeds,

.. math::
    \bar d_m \pm c \sqrt{\tilde v_m / S}, \qquad
    \tilde v_m = \tfrac34 v_m + \tfrac14 \, \mathrm{mean}_j v_j

:math:`v` is the variance over seeds, and :math:`c` the 95% quantile of
:math:`\max_m |\bar d_m| / \sqrt{\tilde v_m / S}` under normal errors with a shared reference, for
that number of methods, 1, 2, 4, … up to all, that are no copies of the reference for which it is
largest. With one method that is Student's t.

Values are ``(…, seeds, methods)`` in float64, larger is better.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

ERROR = 0.05
"""Probability that any interval of a study misses its value."""
POWER = 0.8
SHARE = 0.25
"""Of the mean variance over the methods in the variance of each."""
DRAWS = 10_000
FAR = 10
"""Robust standard deviations below its method's median at which a run has collapsed."""


class Intervals(NamedTuple):
    """Means with half the widths of their intervals, ``(…, methods)``."""

    mean: Floats
    half_width: Floats


def against(values: Floats, reference: Floats, *, overlap: float = 0.0) -> Intervals:
    """How much better methods are than a reference, in intervals that hold together at 95%.

    Args:
        values: of the methods, ``(…, seeds, methods)``.
        reference: its values, ``(…, seeds)``.
        overlap: test over training samples where each seed draws both anew from the same data: the
            variance of a mean of ``S`` seeds is then 1/S + overlap of a seed's (Nadeau and Bengio,
            2003), since their training parts overlap. 0 where all seeds have the same parts.

    Returns:
        Half widths are NaN for less than two seeds.
    """
    differences = values - reference[..., None]
    return _intervals(differences, _limit(differences, sides=2), overlap)


def may_be_best(values: Floats, *, overlap: float = 0.0) -> NDArray[np.bool_]:
    """Which methods no other beats, ``(…, methods)``; the best is among them at 95%.

    Each method is the reference of the others in turn, one-sided. For less than two seeds that is
    all of them.
    """
    methods = values.shape[-1]
    kept = np.ones((*values.shape[:-2], methods), bool)
    for method in range(methods if methods > 1 else 0):
        differences = np.delete(values, method, -1) - values[..., [method]]
        mean, half_width = _intervals(differences, _limit(differences, sides=1), overlap)
        kept[..., method] = ~(mean > half_width).any(-1)
    return kept


def detectable(values: Floats, reference: Floats, *, overlap: float = 0.0) -> float:
    """The difference from the reference that such a study finds with a probability of 80%.

    Simulated with normal errors of this study's spread, the same for each method.
    """
    differences = values - reference[:, None]
    seeds, methods = differences.shape
    if seeds < 2:
        return float("nan")
    spread = np.sqrt(differences.var(0, ddof=1).mean())
    return float(spread * _detectable(seeds, methods, overlap))


def collapsed(values: Floats) -> NDArray[np.bool_]:
    """Which runs ended far below their method's others, ``(seeds, methods)``.

    Far is ten robust standard deviations, of the method's own runs or of those of all methods
    around their medians, whichever is larger: few runs may be close by chance.
    """
    residuals = values - np.median(values, 0)
    apart = np.abs(residuals)
    scale = np.maximum(np.median(apart, 0), np.median(apart)) / stats.norm.ppf(0.75)
    far: NDArray[np.bool_] = (residuals < -FAR * scale) & (scale > 0)
    return far


def largest_rate(events: int, runs: int) -> float:
    """The largest rate of an event that so many of so many runs leave possible at 95%."""
    return 1.0 if events == runs else float(stats.beta.ppf(1 - ERROR, events + 1, runs - events))


def _intervals(differences: Floats, limit: float, overlap: float) -> Intervals:
    seeds = differences.shape[-2]
    if seeds < 2:
        mean = differences.mean(-2)
        return Intervals(mean, np.full_like(mean, np.nan))
    variance = differences.var(-2, ddof=1)
    regularised = _regularised(variance, variance.mean(-1, keepdims=True))
    half_width = limit * np.sqrt(regularised * (1 / seeds + overlap))
    return Intervals(differences.mean(-2), half_width)


def _regularised(variance: Floats, mean: Floats) -> Floats:
    return SHARE * mean + (1 - SHARE) * variance


def _limit(differences: Floats, sides: int) -> float:
    seeds, methods = differences.shape[-2:]
    return _critical(seeds, methods, sides) if seeds > 1 else float("nan")


@lru_cache(maxsize=256)
def _critical(seeds: int, methods: int, sides: int) -> float:
    """The quantile that the largest of the methods' statistics stays below, see the module."""
    if methods == 1:
        return float(stats.t.ppf(1 - ERROR / sides, seeds - 1))
    mean, variance = _null(seeds, methods)
    varying = sorted({2**power for power in range(methods.bit_length())} | {methods})
    return max(_quantile(mean[:, :k], variance[:, :k], seeds, methods, sides) for k in varying)


def _quantile(mean: Floats, variance: Floats, seeds: int, methods: int, sides: int) -> float:
    """If only these of the methods differ from the reference by more than nothing."""
    pooled = variance.sum(1, keepdims=True) / methods
    statistic = mean / np.sqrt(_regularised(variance, pooled) / seeds)
    largest = (np.abs(statistic) if sides == 2 else statistic).max(1)
    return float(np.quantile(largest, 1 - ERROR))


@lru_cache(maxsize=256)
def _detectable(seeds: int, methods: int, overlap: float) -> float:
    """In standard deviations of a paired difference."""
    mean, variance = _null(seeds, methods)
    regularised = _regularised(variance, variance.mean(1, keepdims=True))
    half_width = _critical(seeds, methods, 2) * np.sqrt(regularised * (1 / seeds + overlap))
    wanted = half_width[:, 0] - mean[:, 0] * np.sqrt(1 + seeds * overlap)
    return float(np.quantile(wanted, POWER) / np.sqrt(2))


def _null(seeds: int, methods: int) -> tuple[Floats, Floats]:
    """Means and variances over seeds of differences of equal methods, ``(draws, methods)``."""
    generator = np.random.default_rng(0)
    means, variances = [], []
    for _ in range(DRAWS // 1_000):  # of which all at once would not fit into a cache
        errors = generator.standard_normal((1_000, seeds, methods))
        errors -= generator.standard_normal((1_000, seeds, 1))
        means.append(errors.mean(1))
        variances.append(errors.var(1, ddof=1))
    return np.concatenate(means), np.concatenate(variances)
