import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study.made_up import made_up_run

from equipoise.study.configuration import Study
from equipoise.study.intervals import Interval, mean_interval
from equipoise.study.page.tables import results_table, tasks_table
from equipoise.study.runs import Run, metrics_table
from equipoise.study.statistics import delta_m, mean_ranks, summarise
from equipoise.study.summary import to_json
from equipoise.study.verdict import verdict

NAN = math.nan


def study(goal: str = "max", tasks: tuple[str, ...] = ("a", "b")) -> Study:
    return Study("toy", {}, {}, tasks, {"score": goal}, ())


def run(method: str, seed: int, values: dict[str, float], **facts: Any) -> Run:
    return made_up_run(method, seed, {"score": values}, **facts)


def overall(scores: dict[str, list[float]]) -> list[Run]:
    """A run for each seed of each method, with nothing but the objective over all tasks."""
    return [
        run(method, seed, {"all": value}, diverged_at=3 if math.isnan(value) else None)
        for method, values in scores.items()
        for seed, value in enumerate(values)
    ]


def by_method(goal: str, runs: list[Run]) -> dict[str, Any]:
    return {row.method: row for row in summarise(study(goal), runs, {}).methods}


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.3, -4.0, 1e3, 7.5], [5.0, 5.0, 5.0]])
def test_interval_is_student_s(values):
    mean, half_width = mean_interval(values)
    assert mean == pytest.approx(np.mean(values))
    if stats.sem(values) == 0:
        assert half_width == 0
    else:
        low, high = stats.t.interval(
            0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
        )
        assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


def test_interval_of_one_value_has_no_width_and_of_none_no_mean():
    assert mean_interval([3.0]) == pytest.approx((3, NAN), nan_ok=True)
    assert all(map(math.isnan, mean_interval([])))


@pytest.mark.parametrize("values", [[1.0, NAN], [NAN], [math.inf, -math.inf]])
def test_interval_hides_no_nan(values):
    assert all(map(math.isnan, mean_interval(values)))


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.76342, 0.00049), "0.76342 ± 0.00049"),
        (Interval(0.76342, 0.0103), "0.763 ± 0.010"),
        (Interval(12345.6, 123.4), "12346 ± 123"),
        (Interval(0.5, 0.0), "0.5000 ± 0"),
        (Interval(2e-9, 1e-9), "2.000e-09 ± 1e-09"),
        (Interval(0.5, NAN), "0.5000"),
        (Interval(NAN, NAN), "–"),
    ],
)
def test_intervals_read_well(interval, text):
    assert str(interval) == text


def test_ranks_by_hand():
    runs = [
        # Task a: x best, y and z tie. Task b: z best, x, y diverged. Task c: undefined for all.
        run("x", 0, {"a": 0.9, "b": 0.2, "c": NAN, "all": 0.5}),
        run("y", 0, {"a": 0.5, "b": NAN, "c": NAN, "all": 0.5}),
        run("z", 0, {"a": 0.5, "b": 0.3, "c": NAN, "all": 0.5}),
        run("single", 0, {"a": 1.0}, task="a"),
        # Only some methods have this seed.
        run("x", 1, {"a": 0.1, "b": 0.1, "c": NAN, "all": 0.1}),
    ]
    ranks = mean_ranks(metrics_table(runs), study("max"))
    assert ranks.to_dict() == {"x": (1 + 2) / 2, "y": (2.5 + 3) / 2, "z": (2.5 + 1) / 2}


def test_lower_is_better_where_the_goal_says_so():
    runs = [run("x", 0, {"a": 0.9}), run("y", 0, {"a": 0.5})]
    assert mean_ranks(metrics_table(runs), study("min")).to_dict() == {"x": 2, "y": 1}


