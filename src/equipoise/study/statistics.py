"""What the runs of a study say: means with intervals, ranks, paired comparisons, a verdict.

A NaN is never left out of a mean: a method that diverged once has no mean.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from equipoise.problems.problem import OVERALL
from equipoise.study.configuration import Study
from equipoise.study.names import IDEAL, REFERENCE, SINGLE
from equipoise.study.runs import Run, metrics_table, named

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
    def mean_text(self) -> str:
        """The mean to as many digits as the interval lets stand."""
        decimals = self._decimals
        return format_number(self.mean) if decimals is None else f"{self.mean:.{decimals}f}"

    @property
    def _decimals(self) -> int | None:
        if not 1e-6 < self.half_width < 1e6:
            return None
        return max(0, 1 - math.floor(math.log10(self.half_width)))


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
    """How much better than the reference the objective is, by seeds in common; negative: worse."""
    difference_half_width: float
    p_value: float
    """Of the paired t-test of that difference, two-sided."""
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

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval of the difference from the reference leaves out zero."""
        return abs(self.difference) > self.difference_half_width


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

    @property
    def finished(self) -> bool:
        """Whether all runs are there that were asked for."""
        return not self.unfinished

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
            columns["p"] = [row.p_value for row in rows]
        add("Δm, %", [row.delta_m for row in rows])
        columns["ms per step"] = [1000 * row.seconds_per_step for row in rows]
        add("detection", [row.detection for row in rows])
        return pd.DataFrame(columns)


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and half width of its 95% Student t interval, which a single value does not have."""
    number = len(values)
    mean = sum(values) / number if number else math.nan
    if number < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, number - 1)
    return Interval(mean, float(quantile * stats.sem(values)))


def paired_comparison(ours: Sequence[float], theirs: Sequence[float]) -> tuple[Interval, float]:
    """The mean difference of pairs, and the p-value of the two-sided paired t-test."""
    if len(ours) < 2:
        return mean_interval(np.subtract(ours, theirs).tolist()), math.nan
    with warnings.catch_warnings():
        # SciPy warns of differences that are all alike; without any there is no p-value.
        warnings.simplefilter("ignore")
        test = stats.ttest_rel(ours, theirs)
        low, high = test.confidence_interval(CONFIDENCE)
    return Interval(float(low + high) / 2, float(high - low) / 2), float(test.pvalue)


def objective_by_task(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The rows of :func:`metrics_table` with the objective of single tasks."""
    return table[(table["metric"] == study.objective) & (table["task"] != OVERALL)]


def mean_ranks(table: pd.DataFrame, study: Study) -> pd.Series[float]:
    """Mean place of each method on the objective, over tasks and the seeds that all methods have.

    Ties share their mean place and NaN comes last; tasks that are NaN for all methods do not count.
    """
    rows = objective_by_task(table, study)
    rows = rows[rows["method"] != SINGLE]
    methods_with = rows.groupby("seed")["method"].nunique()
    common = methods_with.index[methods_with == rows["method"].nunique()]
    wide = rows[rows["seed"].isin(common)].pivot(
        index=["seed", "task"], columns="method", values="value"
    )
    ranks = wide.dropna(how="all").rank(
        axis="columns", ascending=_sign(study) < 0, na_option="bottom"
    )
    mean: pd.Series[float] = ranks.mean()
    return mean


def delta_m(table: pd.DataFrame, study: Study) -> pd.Series[float]:
    r"""How much better than single-task networks each run is on the objective, in percent.

    .. math:: \Delta m = \frac{100}{n} \sum_k s_k \frac{M_k - S_k}{|S_k|}

    :math:`S_k` is the single-task network of the same seed, or the mean over seeds where that is
    missing; :math:`s_k = 1` if higher is better, else −1. Tasks that are NaN in all runs do not
    count. Indexed by method and seed.
    """
    rows = objective_by_task(table, study)
    rows = rows[rows.groupby("task")["value"].transform("count") > 0]
    alone = rows[rows["method"] == SINGLE]
    same_seed = alone.set_index(["seed", "task"])["value"].to_dict()
    any_seed = alone.groupby("task")["value"].agg(_mean).to_dict()
    rows = rows[rows["method"] != SINGLE]
    single = np.array(
        [
            same_seed.get((seed, task), any_seed.get(task, math.nan))
            for seed, task in zip(rows["seed"], rows["task"], strict=True)
        ]
    )
    gain = _sign(study) * 100 * (rows["value"] - single) / np.abs(single)
    mean: pd.Series[float] = gain.groupby([rows["method"], rows["seed"]]).agg(_mean)
    return mean


