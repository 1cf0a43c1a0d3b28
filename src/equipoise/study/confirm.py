"""Screen and confirm: who leads by few seeds is compared with equal weights on fresh ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from equipoise.study.inference import against
from equipoise.study.intervals import Interval
from equipoise.study.names import REFERENCE
from equipoise.study.runs import Run

FIRST = 1_000_000
"""The first seed to confirm by, beyond any that methods are screened by."""


@dataclass(frozen=True)
class Confirmation:
    """A method against equal weights by seeds that had no part in picking it."""

    method: str
    seeds: int
    difference: float
    """How much better than equal weights the objective is; negative: worse."""
    half_width: float
    """Of its 95% Student t interval."""
    p_value: float
    """Of the paired t-test, two-sided; of several methods times their number (Holm)."""

    @property
    def lead(self) -> Interval:
        """The difference with its interval."""
        return Interval(self.difference, self.half_width)

    def __str__(self) -> str:
        found = "cannot be told from equal weights"
        if self.p_value < 0.05:
            found = f"is {'better' if self.difference > 0 else 'worse'} than equal weights"
        return (
            f"On {self.seeds} fresh seeds {self.method} {found}: {self.lead.ranged}, "
            f"p = {self.p_value:.2g}."
        )


def is_fresh(run: Run) -> bool:
    """Whether a run is there to confirm."""
    return run.facts.seed >= FIRST


def confirmations(values: Mapping[str, Mapping[int, float]]) -> tuple[Confirmation, ...]:
    """What fresh seeds say of each method that has two or more in common with equal weights.

    Args:
        values: method → fresh seed → objective, larger is better.
    """
    reference = values.get(REFERENCE, {})
    found = []
    for method, own in values.items():
        seeds = sorted(own.keys() & reference.keys())
        if method != REFERENCE and len(seeds) > 1:
            ours = np.array([[own[seed]] for seed in seeds])
            theirs = np.array([reference[seed] for seed in seeds])
            mean, half_width = against(ours, theirs)
            p_value = float(stats.ttest_rel(ours[:, 0], theirs).pvalue)
            figures = float(mean[0]), float(half_width[0]), p_value
            found.append(Confirmation(method, len(seeds), *figures))
    return _holm(found)


def _holm(found: Sequence[Confirmation]) -> tuple[Confirmation, ...]:
    """P-values that allow for their number: the smallest times it, the next times one less, …."""
    adjusted, least = [], 0.0
    for place, each in enumerate(sorted(found, key=lambda each: each.p_value)):
        least = max(least, min(1.0, (len(found) - place) * each.p_value))
        adjusted.append(
            Confirmation(each.method, each.seeds, each.difference, each.half_width, least)
        )
    return tuple(adjusted)
