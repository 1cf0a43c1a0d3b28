"""Between which values a parameter is, by the likelihood of the data."""

from __future__ import annotations

from collections.abc import Callable

from scipy import stats
from scipy.optimize import brentq

from equipoise.study.intervals import CONFIDENCE

FALL = float(stats.chi2.ppf(CONFIDENCE, 1)) / 2
"""Of the log likelihood, at the ends of an interval."""
ENOUGH = 1e-3


def interval(
    log_likelihood: Callable[[float], float], best: float, low: float, high: float
) -> tuple[float, float]:
    """The ends of an interval, by the ratio of likelihoods.

    Args:
        log_likelihood: of all data at a value, at its most likely other parameters.
        best: the most likely value.
        low: the least it may be.
        high: the most.
    """
    least = log_likelihood(best) - FALL

    def above(value: float) -> float:
        return log_likelihood(value) - least

    ends = (
        end if above(end) >= 0 else float(brentq(above, end, best, xtol=ENOUGH))
        for end in (low, high)
    )
    return next(ends), next(ends)
