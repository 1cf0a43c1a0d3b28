"""Screen and confirm: the methods that lead with few seeds, against equal weights on fresh ones.

Who leads out of many is ahead by luck too. The fresh seeds know nothing of that, so that one test
on them alone says what it seems to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from equipoise.errors import UserError
from equipoise.problems.parameters import check_whole
from equipoise.study.asked import MOST_SEEDS, Asked
from equipoise.study.configuration import Study
from equipoise.study.intervals import CONFIDENCE, Interval
from equipoise.study.jobs import Candidate, Failure, jobs_of
from equipoise.study.names import REFERENCE
from equipoise.study.running import run
from equipoise.study.runs import Run
from equipoise.study.stages import CONFIRMATION, CONFIRMING
from equipoise.study.statistics import summarise


@dataclass(frozen=True)
class Confirmation:
    """A method against equal weights on fresh seeds."""

    method: str
    asked: int
    """Seeds."""
    seeds: int
    """Those that both have runs of."""
    difference: Interval
    """How much better the objective is, with the intervals of all confirmed methods together at
    95% (Bonferroni)."""
    p_value: float
    """Of the two-sided paired t-test, adjusted for all confirmed methods (Holm)."""

    @property
    def judgement(self) -> str | None:
        """``"better"``, ``"worse"`` or ``"cannot be told"``; ``None`` while runs are missing."""
        if self.seeds < self.asked:
            return None
        if not self.p_value <= 1 - CONFIDENCE:
            return "cannot be told"
        return "better" if self.difference.mean > 0 else "worse"

    def told(self) -> dict[str, Any]:
        """The same for programs."""
        difference = self.difference._asdict()
        return {**asdict(self), "difference": difference, "judgement": self.judgement}

    def __str__(self) -> str:
        fresh = f"on {self.asked:,} fresh seeds"
        if self.judgement is None:
            return f"{self.method} is not confirmed yet: {self.seeds:,} of {self.asked:,} seeds."
        if math.isnan(self.difference.mean):
            return f"Not confirmed: {fresh} {self.method} or {REFERENCE} diverged."
        told = f"{self.difference} (p = {self.p_value:.2g})"
        if self.judgement == "cannot be told":
            return (
                f"Not confirmed: {fresh} {self.method} cannot be told from equal weights "
                f"({REFERENCE}), {told}."
            )
        verb = "Confirmed" if self.judgement == "better" else "Refuted"
        return f"{verb}: {fresh} {self.method} is {self.judgement} than equal weights by {told}."


def check_confirm(confirm: int | None, top: int, candidates: Sequence[Candidate]) -> None:
    """Refuse what cannot be confirmed."""
    check_whole("confirm_top", top, 1, MOST_SEEDS)
    if confirm is None:
        return
    check_whole("confirm", confirm, 2, MOST_SEEDS)
    labels = {each.method.label for each in candidates}
    if REFERENCE not in labels or len(labels) == 1:
        raise UserError(
            f"`confirm` is of a method against equal weights: name {REFERENCE} and another method"
        )


def confirm_leaders(
    asked: Asked, candidates: Sequence[Candidate], runs: Sequence[Run], seeds: int, top: int
) -> dict[str, Failure]:
    """Train the methods that lead, and equal weights, with fresh seeds.

    Args:
        asked: the study.
        candidates: its methods.
        runs: all runs of these in the comparison.
        seeds: how many fresh ones.
        top: how many methods lead.

    Returns:
        What failed.
    """
    expected = {each.method.label: asked.seeds for each in candidates}
    leaders = [
        row.method
        for row in summarise(asked.study, runs, expected).eligible
        if row.method != REFERENCE
    ][:top]
    if not leaders:
        return {}
    chosen = [each for each in candidates if each.method.label in (*leaders, REFERENCE)]
    study = replace(asked.study, confirming=dict.fromkeys(leaders, seeds))
    fresh = range(CONFIRMING, CONFIRMING + seeds)
    _, failures = run(replace(asked, study=study), jobs_of(chosen, fresh, CONFIRMATION))
    return failures


def confirmations(study: Study, runs: Sequence[Run]) -> tuple[Confirmation, ...]:
    """What the runs of a confirmation say of each method that it was asked for."""
    values: dict[str, dict[int, float]] = {}
    for each in runs:
        metrics = each.facts.metrics.get(study.objective, {})
        own = values.setdefault(each.facts.method, {})
        own[each.facts.seed] = metrics.get(study.deciding, math.nan)
    theirs = values.get(REFERENCE, {})
    sign = 1 if study.goals[study.objective] == "max" else -1
    differences = {
        method: [sign * (own[seed] - theirs[seed]) for seed in sorted(own.keys() & theirs.keys())]
        for method in study.confirming
        for own in [values.get(method, {})]
    }
    tests = {
        method: paired(each, len(differences), study.shared_by_splits)
        for method, each in differences.items()
    }
    adjusted = holm([p_value for _, p_value in tests.values()])
    return tuple(
        Confirmation(method, seeds, len(differences[method]), tests[method][0], p_value)
        for (method, seeds), p_value in zip(study.confirming.items(), adjusted, strict=True)
    )


def paired(
    differences: Sequence[float], comparisons: int = 1, shared: float = 0.0
) -> tuple[Interval, float]:
    """The mean of paired differences, and the p-value of the two-sided t-test.

    Args:
        differences: a seed each.
        comparisons: the interval is one of so many simultaneous ones.
        shared: see :attr:`Study.shared_by_splits`.
    """
    number = len(differences)
    mean = float(np.mean(differences)) if number else math.nan
    if number < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan), math.nan
    error = float(np.std(differences, ddof=1)) * math.sqrt(1 / number + shared)
    quantile = stats.t.isf((1 - CONFIDENCE) / comparisons / 2, number - 1)
    p_value = 2 * stats.t.sf(abs(mean) / error, number - 1) if error else float(mean == 0)
    return Interval(mean, float(quantile * error)), float(p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, step by step from the smallest (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(each) for each in adjusted]