@pytest.mark.parametrize("sign", [1, -1])
def test_delta_m_by_hand(sign):
    runs = [
        run("x", 0, {"a": 0.6, "b": -3.0, "c": NAN, "all": 0.0}),
        run("x", 1, {"a": 0.9, "b": -1.0, "c": NAN, "all": 0.0}),
        run("single", 0, {"a": 0.5}, task="a"),
        run("single", 1, {"a": 0.6}, task="a"),
        run("single", 0, {"b": -2.0}, task="b"),  # seed 1 is missing, so 0 stands in for it
        run("single", 0, {"c": NAN}, task="c"),
    ]
    gains = delta_m(metrics_table(runs), study("max" if sign > 0 else "min"))
    first, second = 100 * (0.2 - 0.5) / 2, 100 * (0.5 + 0.5) / 2
    assert gains["x", 0] == pytest.approx(sign * first)
    assert gains["x", 1] == pytest.approx(sign * second)
    summary = by_method("max" if sign > 0 else "min", runs)["x"]
    assert summary.delta_m == pytest.approx(mean_interval([sign * first, sign * second]))


def test_delta_m_hides_neither_a_diverged_run_nor_a_missing_single_one():
    runs = [
        run("x", 0, {"a": 0.6, "b": 0.6}),
        run("x", 1, {"a": NAN, "b": NAN}, diverged_at=1),
        run("single", 0, {"a": 0.5}, task="a"),
        run("single", 0, {"b": 0.5}, task="b"),
    ]
    assert delta_m(metrics_table(runs), study())["x", 0] == pytest.approx(20)
    assert math.isnan(by_method("max", runs)["x"].delta_m.mean)
    assert math.isnan(delta_m(metrics_table(runs[:3]), study())["x", 0])


@pytest.mark.parametrize(("goal", "sign"), [("max", 1), ("min", -1)])
def test_two_methods_are_compared_by_a_paired_t_test(goal, sign):
    scores = {"constant": [0.5, 0.7, 0.6], "slaw": [0.58, 0.81, 0.66, 99.0]}
    row = by_method(goal, overall(scores))["slaw"]
    ours, theirs = np.array(scores["slaw"][:3]), np.array(scores["constant"])
    test = stats.ttest_rel(ours, theirs)
    low, high = test.confidence_interval(0.95)
    assert row.difference == pytest.approx(sign * (low + high) / 2)
    assert row.difference_half_width == pytest.approx((high - low) / 2)
    assert test.pvalue < 0.05
    assert row.judgement == ("better" if sign > 0 else "worse")
    assert row.seeds == 4


@pytest.mark.parametrize(
    ("ours", "judgement", "width"),
    [
        ([0.5], None, NAN),
        ([0.5, 0.7], "cannot be told", 0),
        ([0.6, 0.8], "better", 0),
        ([0.4, 0.6], "worse", 0),
        ([0.6, NAN], None, NAN),
        ([math.inf, 0.6], None, NAN),
    ],
)
def test_comparisons_without_spread_or_pairs(ours, judgement, width):
    row = by_method("max", overall({"constant": [0.5, 0.7], "slaw": ours}))["slaw"]
    assert row.judgement == judgement
    assert row.difference_half_width == pytest.approx(width, abs=1e-12, nan_ok=True)


def test_differences_are_by_the_seeds_that_all_methods_have():
    scores = {"constant": [0.5, 0.7, 0.6], "slaw": [0.6, 0.8, 9.9], "dwa": [0.4, 0.6]}
    summary = summarise(study(), overall(scores), {})
    assert (summary.compared_by, summary.comparisons) == (2, 2)
    assert {row.method: row.difference for row in summary.methods} == pytest.approx(
        {"slaw": 0.1, "dwa": -0.1, "constant": 0}
    )


