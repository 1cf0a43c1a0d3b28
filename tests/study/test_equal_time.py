"""At equal time a method whose steps cost more has fewer of them."""

import json

import numpy as np
import pandas as pd
import pytest
from study import toy

import equipoise
from equipoise import LossWeighting
from equipoise.errors import UserError
from equipoise.study import equal_time, jobs
from equipoise.study.costs import declared_cost
from equipoise.study.methods import find_methods

METHODS = "constant,slaw,slgate,gradnorm"
STEPS = {"constant": 12, "slaw": 12, "slgate": 5, "gradnorm": 5}  # 12 / (1 + 4/3), of two tasks


def compared(out, **more):
    given = {"methods": METHODS, "steps": 12, "seeds": 2, "progress": False}
    return equipoise.compare(toy.noisy(), out=out, **{**given, **more})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("timed") / "out"
    return compared(out, equal_time="passes", decide="time", confirm=2, single_task=True)


@pytest.mark.parametrize(
    ("method", "tasks", "cost"),
    [
        ("constant", 2, 1),
        ("slaw", 30, 1),
        ("probedgradientnorm", 30, 4 / 3),  # a third pass forward beside one of three
        ("slgate", 30, 7 / 3),
        ("slaw+slgate", 30, 7 / 3),
        ("gradnorm", 2, 1 + 2 * 2 / 3),
        ("gradnorm", 30, 21),
    ],
)
def test_what_methods_declare_is_counted_in_steps_of_equal_weights(method, tasks, cost):
    (found,) = find_methods(method)
    assert declared_cost(found, tasks) == pytest.approx(cost)


def test_a_costly_method_has_fewer_steps_and_begins_with_the_same(result):
    assert result.study.equal_steps == STEPS
    assert {run.facts.method for run in result.shorter} == {"slgate", "gradnorm"}
    whole = {run.name: run for run in result.runs}
    for run in result.shorter:
        losses = run.history.losses
        assert len(losses) == STEPS[run.facts.method]
        np.testing.assert_array_equal(losses, whole[run.name].history.losses[: len(losses)])


def test_there_are_two_tables(result):
    table = pd.read_csv(result.folder / "equal-time.csv")
    own = table[(table.metric == "error") & (table.task == "[a]")]
    shorter = {run.name: run for run in result.shorter}
    for summary, timed in ((result.comparison, False), (result.at_equal_time, True)):
        assert {row.method for row in summary.methods} == set(STEPS)
        for row in summary.methods:
            runs = [run for run in result.runs if run.facts.method == row.method]
            if timed:
                runs = [shorter.get(run.name, run) for run in runs]
                assert row.metrics["error"].mean == pytest.approx(
                    own[own.method == row.method]["value"].mean()
                )
            errors = [run.facts.metrics["error"]["[a]"] for run in runs]
            assert row.metrics["error"].mean == pytest.approx(np.mean(errors))
            assert row.delta_m is not None
    told = json.loads((result.folder / "summary.json").read_text())
    assert {row["method"] for row in told["equal_time"]["methods"]} == set(STEPS)
    assert told["equal_steps"] == STEPS


def test_which_decides_is_fixed_before(result, tmp_path):
    assert result.deciding is result.at_equal_time
    assert result.best == result.at_equal_time.eligible[0].method
    assert "At equal steps: " in result.verdict
    assert "Equal time is what decides" in result.verdict
    (confirmed,) = result.confirmation
    (leader,) = [row.method for row in result.deciding.eligible if row.method != "constant"][:1]
    assert confirmed.method == leader
    for run in result.fresh:
        assert len(run.history.losses) == STEPS[run.facts.method]
    with pytest.raises(UserError, match="decide 'time' there, 'steps' now"):
        compared(result.folder, equal_time="passes")
    other = compared(tmp_path, equal_time="passes", methods="constant,slgate")
    assert other.deciding is other.comparison
    assert "Equal steps is what decides" in other.verdict


def test_seconds_once_measured_are_kept(tmp_path, monkeypatch):
    seconds = {"constant": 1.0, "slgate": 4.0}
    monkeypatch.setattr(equal_time, "measured_seconds", lambda method, _: seconds[method.label])
    given = {"methods": "constant,slgate", "equal_time": "seconds"}
    first = compared(tmp_path, **given)
    assert first.study.equal_steps == {"constant": 12, "slgate": 3}
    seconds["slgate"] = 2.0

    def no_training(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(jobs, "run_job", no_training)
    again = compared(tmp_path, **given)
    assert again.failures == {}
    assert again.study.equal_steps == first.study.equal_steps
    assert again.at_equal_time == first.at_equal_time


def test_measured_seconds_are_the_median_of_the_runs(result):
    (slgate,) = find_methods("slgate")
    own = [run.facts.seconds_per_step for run in result.runs if run.facts.method == "slgate"]
    assert equal_time.measured_seconds(slgate, result.runs) == pytest.approx(np.median(own))


def test_a_method_that_is_not_done_yet_is_no_part_of_the_second_table(tmp_path, monkeypatch):
    train = jobs.run_job

    def killed(job, problem, told):
        if job.stage == "equal-time":
            raise KeyboardInterrupt
        return train(job, problem, told)

    monkeypatch.setattr(jobs, "run_job", killed)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path, methods="constant,slgate", equal_time="passes")
    stopped = equipoise.open_study(tmp_path)
    assert stopped.comparison.finished
    assert stopped.at_equal_time.unfinished == {"slgate": (0, 2)}


class Costly(LossWeighting):
    """Equal weights, slowly."""

    passes = "a walk around the lake"

    def update(self, losses, counts):
        return losses * 0 + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"equal_time": "hours"}, "`equal_time` must be 'passes' or 'seconds'"),
        ({"equal_time": "passes", "decide": "luck"}, "`decide` must be"),
        ({"decide": "time"}, "`decide` 'time' is of a study with `equal_time`"),
        ({"equal_time": "passes", "methods": "slaw"}, "name the method constant"),
        ({"equal_time": "passes", "methods": ["constant", Costly]}, "a walk around the lake"),
    ],
)
def test_what_cannot_be_timed_is_one_sentence(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words) as raised:
        compared(tmp_path / "out", **arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
