"""At equal time a method whose steps cost more has fewer of them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from study import toy
from torch import nn

import equipoise
from equipoise.errors import UserError
from equipoise.study import equal_time, jobs
from equipoise.study.asked import ask
from equipoise.study.costs import counted_operations
from equipoise.study.jobs import Candidate
from equipoise.study.methods import check_methods, find_methods
from equipoise.study.settings import DEFAULTS

METHODS = "constant,slaw,slgate,gradnorm"
ROWS, INPUTS, HIDDEN, TASKS = 16, 3, 4, 2
FORWARD = 2 * ROWS * HIDDEN * (INPUTS + TASKS)
"""Operations of the toy network, two for each product of a matrix."""
TO_TRUNK = 2 * ROWS * HIDDEN * TASKS
"""Of the gradient in what the trunk gives; that in the inputs is not needed."""
TRUNK = 2 * ROWS * HIDDEN * INPUTS
"""Of the gradient in the trunk's matrix."""
EQUAL = 2 * FORWARD + TO_TRUNK
"""Of a step with equal weights: as many backward for the parameters as forward."""
OF_EACH_TASK = EQUAL + TASKS * (TO_TRUNK + TRUNK)


def compared(out, **more):
    given = {"methods": METHODS, "steps": 12, "seeds": 2, "progress": False}
    return equipoise.compare(toy.noisy(), out=out, **{**given, **more})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("timed") / "out"
    return compared(out, equal_time="operations", decide="time", confirm=2, single_task=True)


@pytest.mark.parametrize(
    ("method", "operations"),
    [
        ("constant", EQUAL),
        ("slaw", EQUAL),
        ("gradnorm", OF_EACH_TASK),
        ("torchjd/FAMO", EQUAL + FORWARD),
    ],
)
def test_operations_of_a_step_are_counted(method, operations):
    if method.startswith("torchjd"):
        pytest.importorskip("torchjd")
    asked = ask(toy.toy(), DEFAULTS)
    (found,) = check_methods(method, asked.problem)
    before = torch.get_rng_state()
    assert counted_operations(Candidate(found, asked.training), asked.problem) == operations
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_are_in_inverse_proportion_to_operations(result):
    steps = result.study.equal_steps
    assert steps["constant"] == steps["slaw"] == 12
    assert steps["gradnorm"] == round(12 * EQUAL / OF_EACH_TASK)
    assert 1 < steps["slgate"] < 12


def test_a_costly_method_has_fewer_steps_and_begins_with_the_same(result):
    assert {run.facts.method for run in result.shorter} == {"slgate", "gradnorm"}
    whole = {run.name: run for run in result.runs}
    for run in result.shorter:
        losses = run.history.losses
        assert len(losses) == result.study.equal_steps[run.facts.method]
        np.testing.assert_array_equal(losses, whole[run.name].history.losses[: len(losses)])


def test_there_are_two_tables(result):
    table = pd.read_csv(result.folder / "equal-time.csv")
    own = table[(table.metric == "error") & (table.task == "[a]")]
    shorter = {run.name: run for run in result.shorter}
    for summary, timed in ((result.comparison, False), (result.at_equal_time, True)):
        assert {row.method for row in summary.methods} == set(METHODS.split(","))
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
    assert {row["method"] for row in told["equal_time"]["methods"]} == set(METHODS.split(","))
    assert told["equal_steps"] == result.study.equal_steps


def test_which_decides_is_fixed_before(result, tmp_path):
    assert result.deciding is result.at_equal_time
    assert result.best == result.at_equal_time.eligible[0].method
    assert "At equal steps: " in result.verdict
    assert "Equal time is what decides" in result.verdict
    (confirmed,) = result.confirmation
    (leader,) = [row.method for row in result.deciding.eligible if row.method != "constant"][:1]
    assert confirmed.method == leader
    for run in result.fresh:
        assert len(run.history.losses) == result.study.equal_steps[run.facts.method]
    with pytest.raises(UserError, match="decide 'time' there, 'steps' now"):
        compared(result.folder, equal_time="operations")
    other = compared(tmp_path, equal_time="operations", methods="constant,slgate")
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
        compared(tmp_path, methods="constant,slgate", equal_time="operations")
    stopped = equipoise.open_study(tmp_path)
    assert stopped.comparison.finished
    assert stopped.at_equal_time.unfinished == {"slgate": (0, 2)}


def test_a_network_without_operations_is_said(tmp_path):
    class Elementwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Linear(3, 4)
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, inputs):
            return inputs[:, :2] * self.scale

    problem = toy.toy(network=Elementwise, shared=lambda network: [network.scale])
    given = {"steps": 4, "seeds": 1, "progress": False}
    with pytest.raises(UserError, match="no operations can be counted"):
        equipoise.compare(
            problem, methods="constant", equal_time="operations", out=tmp_path, **given
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"equal_time": "hours"}, "`equal_time` must be 'operations' or 'seconds'"),
        ({"equal_time": "operations", "decide": "luck"}, "`decide` must be"),
        ({"decide": "time"}, "`decide` 'time' is of a study with `equal_time`"),
        ({"equal_time": "operations", "methods": "slaw"}, "name the method constant"),
    ],
)
def test_what_cannot_be_timed_is_one_sentence(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words) as raised:
        compared(tmp_path / "out", **arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