def test_a_method_that_collapsed_once_is_never_better():
    generator = np.random.default_rng(0)
    scores = {
        name: (mean + 0.001 * generator.standard_normal(20)).tolist()
        for name, mean in {"constant": 0.5, "slaw": 0.8, "dwa": 0.8}.items()
    }
    scores["slaw"][3] = 0.6
    summary = summarise(study(), overall(scores), {})
    rows = {row.method: row for row in summary.methods}
    assert rows["slaw"].difference > rows["slaw"].difference_half_width
    assert (rows["slaw"].judgement, rows["dwa"].judgement) == ("cannot be told", "better")
    assert (rows["slaw"].collapsed, rows["slaw"].diverged, rows["dwa"].collapsed) == (1, 0, 0)
    assert rows["dwa"].collapse_rate == pytest.approx(1 - 0.05 ** (1 / 20))
    assert stats.binom.cdf(1, 20, rows["slaw"].collapse_rate) == pytest.approx(0.05)
    assert "Ended far below their other runs: slaw in 1 of 20 runs." in verdict(summary)


def test_on_how_many_tasks_a_method_is_better():
    generator = np.random.default_rng(0)
    tasks = [f"t{number}" for number in range(40)]
    gains = {task: 1.0 if number < 10 else 0.0 for number, task in enumerate(tasks)}
    gains["t39"] = -1.0
    runs, differences = [], []
    for seed in range(6):
        for method in ("constant", "slaw"):
            noise = 0.05 * generator.standard_normal(40)
            values = {
                task: (method == "slaw") * gains[task] + each
                for task, each in zip(tasks, noise, strict=True)
            }
            runs.append(run(method, seed, {**values, "t38": NAN, "all": 0.0}))
        ours, theirs = (each.facts.metrics["score"] for each in (runs[-1], runs[-2]))
        differences.append([ours[task] - theirs[task] for task in tasks if task != "t38"])
    test = stats.ttest_1samp(differences, 0)
    claimed = stats.false_discovery_control(test.pvalue) <= 0.05
    expected = (claimed & (test.statistic > 0)).sum(), (claimed & (test.statistic < 0)).sum()
    assert expected[0] >= 10
    assert expected[1] == 1
    rows = {row.method: row for row in summarise(study("max", tuple(tasks)), runs, {}).methods}
    assert (rows["slaw"].tasks_better, rows["slaw"].tasks_worse) == expected
    assert rows["constant"].tasks_better is None
    lower = {row.method: row for row in summarise(study("min", tuple(tasks)), runs, {}).methods}
    assert (lower["slaw"].tasks_better, lower["slaw"].tasks_worse) == expected[::-1]


def test_summary_of_a_method():
    runs = [
        run("slaw", 0, {"all": 0.4, "a": 0.4}, seconds_per_step=0.2, detection=0.7),
        run("slaw", 1, {"all": 0.6, "a": 0.6}, seconds_per_step=0.4, detection=0.9),
        run("slaw", 2, {"all": 0.5, "a": 0.5}, seconds_per_step=0.3),
    ]
    (row,) = summarise(study(), runs, {}).methods
    assert row.metrics == {"score": pytest.approx(mean_interval([0.4, 0.5, 0.6]))}
    assert row.seconds_per_step == pytest.approx(0.3)
    assert (row.method, row.seeds, row.diverged, row.mean_rank) == ("slaw", 3, 0, 1)
    assert row.detection == pytest.approx(mean_interval([0.7, 0.9]))
    assert row.delta_m is None
    assert math.isnan(row.difference)
    assert row.judgement is None


@pytest.mark.parametrize(("goal", "order"), [("max", "cab"), ("min", "bac")])
def test_best_first_and_diverged_last(goal, order):
    scores = {"d": [1.0, NAN], "a": [2.0, 2.0], "b": [1.0, 1.0], "c": [3.0, 3.0]}
    rows = summarise(study(goal), overall(scores), {}).methods
    assert [row.method for row in rows] == [*order, "d"]
    assert rows[-1].diverged == 1


