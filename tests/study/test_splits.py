"""With splits each seed has samples of its own."""

from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
import torch
from study import toy

import equipoise
from equipoise.errors import UserError
from equipoise.study.asked import ask
from equipoise.study.confirming import paired
from equipoise.study.settings import DEFAULTS
from equipoise.study.splits import NOTE


def compared(out, problem=toy.dealt, **more):
    given = {"methods": "constant,slgate", "steps": 6, "seeds": 2, "progress": False}
    return equipoise.compare(problem, out=out, **{**given, **more})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("splits") / "out", splits=True, confirm=2)


def by_name(result):
    return {run.name: run for run in [*result.runs, *result.fresh]}


def test_each_run_is_that_of_the_problem_of_its_seed(result, tmp_path):
    for seed in (0, 1):
        fixed = compared(tmp_path / str(seed), options={"data_seed": seed})
        name = f"slgate, seed {seed}"
        ours, theirs = by_name(result)[name], by_name(fixed)[name]
        assert ours.facts.metrics == theirs.facts.metrics
        np.testing.assert_array_equal(ours.history.losses, theirs.history.losses)
    other = by_name(fixed)["slgate, seed 0"]
    assert other.facts.metrics != by_name(result)["slgate, seed 0"].facts.metrics


def test_another_process_makes_the_same_problems():
    asked = ask(toy.dealt, DEFAULTS, splits=True)
    problems = cloudpickle.loads(cloudpickle.dumps(asked.problems))
    for seed in (0, 1):
        for part in ("train", "validation", "test"):
            ours, theirs = (getattr(each(seed), part) for each in (problems, toy.dealt))
            assert all(map(torch.equal, ours.tensors, theirs.tensors))
    assert not torch.equal(problems(0).train.tensors[0], problems(1).train.tensors[0])


def test_it_is_another_study_and_says_of_what(result):
    assert vars(result.study.splits) == {"parameter": "data_seed", "train": 50, "test": 20}
    assert "data_seed" not in result.study.options
    assert result.study.notes[-1] == NOTE
    assert NOTE in result.page.read_text()
    with pytest.raises(UserError, match="another configuration"):
        compared(result.folder)
    with pytest.raises(UserError, match="`splits`"):
        equipoise.predict(result.folder, "new.csv", problem=toy.dealt)


def test_the_interval_knows_that_training_parts_overlap(result):
    assert result.study.shared_by_splits == 0.4
    assert replace(result.study, splits=None).shared_by_splits == 0
    differences = [0.3, 0.1, 0.9, 0.4]
    independent, p_value = paired(differences)
    overlapping, larger = paired(differences, shared=0.4)
    assert overlapping.mean == independent.mean
    ratio = overlapping.half_width / independent.half_width
    assert ratio == pytest.approx(np.sqrt((1 / 4 + 0.4) / (1 / 4)))
    assert larger > p_value
    (found,) = result.confirmation
    errors = [
        [by_name(result)[f"{method}, seed {seed}"].facts.metrics["error"]["[a]"] for seed in seeds]
        for seeds in [sorted({run.facts.seed for run in result.fresh})]
        for method in ("slgate", "constant")
    ]
    expected, _ = paired(np.subtract(errors[1], errors[0]), shared=0.4)
    assert found.difference == pytest.approx(expected)


@pytest.mark.parametrize(
    ("problem", "arguments", "words"),
    [
        (toy.noisy, {}, "`splits`: noisy has no parameter split_seed or data_seed"),
        (toy.noisy(), {}, "`splits`: problem has no parameter"),
        (toy.dealt, {"options": {"data_seed": 3}}, "leave out `data_seed`"),
        (toy.dealt, {"tune": {"lr": [0.1, 0.2]}}, "`tune` with `splits`"),
    ],
)
def test_what_cannot_be_split_is_one_sentence(tmp_path, problem, arguments, words):
    with pytest.raises(UserError, match=words) as raised:
        compared(tmp_path / "out", problem, splits=True, **arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_seed_whose_problem_cannot_be_made_fails_alone(tmp_path):
    def sometimes(data_seed: int = 0):
        if data_seed == 1:
            raise UserError("this seed leaves nothing to test on")
        return toy.dealt(data_seed=data_seed)

    found = compared(tmp_path, sometimes, splits=True)
    assert {run.facts.seed for run in found.runs} == {0}
    assert {each.reason for each in found.failures.values()} == {
        "this seed leaves nothing to test on"
    }


def test_the_command_line_gives_the_default_of_the_parameter_too(run):
    command = ["compare", "study.toy:dealt", "--methods", "constant", "--steps", 4, "--seeds", 2]
    code, text = run(*command, "--splits")
    assert code == 0
    assert NOTE in text
    code, text = run(*command, "--splits", "--data-seed", 3)
    assert code == 1
    assert "--splits gives every run a data_seed of its own: leave out --data-seed" in text
