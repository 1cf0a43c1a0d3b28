"""The comparison of methods: what the statistics found, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import pandas as pd

from equipoise.study.intervals import Interval
from equipoise.study.names import IDEAL, REFERENCE
from equipoise.study.runs import named

ENOUGH = 5
"""Seeds below which a comparison is exploratory."""
Judgement: TypeAlias = Literal["better", "worse", "cannot be told"]


@dataclass(frozen=True)
class MethodSummary:
    """What the runs of a method say. Undefined figures are NaN."""

    method: str
    seeds: int
    """Number of runs."""
    diverged: int
    """How many of them diverged."""
    metrics: Mapping[str, Interval]
    """Each metric, of the task that :attr:`Summary.tasks` gives."""
    mean_rank: float
    """Mean place on the objective over all tasks, 1 for the best, as :func:`mean_ranks` has it."""
    difference: float
    """How much better than the reference the objective is, by the seeds that all methods have;
    negative: worse."""
    difference_half_width: float
    """Of its interval at 95%, which holds together with those of all other methods: see
    :mod:`~equipoise.study.inference`."""
    judgement: Judgement | None
    """What that interval says; a method of which a run collapsed is never better. ``None`` for the
    reference itself, and without an interval."""
    may_be_best: bool
    """Whether no other method is beyond doubt better than this one."""
    collapsed: int
    """Runs that diverged, or ended far below its others."""
    collapse_rate: float
    """The largest rate of such runs that so few seeds leave possible, at 95%."""
    tasks_better: int | None
    """On how many tasks it is better than the reference, at a false discovery rate of 5% over the
    tasks; ``None`` where there is no reference, or one task."""
    tasks_worse: int | None
    delta_m: Interval | None
    """How much better than single-task networks over all tasks, in percent; ``None`` if there are
    none."""
    seconds_per_step: float
    detection: Interval | None
    """Area under the ROC curve of the weights at the end as a detector of clean training labels,
    see :func:`~equipoise.study.detection.separation`. ``None`` for a method that does not weigh
    samples, or where no label is known to be wrong."""

    @property
    def lead(self) -> Interval:
        """The difference with its interval."""
        return Interval(self.difference, self.difference_half_width)


@dataclass(frozen=True)
class Summary:
    """The comparison of all methods, best first."""

    problem: str
    goals: Mapping[str, str]
    """As in :class:`Study`: the first metric is the objective."""
    tasks: Mapping[str, str]
    """Whose value of each metric is compared: the main task, or ``"all"`` tasks."""
    methods: tuple[MethodSummary, ...]
    unfinished: Mapping[str, tuple[int, int]]
    """Where seeds are missing: method, or ``single`` → how many there are, and were asked for."""
    compared_by: int
    """The number of seeds that all methods have, by which differences are judged."""
    detectable: float
    """The difference from the reference that such a study finds with a probability of 80%."""
    doubted: Mapping[str, float]
    """As in :class:`Study`: methods whose gains are no evidence."""

    @property
    def finished(self) -> bool:
        """Whether all runs are there that were asked for."""
        return not self.unfinished

    @property
    def exploratory(self) -> bool:
        """Whether there are too few seeds to rely on."""
        return self.compared_by < ENOUGH

    @property
    def comparisons(self) -> int:
        """How many methods are compared with the reference at once."""
        return sum(not math.isnan(row.difference) for row in self.methods) - 1

    @property
    def objective(self) -> str:
        """The metric that decides."""
        return next(iter(self.goals))

    @property
    def criterion(self) -> str:
        """The value that decides, in words."""
        return named(self.objective, self.tasks[self.objective])

    @property
    def eligible(self) -> tuple[MethodSummary, ...]:
        """The methods that one can choose, best first: with an objective, and not ``ideal``."""
        return tuple(
            row
            for row in self.methods
            if row.method != IDEAL and math.isfinite(row.metrics[self.objective].mean)
        )

    def frame(self) -> pd.DataFrame:
        """A row a method, best first; ``±`` is half the width of the 95% interval."""
        rows = self.methods
        columns: dict[str, list[Any]] = {
            "method": [row.method for row in rows],
            "seeds": [row.seeds for row in rows],
            "diverged": [row.diverged for row in rows],
        }

        def add(name: str, intervals: Sequence[Interval | None]) -> None:
            if any(intervals):
                known = [each or Interval(math.nan, math.nan) for each in intervals]
                columns[name] = [each.mean for each in known]
                columns[f"{name} ±"] = [each.half_width for each in known]

        for metric, task in self.tasks.items():
            add(named(metric, task), [row.metrics[metric] for row in rows])
        columns["mean rank"] = [row.mean_rank for row in rows]
        if REFERENCE in columns["method"]:
            add(f"over {REFERENCE}", [row.lead for row in rows])
            columns["judgement"] = [row.judgement for row in rows]
        columns["may be best"] = [row.may_be_best for row in rows]
        columns["collapsed"] = [row.collapsed for row in rows]
        add("Δm, %", [row.delta_m for row in rows])
        columns["ms per step"] = [1000 * row.seconds_per_step for row in rows]
        add("detection", [row.detection for row in rows])
        return pd.DataFrame(columns)


def to_json(summary: Summary) -> str:
    """The summary as strict JSON: what is NaN or infinite is ``null``."""
    plain = _plain({**asdict(summary), "finished": summary.finished})
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