def test_the_main_task_decides():
    """Best for all tasks together and for b: constant. Best for the main task, a: slaw."""
    values = {
        "constant": [{"all": 0.80, "a": 0.50, "b": 0.9}, {"all": 0.81, "a": 0.52, "b": 0.9}],
        "slaw": [{"all": 0.60, "a": 0.70, "b": 0.1}, {"all": 0.61, "a": 0.73, "b": 0.1}],
        "ideal": [{"all": 0.99, "a": 0.99, "b": 0.9}] * 2,
    }
    runs = [
        run(method, seed, each) for method in values for seed, each in enumerate(values[method])
    ]
    runs += [run("single", 0, {task: 0.5}, task=task) for task in "ab"]
    for each in runs:
        metrics = each.facts.metrics
        metrics["RMSE"] = {"b": 7.0, "all": 7.0}
        metrics["accuracy"] = {task: value / 2 for task, value in metrics["score"].items()}
    plain = replace(study(), goals={"score": "max", "RMSE": "min", "accuracy": "max"})
    together = summarise(plain, runs, {})
    found = summarise(replace(plain, main="a"), runs, {})
    assert together.eligible[0].method == "constant"
    assert [row.method for row in found.eligible] == ["slaw", "constant"]
    assert found.criterion == "score of a"
    slaw, constant = found.eligible
    assert slaw.metrics["score"] == pytest.approx(mean_interval([0.70, 0.73]))
    assert slaw.metrics["RMSE"].mean == 7
    assert slaw.metrics["accuracy"].mean == pytest.approx((0.70 + 0.73) / 4)
    assert slaw.difference == pytest.approx((0.20 + 0.21) / 2)
    assert slaw.judgement == "better"
    assert "slaw has the best score of a, 0.71 ±" in verdict(found)
    headings, _ = results_table(found)
    assert [heading.split("\N{NO-BREAK SPACE}")[0] for heading in headings[:4]] == [
        "score of a",
        "RMSE",
        "accuracy of a",
        "mean rank",
    ]
    others = {row.method: row for row in together.methods}
    for row in found.methods:
        assert row.mean_rank == others[row.method].mean_rank
        assert row.delta_m == pytest.approx(others[row.method].delta_m, nan_ok=True)
    assert constant.mean_rank == (3 + 1.5) / 2


def test_json_is_strict():
    def refuse(constant):
        raise AssertionError(constant)

    runs = overall({"constant": [0.5], "slaw": [NAN], "dwa": [math.inf]})
    runs.append(run("single", 0, {"a": 0.5}, task="a"))
    found = json.loads(to_json(summarise(study(), runs, {})), parse_constant=refuse)
    rows = {row["method"]: row for row in found["methods"]}
    assert rows["constant"]["metrics"] == {"score": {"mean": 0.5, "half_width": None}}
    assert rows["slaw"]["metrics"]["score"]["mean"] is None
    assert rows["slaw"]["diverged"] == 1
    assert found["goals"] == {"score": "max"}
    assert found["finished"] is True