def summarise(study: Study, runs: Sequence[Run], expected: Mapping[str, int]) -> Summary:
    """Compare the methods; single-task runs are what Δm is against, and no method themselves.

    Args:
        study: what the runs have in common.
        runs: those that are finished.
        expected: method, or ``single`` → seeds that were asked for. Methods that are not in it are
            compared as they are.
    """
    table = metrics_table(runs)
    tasks = _tasks_compared(study, table)
    ranks = mean_ranks(table, study)
    gains = delta_m(table, study) if any(run.facts.method == SINGLE for run in runs) else None
    by_method: dict[str, list[Run]] = {method: [] for method in expected if method != SINGLE}
    for run in runs:
        if run.facts.method != SINGLE:
            by_method.setdefault(run.facts.method, []).append(run)
    rows = [
        _method_summary(
            study,
            tasks,
            method,
            own,
            [] if method == REFERENCE else by_method.get(REFERENCE, []),
            rank=ranks.get(method, math.nan),
            gains=None if gains is None else gains[gains.index.get_level_values(0) == method],
        )
        for method, own in by_method.items()
    ]

    def place(row: MethodSummary) -> float:
        mean = row.metrics[study.objective].mean
        return math.inf if math.isnan(mean) else -_sign(study) * mean

    return Summary(
        study.problem,
        dict(study.goals),
        tasks,
        tuple(sorted(rows, key=place)),
        _unfinished(study, runs, expected),
    )


def to_json(summary: Summary) -> str:
    """The summary as strict JSON: what is NaN or infinite is ``null``."""
    plain = _plain({**asdict(summary), "finished": summary.finished})
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)


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


def _tasks_compared(study: Study, table: pd.DataFrame) -> dict[str, str]:
    """Of each metric the main task, if it has a value for it, else all tasks."""
    own = {study.objective, *table.loc[table["task"] == study.main, "metric"]}
    return {metric: study.deciding if metric in own else OVERALL for metric in study.goals}


def _method_summary(
    study: Study,
    tasks: Mapping[str, str],
    method: str,
    runs: Sequence[Run],
    reference: Sequence[Run],
    rank: float,
    gains: pd.Series[float] | None,
) -> MethodSummary:
    ours, theirs = (_by_seed(each, study.objective, study.deciding) for each in (runs, reference))
    common = sorted(ours.keys() & theirs.keys())
    signed = [[_sign(study) * values[seed] for seed in common] for values in (ours, theirs)]
    difference, p_value = paired_comparison(*signed)
    return MethodSummary(
        method=method,
        seeds=len(runs),
        diverged=sum(run.facts.diverged_at is not None for run in runs),
        metrics={
            metric: mean_interval(list(_by_seed(runs, metric, task).values()))
            for metric, task in tasks.items()
        },
        mean_rank=float(rank),
        difference=difference.mean,
        difference_half_width=difference.half_width,
        p_value=p_value,
        delta_m=None if gains is None else mean_interval(gains.tolist()),
        seconds_per_step=mean_interval([run.facts.seconds_per_step for run in runs]).mean,
        detection=_detection(runs),
    )


def _detection(runs: Sequence[Run]) -> Interval | None:
    areas = [
        math.nan if run.facts.diverged_at is not None else run.facts.detection
        for run in runs
        if run.facts.detection is not None
    ]
    return mean_interval(areas) if areas else None


def _by_seed(runs: Sequence[Run], metric: str, task: str) -> dict[int, float]:
    """The metric's value for a task, which not every metric has."""
    return {run.facts.seed: run.facts.metrics.get(metric, {}).get(task, math.nan) for run in runs}


def _mean(values: pd.Series[float]) -> float:
    return float(values.mean(skipna=False))


def _sign(study: Study) -> int:
    return 1 if study.goals[study.objective] == "max" else -1


def _unfinished(
    study: Study, runs: Sequence[Run], expected: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    done: dict[tuple[str, str | None], set[int]] = defaultdict(set)
    for run in runs:
        done[run.facts.method, run.facts.task].add(run.facts.seed)
    counts = {}
    for method, seeds in expected.items():
        tasks = study.tasks if method == SINGLE else (None,)
        there = set(range(seeds)).intersection(*(done[method, task] for task in tasks))
        if len(there) < seeds:
            counts[method] = len(there), seeds
    return counts


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
