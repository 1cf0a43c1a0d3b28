"""Several studies together: which method is ahead over many problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from equipoise.errors import UserError
from equipoise.study.inference import ERROR
from equipoise.study.names import IDEAL
from equipoise.study.results import Results


@dataclass(frozen=True)
class Together:
    """Methods by their places in several studies."""

    places: pd.DataFrame
    """A row a study, a column a method, best mean place first; 1 for the best objective."""
    statistic: float
    """Of Friedman's test that all methods are alike."""
    p_value: float
    critical_difference: float
    """Nemenyi's: mean places that are further apart are told from each other at 95%."""

    @property
    def mean_places(self) -> pd.Series[float]:
        """By method, best first."""
        mean: pd.Series[float] = self.places.mean()
        return mean

    @property
    def verdict(self) -> str:
        """What to make of it, in a sentence or two."""
        number, mean = len(self.places), self.mean_places
        if self.p_value >= ERROR:
            return (
                f"Over {number} studies no method can be told from the others (Friedman's test, "
                f"p = {self.p_value:.2g})."
            )
        behind = mean[mean > mean.iloc[0] + self.critical_difference].index
        said = f"Over {number} studies methods differ (Friedman's test, p = {self.p_value:.2g})"
        if not len(behind):
            return f"{said}, but by no more than {self.critical_difference:.2f} places."
        return f"{said}; {mean.index[0]} is ahead of {', '.join(behind)}."


def together(studies: Sequence[Results]) -> Together:
    r"""Compare methods over studies by their places: Friedman's test, and Nemenyi's after it.

    .. math:: CD = \frac{q_{0.95}}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 N}}

    for k methods and N studies, with the quantile of the studentised range (Demšar, 2006). A method
    without an objective in a study, such as one that diverged, is last there.

    Raises:
        UserError: for less than three studies, methods that they do not all have, a study twice, or
            one that is not finished.
    """
    if len(studies) < 3:
        raise UserError(f"places are compared over three studies at least, found {len(studies)}")
    folders = [results.folder.resolve() for results in studies]
    if len(set(folders)) < len(folders):
        raise UserError("the same study is there more than once")
    for results in studies:
        if not results.comparison.finished:
            raise UserError(f"{results.folder} is not finished: give its command again, then this")
    common = set.intersection(
        *({row.method for row in each.comparison.methods} for each in studies)
    )
    methods = sorted(common - {IDEAL})
    if len(methods) < 3:
        shown = f"only {', '.join(methods)}" if methods else "none"
        raise UserError(
            f"places are of three methods at least that all studies have, found {shown}"
        )
    places = pd.DataFrame([_places(results, methods) for results in studies])
    places.index = pd.Index([str(results.folder) for results in studies], name="study")
    places = places[places.mean().sort_values(kind="stable").index]
    statistic, p_value = stats.friedmanchisquare(*places.to_numpy().T)
    number, count = len(studies), len(methods)
    quantile = stats.studentized_range.ppf(1 - ERROR, count, np.inf)
    difference = quantile / math.sqrt(2) * math.sqrt(count * (count + 1) / (6 * number))
    return Together(places, float(statistic), float(p_value), difference)


def _places(results: Results, methods: Sequence[str]) -> dict[str, float]:
    """Ties share their mean place."""
    summary = results.comparison
    sign = -1 if summary.goals[summary.objective] == "max" else 1
    means = {row.method: sign * row.metrics[summary.objective].mean for row in summary.methods}
    values = [math.inf if math.isnan(means[method]) else means[method] for method in methods]
    return dict(zip(methods, stats.rankdata(values).tolist(), strict=True))