CLEAR = [0.80, 0.81, 0.82]
NOISE = [0.50, 0.75, 0.60]
EQUAL = [0.60, 0.61, 0.62]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({}, "No run has finished yet."),
        ({"slaw": [NAN]}, "nothing to choose from. Diverged: slaw in 1 of 1 run."),
        ({"slaw": CLEAR}, "Only slaw can be judged, with score 0.810 ± 0.025."),
        ({"slaw": CLEAR, "dwa": EQUAL}, "whether weighting helps remains open"),
        (
            {"slaw": CLEAR, "constant": EQUAL},
            "slaw has the best score, 0.810 ± 0.025; equal weights (constant) have 0.610 ± 0.025. "
            "Better than equal weights: slaw by 0.2000 [0.2000, 0.2000]. May be the best: slaw. "
            "This is exploratory: 3 seeds, where 5 are the least to rely on.",
        ),
        ({"slaw": NOISE, "constant": EQUAL}, "None is better than equal weights beyond doubt: "),
        ({"slaw": NOISE, "constant": EQUAL}, "such a study finds a difference of 0.3"),
        ({"slaw": NOISE, "constant": EQUAL}, "Any of them may be the best."),
        ({"slaw": [0.6], "constant": [0.5]}, "no intervals: this may be noise"),
        (
            {"slaw": [0.5], "constant": [0.6]},
            "no intervals: this may be noise. This is exploratory",
        ),
        ({"slaw": EQUAL, "constant": CLEAR}, "Equal weights (constant) have the best score, 0.810"),
        ({"slaw": EQUAL, "constant": CLEAR}, "Every other method is worse than equal weights."),
        ({"a": EQUAL, "b": EQUAL, "constant": CLEAR}, "worse than equal weights, allowing for 2"),
        ({"slaw": [0.7, 0.9, 0.8], "constant": CLEAR}, "None is better than equal weights beyond"),
        (
            {"x": [0.5, 0.95, 0.7], "slaw": [0.70, 0.71, 0.72], "constant": EQUAL},
            "x has the best score, 0.72 ± 0.56; equal weights (constant) have 0.610 ± 0.025. "
            "None is better",
        ),
        ({"ideal": [0.99] * 3, "slaw": CLEAR, "constant": EQUAL}, "slaw has the best score"),
        ({"famo": [0.9, NAN, 0.9], "constant": CLEAR, "dwa": EQUAL}, "Diverged: famo in 1 of 3"),
        (
            {"slaw": CLEAR, "constant": CLEAR},
            "slaw and equal weights (constant) tie for the best score, 0.810 ± 0.025. None is",
        ),
        ({"slaw": CLEAR, "dwa": CLEAR, "constant": EQUAL}, "slaw and dwa tie for the best score, "),
        (
            {"a": CLEAR, "b": CLEAR, "constant": CLEAR, "c": EQUAL},
            "a, b and equal weights (constant) tie for the best score, 0.810 ± 0.025. None is",
        ),
        ({"slaw": [0.91772], "constant": [0.91768]}, "slaw and equal weights (constant) tie"),
        ({"slaw": [0.91768], "constant": [0.91772]}, "equal weights (constant) and slaw tie"),
        ({"slaw": [0.9178], "constant": [0.9177]}, "slaw has the best score"),
        # Exactly the same mean, shown to different digits.
        (
            {"slaw": [0.5, 0.75], "constant": [0.625, 0.625]},
            "slaw and equal weights (constant) tie",
        ),
        (dict.fromkeys("abcdefg", CLEAR) | {"constant": EQUAL}, "a by 0.2000 [0.2000, 0.2000]"),
        (dict.fromkeys("abcdefg", CLEAR) | {"constant": EQUAL}, "best: a, b, c, d and 3 more."),
    ],
)
def test_verdict(scores, said):
    assert said in verdict(summarise(study(), overall(scores), {}))


def test_five_seeds_are_not_exploratory():
    scores = {"slaw": [*CLEAR, 0.8, 0.81], "constant": [*EQUAL, 0.6, 0.61]}
    assert "exploratory" not in verdict(summarise(study(), overall(scores), {}))


def best_of(column: int, scores: dict[str, list[float]], expected: dict[str, int]) -> set[str]:
    """The methods that a column of the results marks as best."""
    _, rows = results_table(summarise(study(), overall(scores), expected))
    return {name for name, cells in rows if cells[column].best}


def test_all_that_tie_are_marked():
    alike = {"slaw": [0.91772], "constant": [0.91768], "dwa": [0.9172], "ideal": [0.99]}
    assert best_of(0, alike, {}) == {"slaw", "constant"}
    assert best_of(0, {"slaw": [0.5, 0.75], "constant": [0.625] * 2, "dwa": [0.6] * 2}, {}) == {
        "slaw",
        "constant",
    }
    runs = [
        run(method, 0, {"a": score[0], "b": 1.0, "all": 1.0}) for method, score in alike.items()
    ]
    names, rows = tasks_table(study(), runs, summarise(study(), runs, {}))
    marked = [
        {name for name, cell in zip(names, cells, strict=True) if cell.best} for _, cells in rows
    ]
    assert marked == [{"slaw", "constant"}, {"slaw", "constant", "dwa"}]


