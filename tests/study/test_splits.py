"""With splits each seed has samples of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from study import toy
from torch.utils.data import TensorDataset

import equipoise
from equipoise.errors import UserError
from equipoise.study.confirming import paired
from equipoise.study.splits import NOTE


def made(size: int = 90, data_seed: int = 0):
    """The toy problem, its samples dealt out by the seed."""
    whole = toy.noisy()
    generator = torch.Generator().manual_seed(data_seed)
    order = torch.randperm(size, generator=generator)
    parts = [whole.train, whole.validation, whole.test]
    tensors = [torch.cat(each) for each in zip(*(part.tensors for part in parts), strict=True)]
    dealt = [TensorDataset(*(each[rows] for each in tensors)) for rows in order.split([50, 20, 20])]
    corrupted = dealt[0].tensors[1][:, :1] > 0
    return replace(
        whole,
        train=dealt[0],
        validation=dealt[1],
        test=dealt[2],
        corrupted=corrupted.expand(-1, 2),
        rows=order[:50].tolist(),
    )


def compared(out, problem=made, **more):
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


def test_workers_make_the_same(result, tmp_path):
    again = compared(tmp_path, splits=True, confirm=2, jobs=2)
    assert again.failures == {}
    for name, run in by_name(again).items():
        assert run.facts.metrics == by_name(result)[name].facts.metrics


def test_it_is_another_study_and_says_of_what(result):
    assert vars(result.study.splits) == {"parameter": "data_seed", "train": 50, "test": 20}
    assert "data_seed" not in result.study.options
    assert result.study.notes[-1] == NOTE
    assert NOTE in result.page.read_text()
    with pytest.raises(UserError, match="another configuration"):
        compared(result.folder)
    with pytest.raises(UserError, match="`splits`"):
        equipoise.predict(result.folder, "new.csv", problem=made)


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
        (made, {"options": {"data_seed": 3}}, "leave out `data_seed`"),
        (made, {"tune": {"lr": [0.1, 0.2]}}, "`tune` with `splits`"),
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
        return made(data_seed=data_seed)

    found = compared(tmp_path, sometimes, splits=True)
    assert {run.facts.seed for run in found.runs} == {0}
    assert {each.reason for each in found.failures.values()} == {
        "this seed leaves nothing to test on"
    }
