"""A target's labels as an audit judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from equipoise.problems.table.targets import Target
from equipoise.study.auditing import classes, numbers
from equipoise.study.auditing.classes import UNKNOWN
from equipoise.study.intervals import format_share

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FLAGGED = 0.5
"""Probability of being wrong above which a label is flagged."""


@dataclass(frozen=True, eq=False)
class Judged:
    """All labels of a target."""

    target: Target
    """As it is given."""
    samples: NDArray[np.int64]
    """The samples with a label; what follows is of these."""
    likely: Floats
    """The likeliest number or index of class; of a class that is likely to be wrong, another."""
    wrong: Floats
    """Probability that the given label is wrong; 0 where it is trusted, 0 or 1 where checked."""
    trusted: Bools
    checked: Floats
    """The right label where it was looked up, else NaN."""
    between: tuple[float, float]
    """The ends of the interval of the share of wrong labels, by likelihood."""

    @property
    def given(self) -> Floats:
        """The labels."""
        found: Floats = self.target.values[self.samples]
        return found

    @property
    def flagged(self) -> Bools:
        """Labels that are likely to be wrong and were not looked up."""
        return (self.wrong > FLAGGED) & np.isnan(self.checked)

    @property
    def expected_precision(self) -> float:
        """The share of flagged labels that are expected to be wrong; NaN if there is none."""
        return float(self.wrong[self.flagged].mean()) if self.flagged.any() else float("nan")

    @property
    def share_text(self) -> str:
        """The share of wrong labels, as given, in its interval."""
        return format_share(float(self.wrong.mean()), *self.between)

    def frame(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """A row a label; ``rows`` are the samples' places in the user's file."""
        table = pd.DataFrame(
            {
                "row": rows[self.samples],
                "target": self.target.name,
                "given": self.target.named(self.given),
                "likely": self.target.named(self.likely),
                "probability wrong": self.wrong,
                "flagged": self.flagged.astype(int),
            }
        )
        if not np.isnan(self.checked).all():
            table["checked"] = self.target.named(self.checked)
        return table


def judge(target: Target, predictions: Sequence[Floats], trusted: Bools, checked: Floats) -> Judged:
    """Judge the labels of a target.

    Args:
        target: as it is given.
        predictions: of each model for all samples, out of fold: ``(samples, classes)`` or, of
            numbers, ``(samples,)``.
        trusted: which samples have labels that are right ``(samples,)``.
        checked: the right label where it was looked up, else NaN ``(samples,)``.
    """
    samples = np.flatnonzero(~np.isnan(target.values))
    judged, own = ~trusted[samples], [each[samples] for each in predictions]
    given, known = target.values[samples], checked[samples]
    judging = _judge_classes if target.classes else _judge_numbers
    wrong, likely = np.zeros(len(samples)), given.copy()
    ends = (0.0, 0.0)
    if judged.any():
        wrong[judged], likely[judged], ends = judging(
            [each[judged] for each in own], given[judged], known[judged]
        )
    looked_up = ~np.isnan(known)
    wrong[looked_up] = known[looked_up] != given[looked_up]
    likely[looked_up] = known[looked_up]
    part, share = float(judged.mean()), float(wrong.mean())
    between = min(part * ends[0], share), max(part * ends[1], share)
    return Judged(target, samples, likely, wrong, ~judged, known, between)


def _judge_classes(
    members: Sequence[Floats], given: Floats, checked: Floats
) -> tuple[Floats, Floats, tuple[float, float]]:
    index = given.astype(np.int64)
    known = np.where(np.isnan(checked), UNKNOWN, checked).astype(np.int64)
    truth, share = classes.together(members, index, known)
    posterior = truth.posterior(index)
    rows = np.arange(len(index))
    wrong = 1 - posterior[rows, index]
    # Of several classes the given one can be the likeliest, and wrong nonetheless.
    posterior[rows[wrong > FLAGGED], index[wrong > FLAGGED]] = 0
    return wrong, posterior.argmax(1).astype(float), share


def _judge_numbers(
    members: Sequence[Floats], given: Floats, checked: Floats
) -> tuple[Floats, Floats, tuple[float, float]]:
    known = np.where(np.isnan(checked), np.nan, checked != given)
    truth = numbers.together(np.stack(members), given, known)
    return truth.wrong, truth.likely, truth.share