def test_a_study_that_is_not_finished_names_no_winner():
    scores = {"slaw": CLEAR[:2], "constant": EQUAL, "earlier": NOISE[:1]}
    expected = {"slaw": 3, "constant": 3, "dwa": 2}
    summary = summarise(study(), overall(scores), expected)
    assert not summary.finished
    assert verdict(summary) == (
        "The study is not finished, so nothing is best yet; seeds done: slaw 2 of 3, dwa 0 of 2."
    )
    headings, rows = results_table(summary)
    assert headings[-1] == "finished"
    assert {name: cells[-1].text for name, cells in rows} == {
        "slaw": "2 of 3 seeds",
        "constant": "",
        "earlier": "",
        "dwa": "0 of 2 seeds",
    }
    assert rows[-1][0] == "dwa"
    assert not any(cell.best for _, cells in rows for cell in cells)
    assert json.loads(to_json(summary))["unfinished"] == {"slaw": [2, 3], "dwa": [0, 2]}
    assert best_of(0, scores, {}) == {"slaw"}
    assert "finished" not in results_table(summarise(study(), overall(scores), {}))[0]


def test_seeds_of_the_single_networks_are_missing_if_any_task_is():
    runs = [*overall({"constant": EQUAL}), run("single", 0, {"a": 0.5}, task="a")]
    runs += [run("single", seed, {"b": 0.5}, task="b") for seed in range(2)]
    expected = {"constant": 3, "single": 2}
    assert summarise(study(), runs, expected).unfinished == {"single": (1, 2)}
    runs.append(run("single", 1, {"a": 0.5}, task="a"))
    assert summarise(study(), runs, expected).finished
    assert "single 0 of 2" in verdict(summarise(study(), overall({"constant": EQUAL}), expected))


def test_more_seeds_than_asked_for_are_finished_and_nothing_is_not():
    assert summarise(study(), overall({"slaw": CLEAR}), {"slaw": 2}).finished
    assert summarise(study(), overall({"slaw": CLEAR}), {}).finished
    nothing = summarise(study(), [], {"slaw": 2})
    assert not nothing.finished
    assert verdict(nothing) == "No run has finished yet."


def test_the_summary_as_a_frame():
    scores = {"constant": EQUAL, "slaw": CLEAR, "dwa": [0.9, NAN, 0.9]}
    runs = overall(scores)
    summary = summarise(study(), runs, {})
    frame = summary.frame()
    assert list(frame.columns) == [
        "method",
        "seeds",
        "diverged",
        "score",
        "score ±",
        "mean rank",
        "over constant",
        "over constant ±",
        "judgement",
        "may be best",
        "collapsed",
        "ms per step",
    ]
    assert frame["method"].tolist() == ["slaw", "constant", "dwa"]
    assert frame["diverged"].tolist() == [0, 0, 1]
    by_hand = pd.DataFrame(scores).mean(skipna=False)[frame["method"]]
    assert frame["score"].to_numpy() == pytest.approx(by_hand.to_numpy(), nan_ok=True)
    low, high = stats.t.interval(0.95, 2, np.mean(CLEAR), stats.sem(CLEAR))
    assert frame["score ±"][0] == pytest.approx((high - low) / 2)
    assert frame["over constant"][0] == pytest.approx(0.2)
    assert frame["ms per step"].tolist() == [500] * 3


def test_the_frame_has_what_only_some_studies_have():
    runs = [
        run("slgrad", 0, {"a": 0.6, "b": 0.6, "all": 0.6}, detection=0.8),
        run("dwa", 0, {"a": 0.5, "b": 0.5, "all": 0.5}),
        *(run("single", 0, {task: 0.5}, task=task) for task in "ab"),
    ]
    frame = summarise(study(), runs, {}).frame().set_index("method")
    assert frame.loc["slgrad", "Δm, %"] == pytest.approx(20)
    assert frame["detection"].to_dict() == pytest.approx({"slgrad": 0.8, "dwa": NAN}, nan_ok=True)
    assert "over constant" not in frame
    assert summarise(study(), [], {}).frame().empty
