"""What the runs of a study say: means with intervals, ranks, paired comparisons, a verdict.

A NaN is never left out of a mean: a method that diverged once has no mean.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from equipoise.problems.problem import OVERALL
from equipoise.study.compared import Compared, by_task, compare_methods
from equipoise.study.configuration import Study
from equipoise.study.inference import largest_rate
from equipoise.study.intervals import Interval, mean_interval
from equipoise.study.names import REFERENCE, SINGLE
from equipoise.study.runs import Run, metrics_table
from equipoise.study.summary import Judgement, MethodSummary, Summary


def objective_by_task(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The rows of :func:`metrics_table` with the objective of single tasks."""
    return table[(table["metric"] == study.objective) & (table["task"] != OVERALL)]


def gains_by_task(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """How much better than equal weights each method's objective is, by task; a column a method.

    Means over the seeds; NaN where one is missing or diverged. No columns without equal weights.
    """
    rows = objective_by_task(table, study)
    rows = rows[rows["method"] != SINGLE]
    wide = rows.pivot(index=["task", "seed"], columns="method", values="value")
    if REFERENCE not in wide:
        return pd.DataFrame()
    gains = _sign(study) * wide.drop(columns=REFERENCE).sub(wide[REFERENCE], axis=0)
    return gains.groupby("task").mean().where(gains.notna().groupby("task").all())


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
    asked: dict[str, list[Run]] = {method: [] for method in expected if method != SINGLE}
    by_method = asked | _by_method(runs)
    compared = compare_methods(_objectives(study, by_method), study.shared_by_splits)
    figures = _Figures(
        study,
        _tasks_compared(study, table),
        compared,
        mean_ranks(table, study),
        delta_m(table, study) if any(run.facts.method == SINGLE for run in runs) else None,
        by_task(objective_by_task(table, study), _sign(study), study.shared_by_splits),
    )
    rows = [figures.of(method, own) for method, own in by_method.items()]

    def place(row: MethodSummary) -> float:
        mean = row.metrics[study.objective].mean
        return math.inf if math.isnan(mean) else -_sign(study) * mean

    return Summary(
        study.problem,
        dict(study.goals),
        figures.tasks,
        tuple(sorted(rows, key=place)),
        _unfinished(study, runs, expected),
        compared.seeds,
        compared.detectable,
        dict(study.doubted),
    )


def _tasks_compared(study: Study, table: pd.DataFrame) -> dict[str, str]:
    """Of each metric the main task, if it has a value for it, else all tasks."""
    own = {study.objective, *table.loc[table["task"] == study.main, "metric"]}
    return {metric: study.deciding if metric in own else OVERALL for metric in study.goals}


@dataclass(frozen=True)
class _Figures:
    """What all methods' figures are taken from."""

    study: Study
    tasks: Mapping[str, str]
    compared: Compared
    ranks: pd.Series[float]
    gains: pd.Series[float] | None
    singly: Mapping[str, tuple[int, int]]

    def of(self, method: str, runs: Sequence[Run]) -> MethodSummary:
        lead = self.compared.leads.get(method, Interval(math.nan, math.nan))
        diverged = sum(run.facts.diverged_at is not None for run in runs)
        collapsed = diverged + self.compared.collapsed.get(method, 0)
        better, worse = self.singly.get(method, (None, None))
        return MethodSummary(
            method=method,
            seeds=len(runs),
            diverged=diverged,
            metrics={
                metric: mean_interval(list(_by_seed(runs, metric, task).values()))
                for metric, task in self.tasks.items()
            },
            mean_rank=float(self.ranks.get(method, math.nan)),
            difference=lead.mean,
            difference_half_width=lead.half_width,
            judgement=None if method == REFERENCE else _judged(lead, collapsed),
            may_be_best=method in self.compared.best,
            collapsed=collapsed,
            collapse_rate=largest_rate(collapsed, len(runs)) if runs else 1.0,
            tasks_better=better,
            tasks_worse=worse,
            delta_m=self._gain(method),
            seconds_per_step=mean_interval([run.facts.seconds_per_step for run in runs]).mean,
            detection=_detection(runs),
        )

    def _gain(self, method: str) -> Interval | None:
        if self.gains is None:
            return None
        own = self.gains[self.gains.index.get_level_values(0) == method]
        return mean_interval(own.tolist())


def _judged(lead: Interval, collapsed: int) -> Judgement | None:
    if math.isnan(lead.half_width):
        return None
    if lead.mean > lead.half_width and not collapsed:
        return "better"
    return "worse" if lead.mean < -lead.half_width else "cannot be told"


def _detection(runs: Sequence[Run]) -> Interval | None:
    areas = [
        math.nan if run.facts.diverged_at is not None else run.facts.detection
        for run in runs
        if run.facts.detection is not None
    ]
    return mean_interval(areas) if areas else None


def _by_method(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of methods; those of single tasks are none."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.facts.method != SINGLE:
            found.setdefault(run.facts.method, []).append(run)
    return found


def _objectives(
    study: Study, by_method: Mapping[str, Sequence[Run]]
) -> dict[str, dict[int, float]]:
    """Method → seed → objective, larger is better."""
    return {
        method: {
            seed: _sign(study) * value
            for seed, value in _by_seed(runs, study.objective, study.deciding).items()
        }
        for method, runs in by_method.items()
        if runs
    }


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
