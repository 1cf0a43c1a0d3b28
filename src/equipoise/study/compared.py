"""Methods against equal weights and against each other, by the seeds that all of them have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import pandas as pd
from scipy import stats

from equipoise.study.inference import (
    Floats,
    against,
    collapsed,
    detectable,
    may_be_best,
)
from equipoise.study.intervals import Interval
from equipoise.study.names import IDEAL, REFERENCE, SINGLE

DISCOVERIES = 0.05
"""Expected share of wrong ones among the tasks of which a difference is claimed."""


@dataclass(frozen=True)
class Compared:
    """What the objective says of methods that have it in every run."""

    seeds: int = 0
    """That all methods have."""
    leads: Mapping[str, Interval] = field(default_factory=dict)
    """Method → how much better than the reference, whose own is 0 ± 0; intervals that hold together
    at 95%."""
    best: frozenset[str] = frozenset()
    """Methods that no other is beyond doubt better than."""
    collapsed: Mapping[str, int] = field(default_factory=dict)
    """Method → runs that ended far below its others."""
    detectable: float = math.nan
    """The difference from the reference that such a study finds with a probability of 80%."""


def compare_methods(values: Mapping[str, Mapping[int, float]], overlap: float = 0.0) -> Compared:
    """Compare methods by their objective.

    Args:
        values: method → seed → objective, larger is better; NaN of a run without one.
        overlap: see :func:`~equipoise.study.inference.against`.
    """
    if not values:
        return Compared()
    seeds = sorted(set.intersection(*(set(own) for own in values.values())))
    sound = {
        method: [own[seed] for seed in seeds]
        for method, own in values.items()
        if seeds and all(math.isfinite(own[seed]) for seed in seeds)
    }
    choosable = [method for method in sound if method != IDEAL]
    far = dict(zip(sound, collapsed(_table(sound)).sum(0).tolist(), strict=True)) if sound else {}
    best: frozenset[str] = frozenset()
    if choosable:
        kept = may_be_best(_table(sound, choosable), overlap=overlap)
        best = frozenset(compress(choosable, kept))
    others = [method for method in sound if method != REFERENCE]
    if REFERENCE not in sound or not others:
        return Compared(len(seeds), best=best, collapsed=far)
    table, reference = _table(sound, others), np.array(sound[REFERENCE])
    mean, half_width = against(table, reference, overlap=overlap)
    leads = map(Interval, mean.tolist(), half_width.tolist())
    return Compared(
        len(seeds),
        {REFERENCE: Interval(0.0, 0.0), **dict(zip(others, leads, strict=True))},
        best,
        far,
        detectable(table, reference, overlap=overlap),
    )


def by_task(values: pd.DataFrame, sign: int, overlap: float = 0.0) -> dict[str, tuple[int, int]]:
    """Method → on how many tasks it is better than the reference, and worse.

    A paired t-test for each task; of the tasks of which a difference is claimed, one in twenty is
    expected to be wrong (Benjamini and Hochberg). A task that is undefined anywhere says nothing.

    Args:
        values: columns ``method``, ``seed``, ``task`` and ``value``, the objective.
        sign: 1 if larger is better, else −1.
        overlap: see :func:`~equipoise.study.inference.against`.
    """
    rows = values[values["method"] != SINGLE]
    wide = rows.pivot(index="seed", columns=["method", "task"], values="value")
    if REFERENCE not in wide or wide[REFERENCE].shape[1] < 2:
        return {}
    methods = [method for method in rows["method"].unique() if method != REFERENCE]
    found = {}
    for method in methods:
        differences = sign * (wide[method] - wide[REFERENCE]).dropna(how="all").to_numpy()
        found[method] = _discoveries(differences, overlap)
    return {method: counts for method, counts in found.items() if counts is not None}


def _discoveries(differences: Floats, overlap: float) -> tuple[int, int] | None:
    """How many columns of ``(seeds, tasks)`` are above zero, and how many below."""
    seeds = len(differences)
    if seeds < 2:
        return None
    mean = differences.mean(0)
    error = np.sqrt(differences.var(0, ddof=1) * (1 / seeds + overlap))
    known = error > 0
    p = 2 * stats.t.sf(np.abs(mean[known]) / error[known], seeds - 1)
    claimed = np.full(len(mean), False)
    claimed[known] = stats.false_discovery_control(p) <= DISCOVERIES if known.any() else False
    return int((claimed & (mean > 0)).sum()), int((claimed & (mean < 0)).sum())


def _table(values: Mapping[str, list[float]], methods: list[str] | None = None) -> Floats:
    """``(seeds, methods)``."""
    return np.array([values[method] for method in methods or values]).T
