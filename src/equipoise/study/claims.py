"""Claims of papers, as tests on what runs say."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from equipoise.study.inference import against
from equipoise.study.intervals import Interval
from equipoise.study.results import Results

Outcome: TypeAlias = Literal["held", "did not hold", "too few seeds to say"]
Studies: TypeAlias = Mapping[str, Results]
"""What differs between the studies of a reproduction → a study."""
Judge: TypeAlias = Callable[[Any], tuple[Outcome, str]]
"""From :data:`Studies`, or other findings, to what came of it and the figures that say so."""


@dataclass(frozen=True)
class Claim:
    """What a paper says, and the test of it."""

    text: str
    judge: Judge


def better(method: str, over: str = "constant", *, where: Collection[str] | None = None) -> Judge:
    """A method's objective is better than another's in every study.

    Each is a paired t-test at 5%; that all of them say so needs no correction for their number.

    Args:
        method: by its label.
        over: the other one.
        where: the studies that the claim is about; all of them by default.
    """
    return no_worse(method, over, margin=0.0, where=where)


def no_worse(
    method: str, over: str, *, margin: float, where: Collection[str] | None = None
) -> Judge:
    """A method's objective is worse than another's by less than a share of it, in every study."""

    def judge(studies: Studies) -> tuple[Outcome, str]:
        leads = {}
        for label, results in studies.items():
            if where is None or label in where:
                value = abs(_mean(results, over))
                lead = lead_over(results, method, over)
                leads[label] = Interval(lead.mean + margin * value, lead.half_width)
        shown = "; ".join(
            f"{label}: {lead_over(studies[label], method, over).signed}" for label in leads
        )
        return judged(leads.values()), f"{method} over {over}, {shown}"

    return judge


def cheaper(
    method: str, than: str, *, factor: float = 1.0, where: Collection[str] | None = None
) -> Judge:
    """A method's step takes less than so many times another's, in every study."""

    def judge(studies: Studies) -> tuple[Outcome, str]:
        ratios = {
            label: _log_ratio(results, method, than)
            for label, results in studies.items()
            if where is None or label in where
        }
        room = math.log(factor)
        leads = [Interval(room - ratio.mean, ratio.half_width) for ratio in ratios.values()]
        shown = "; ".join(f"{label}: {math.exp(each.mean):.2f}" for label, each in ratios.items())
        return judged(leads), f"steps of {method} in those of {than}, {shown}"

    return judge


def tells_wrong_labels(method: str, *, area: float = 0.5) -> Judge:
    """The weights of wrong labels are smaller: the area under the ROC curve is above this."""

    def judge(studies: Studies) -> tuple[Outcome, str]:
        areas = {label: _detection(results, method) for label, results in studies.items()}
        known = {label: each for label, each in areas.items() if each is not None}
        leads = [Interval(each.mean - area, each.half_width) for each in known.values()]
        shown = "; ".join(f"{label}: {each}" for label, each in known.items())
        return judged(leads), f"area under the ROC curve of {method}'s weights, {shown}"

    return judge


def follows(method: str, correlation: float) -> Judge:
    """A method's weights have at least this correlation with the exact ones, in every run.

    Gets what :func:`~equipoise.study.estimate.agreement` gives, with a column ``variant``; the
    interval is Fisher's.
    """

    def judge(agreed: pd.DataFrame) -> tuple[Outcome, str]:
        own = agreed[agreed["method"] == method]
        widths = stats.norm.ppf(0.975) / np.sqrt(own["weights"] - 3)
        above = np.arctanh(own["correlation"]) - math.atanh(correlation)
        shown = "; ".join(
            f"{label}: {value:.3f}"
            for label, value in zip(own["variant"], own["correlation"], strict=True)
        )
        return judged(list(map(Interval, above, widths))), f"correlation of {method}, {shown}"

    return judge


def judged(leads: Collection[Interval]) -> Outcome:
    """Held if all are above zero; did not hold if any is below, or not a number."""
    if not leads or any(math.isnan(lead.mean) for lead in leads):
        return "did not hold"
    if all(lead.mean > lead.half_width for lead in leads):
        return "held"
    if any(lead.mean < -lead.half_width for lead in leads):
        return "did not hold"
    return "too few seeds to say"


def lead_over(results: Results, method: str, over: str) -> Interval:
    """How much better a method's objective is, paired by seed, in a 95% interval of its own."""
    ours, theirs = (_values(results, name) for name in (method, over))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return Interval(math.nan, math.nan)
    columns = (np.array([[own[seed]] for seed in seeds]) for own in (ours, theirs))
    mean, half_width = against(next(columns), next(columns)[:, 0])
    sign = 1 if results.comparison.goals[results.comparison.objective] == "max" else -1
    return Interval(sign * float(mean[0]), float(half_width[0]))


def _values(results: Results, method: str) -> dict[int, float]:
    study = results.study
    return {
        run.facts.seed: run.facts.metrics[study.objective][study.deciding]
        for run in results.runs
        if run.facts.method == method
    }


def _mean(results: Results, method: str) -> float:
    values = list(_values(results, method).values())
    return float(np.mean(values)) if values else math.nan


def _log_ratio(results: Results, method: str, other: str) -> Interval:
    seconds = [
        {
            run.facts.seed: [math.log(run.facts.seconds_per_step)]
            for run in results.runs
            if run.facts.method == name
        }
        for name in (method, other)
    ]
    seeds = sorted(seconds[0].keys() & seconds[1].keys())
    if not seeds:
        return Interval(math.nan, math.nan)
    ours, theirs = (np.array([own[seed] for seed in seeds]) for own in seconds)
    mean, half_width = against(ours, theirs[:, 0])
    return Interval(float(mean[0]), float(half_width[0]))


def _detection(results: Results, method: str) -> Interval | None:
    rows = {row.method: row for row in results.comparison.methods}
    return rows[method].detection if method in rows else None
