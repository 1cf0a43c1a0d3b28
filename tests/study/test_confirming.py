"""Who leads is tested on seeds that knew nothing of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from study import toy

import equipoise
from equipoise.errors import UserError
from equipoise.study import jobs
from equipoise.study.confirming import confirmations, holm, paired
from equipoise.study.stages import CONFIRMING

METHODS = "constant,slaw,dwa"


def compared(out, **more):
    given = {"methods": METHODS, "steps": 6, "seeds": 2, "progress": False}
    return equipoise.compare(toy.toy(), out=out, **{**given, **more})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("confirmed") / "out", confirm=3)


def errors(runs, method):
    return [run.facts.metrics["error"]["all"] for run in runs if run.facts.method == method]


def test_the_leader_is_tested_on_fresh_seeds_alone(result):
    (found,) = result.confirmation
    leader = min({"slaw", "dwa"}, key=lambda method: np.mean(errors(result.runs, method)))
    assert found.method == leader
    assert {run.facts.seed for run in result.fresh} == set(range(CONFIRMING, CONFIRMING + 3))
    assert {run.facts.method for run in result.fresh} == {leader, "constant"}
    ours, theirs = errors(result.fresh, leader), errors(result.fresh, "constant")
    test = stats.ttest_rel(theirs, ours)  # of an error less is better
    low, high = test.confidence_interval(0.95)
    assert found.p_value == pytest.approx(test.pvalue)
    assert found.difference == pytest.approx(((low + high) / 2, (high - low) / 2))
    told = json.loads((result.folder / "summary.json").read_text())["confirmation"]
    assert told[0]["p_value"] == found.p_value
    assert told[0]["judgement"] == found.judgement
    assert result.verdict.endswith(str(found))


def test_fresh_seeds_do_not_enter_the_table(result, tmp_path):
    plain = compared(tmp_path / "out")
    table = "results.csv"
    assert (plain.folder / table).read_bytes() == (result.folder / table).read_bytes()
    assert plain.confirmation == ()
    assert plain.study.identity == result.study.identity
    assert [row.seeds for row in result.comparison.methods] == [2, 2, 2]


def test_what_was_killed_while_it_confirmed_goes_on(result, tmp_path, monkeypatch):
    whole = {run.name: repr(run.facts.metrics) for run in result.fresh}
    train, trained = jobs.run_job, []

    def killed(job, problem, told):
        if job.seed > CONFIRMING:
            raise KeyboardInterrupt
        return train(job, problem, told)

    def counted(job, problem, told):
        trained.append(job.name)
        return train(job, problem, told)

    monkeypatch.setattr(jobs, "run_job", killed)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path, confirm=3)
    stopped = equipoise.open_study(tmp_path)
    assert stopped.confirmation[0].judgement is None
    assert "1 of 3 seeds" in stopped.verdict
    monkeypatch.setattr(jobs, "run_job", counted)
    again = compared(tmp_path, confirm=3)
    assert len(trained) == 4
    assert all(name.startswith("confirmation: ") for name in trained)
    assert {run.name: repr(run.facts.metrics) for run in again.fresh} == whole
    assert [each.told() for each in again.confirmation] == [
        each.told() for each in result.confirmation
    ]


def test_several_leaders_are_confirmed_together(tmp_path):
    found = compared(tmp_path, confirm=2, confirm_top=5).confirmation
    assert {each.method for each in found} == {"slaw", "dwa"}
    alone = [paired([1.0, 2.0, 4.0], number)[0] for number in (1, 2)]
    assert alone[1].half_width == pytest.approx(
        alone[0].half_width * stats.t.ppf(0.9875, 2) / stats.t.ppf(0.975, 2)
    )


def test_p_values_are_adjusted_step_by_step():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"confirm": 1}, "`confirm` must be a whole number from 2"),
        ({"confirm_top": 0}, "`confirm_top`"),
        ({"confirm": 3, "methods": "slaw,dwa"}, "`confirm` .* name constant"),
        ({"confirm": 3, "methods": "constant"}, "name constant and another method"),
    ],
)
def test_what_cannot_be_confirmed_is_said_before_anything_is_trained(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        compared(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_method_that_diverges_is_not_confirmed(tmp_path):
    given = {"methods": METHODS, "steps": 6, "seeds": 1, "progress": False}
    problem = toy.toy(losses=toy.blows_up)
    found = equipoise.compare(problem, confirm=2, out=tmp_path, **given)
    assert found.confirmation == ()
    assert found.best is None


def test_a_fresh_seed_that_diverges_confirms_nothing(result):
    facts = replace(result.fresh[0].facts, metrics={"error": {"all": math.nan}})
    runs = [replace(result.fresh[0], facts=facts), *result.fresh[1:]]
    (found,) = confirmations(result.study, runs)
    assert found.judgement == "cannot be told"
    assert "diverged" in str(found)
