"""Means with their intervals, and how figures are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean, and half the width of its 95% interval."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        if math.isnan(self.half_width):
            return self.mean_text
        decimals = self._decimals
        width = f"{self.half_width:.2g}" if decimals is None else f"{self.half_width:.{decimals}f}"
        return f"{self.mean_text} ± {width}"

    @property
    def signed(self) -> str:
        """The text, with a plus where it is above zero."""
        return f"{'+' if self.mean > 0 else ''}{self}"

    @property
    def ranged(self) -> str:
        """The mean, and from where to where the interval goes."""
        decimals = self._decimals
        low, high = self.mean - self.half_width, self.mean + self.half_width
        shown = [format_number(low), format_number(high)]
        if decimals is not None:
            shown = [f"{each:.{decimals}f}" for each in (low, high)]
        return f"{self.mean_text} [{', '.join(shown)}]"

    @property
    def mean_text(self) -> str:
        """The mean to as many digits as the interval lets stand."""
        decimals = self._decimals
        return format_number(self.mean) if decimals is None else f"{self.mean:.{decimals}f}"

    @property
    def _decimals(self) -> int | None:
        if not 1e-6 < self.half_width < 1e6:
            return None
        return max(0, 1 - math.floor(math.log10(self.half_width)))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and half width of its 95% Student t interval, which a single value does not have."""
    number = len(values)
    mean = sum(values) / number if number else math.nan
    if number < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, number - 1)
    return Interval(mean, float(quantile * stats.sem(values)))


def format_share(share: float, low: float, high: float) -> str:
    """A share and its interval, in percent."""
    ends = (f"{100 * min(max(end, 0), 1):.1f}" for end in (low, high))
    return f"{100 * share:.1f}% [{', '.join(ends)}]"


def format_number(value: float) -> str:
    """Four digits, and a dash for what is undefined."""
    return "–" if math.isnan(value) else f"{value:#.4g}".rstrip(".")


def tied(means: Sequence[float], texts: Sequence[str], goal: str) -> list[bool]:
    """Which are best: the best mean, and those that are equal to it as they are shown."""
    sound = [mean for mean in means if not math.isnan(mean)]
    if not sound:
        return [False] * len(means)
    best = min(sound) if goal == "min" else max(sound)
    shown = texts[means.index(best)]
    return [
        mean == best or (text == shown and not math.isnan(mean))
        for mean, text in zip(means, texts, strict=True)
    ]
