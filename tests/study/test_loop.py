import io
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from study.toy import blows_up, noisy, toy
from study.training import loop_of, trained
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import TensorDataset
from torchmetrics import MeanSquaredError

from equipoise import SLAW, Constant, HeldOutWeighting, Needs, Uncertainty
from equipoise.errors import UserError
from equipoise.problems import Score
from equipoise.study import record
from equipoise.study.batches import Batches
from equipoise.study.measure import measure
from equipoise.study.methods import WEIGHTINGS, find_methods
from equipoise.study.runs import read_run

CPU = torch.device("cpu")


def same(one, other):
    return one.facts.metrics == other.facts.metrics and all(
        np.array_equal(vars(one.history)[name], vars(other.history)[name], equal_nan=True)
        for name in vars(one.history)
        if name != "seconds_per_step"
    )


def test_a_run_repeats_bit_for_bit_whatever_the_process_drew_before():
    first = trained()
    torch.rand(7)
    assert same(first, trained())
    assert not same(first, trained(seed=1))


def test_the_random_state_of_the_process_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained()
    assert torch.equal(torch.rand(3), expected)


def test_it_is_the_plain_loop():
    problem = toy(network=lambda: nn.Linear(3, 2), shared=lambda network: network.parameters())
    run = trained(problem, Constant(2), steps=10)

    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(0)
    order = [torch.randperm(50, generator=generator).split(16) for _ in range(3)]
    for indices in [part for epoch in order for part in epoch][:10]:
        inputs, targets, mask = problem.train[indices]
        loss = sum(
            (network(inputs)[mask[:, k], k] - targets[mask[:, k], k]).square().mean()
            for k in range(2)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = measure(
        problem, network.requires_grad_(False), problem.test, device=CPU, batch_size=20
    )["error"]
    assert run.facts.metrics["error"] == pytest.approx(expected, rel=1e-4)


def test_gradients_are_clipped():
    tiny = toy(recipe=replace(toy().recipe, clip=1e-12, optimizer=torch_sgd))
    run = trained(tiny, Constant(2))
    assert np.ptp(run.history.test) == pytest.approx(0, abs=1e-6)


def torch_sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr)


def test_learned_weights_are_learned():
    run = trained(weighting=Uncertainty(2), steps=20)
    assert np.ptp(run.history.weights[:, 1]) > 0.1


@pytest.fixture
def measured_by(monkeypatch):
    """The toy problem, where ``(network, samples)`` → metrics takes the place of its scores."""

    def measured_by(metrics, **changes):
        def measure(problem, network, data, *, device, batch_size):
            return metrics(network, data)

        monkeypatch.setattr(record, "measure", measure)
        return toy(**changes)

    return measured_by


def test_the_step_is_chosen_on_the_validation_part_alone(measured_by):
    scores = iter([5.0, 1.0, 3.0, 2.0, 1.0, 3.0] * 4)

    def metrics(network, data):
        return {"error": {"all": next(scores) if data is problem.validation else 100.0}}

    problem = measured_by(metrics)
    run = trained(problem, steps=10)
    assert run.history.validation.tolist() == [5, 1, 3, 2, 1, 3, 5, 1, 3, 2]
    assert run.facts.selected_step == 2
    assert run.facts.metrics["error"]["all"] == 100


# The best step is the second for all tasks, the third for a, the first for b.
VALIDATION = [
    {"all": 3.0, "a": 2.0, "b": 1.0},
    {"all": 1.0, "a": 3.0, "b": 2.0},
    {"all": 2.0, "a": 1.0, "b": 3.0},
]


@pytest.mark.parametrize(
    ("main", "task", "deciding", "selected"),
    [
        (None, None, "all", 2),
        ("a", None, "a", 3),
        ("b", None, "b", 1),
        ("a", "b", "b", 1),
        (None, "a", "a", 3),
    ],
)
def test_the_step_is_chosen_by_the_task_that_decides(measured_by, main, task, deciding, selected):
    scores = iter(VALIDATION)

    test = {"all": 10.0, "a": 20.0, "b": 30.0}

    def metrics(network, data):
        return {"error": next(scores) if data is problem.validation else test}

    problem = measured_by(metrics, main=main)
    run = trained(problem, steps=3, task=task)
    assert run.facts.selected_step == selected
    assert run.history.validation.tolist() == [scores[deciding] for scores in VALIDATION]
    assert run.history.test.tolist() == [test[deciding]] * 3


@pytest.mark.parametrize("finite", [True, False])
def test_the_network_of_the_selected_step_is_kept_where_it_predicts(measured_by, finite):
    seen = []
    scores = iter([np.nan, np.inf, 2.0, 1.0, np.nan, 1.0] if finite else [np.nan] * 6)

    def metrics(network, data):
        if data is problem.test:
            return {"error": {"all": 0.0}}
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"error": {"all": next(scores)}}

    problem = measured_by(metrics, predict=lambda rows, networks: pd.DataFrame())
    run = trained(problem, steps=6)
    assert run.facts.selected_step == (4 if finite else 6)
    expected = seen[run.facts.selected_step - 1]
    assert run.network().keys() == expected.keys()
    assert all(torch.equal(run.network()[name], expected[name]) for name in expected)


def test_the_sheet_of_the_selected_step_is_kept_and_goes_on_with_the_run():
    def sheet(network):
        assert not network.training
        assert not torch.is_grad_enabled()
        return np.full((2, 3, 3), sheets.pop(0), np.uint8)

    sheets = [10 * number for number in range(20)]
    problem = toy(sheet=sheet)
    with torch.random.fork_rng():
        loop = loop_of(problem, steps=10)
        loop.step()
        content = io.BytesIO()
        torch.save(loop.state_dict(), content)
        content.seek(0)
        resumed = loop_of(problem, steps=10)
        resumed.load_state_dict(torch.load(content, weights_only=True))
    run = read_run(resumed.record.files("slaw", None, 0, None))
    shown = np.asarray(Image.open(io.BytesIO(run.sheet())))
    assert shown.shape == (2, 3, 3)
    assert abs(shown.astype(int)).max() <= 2  # the first, and WebP loses a little
    assert trained(toy(), steps=6).sheet() is None


def test_no_network_is_kept_where_none_predicts():
    assert not trained(toy(), steps=6).has_network


def test_history_has_every_step_and_evaluation():
    run = trained(steps=20)
    assert run.history.losses.shape == run.history.weights.shape == (20, 2)
    assert run.history.evaluated_at.tolist() == list(range(2, 21, 2))
    assert trained(steps=3).history.evaluated_at.tolist() == [1, 2, 3]
    weighting = SLAW(2)
    torch.testing.assert_close(
        torch.from_numpy(trained(weighting=weighting, steps=5).history.weights[-1]),
        weighting.weights,
    )


def test_a_task_without_labels_in_a_batch_is_recorded_as_absent():
    run = trained(batch_size=1, steps=30)
    assert np.isnan(run.history.losses[:, 1]).any()
    assert not np.isnan(run.history.losses[:, 0]).any()
    assert run.facts.diverged_at is None


def test_divergence_is_shown():
    run = trained(toy(losses=blows_up), steps=20)
    assert run.facts.diverged_at == 1
    assert len(run.history.losses) == 2
    assert np.isnan(run.facts.metrics["error"]["all"])


def test_loss_weight_error():
    run = trained(toy(ideal_weights=[1.5, 0.5]), Constant(2))
    assert run.facts.metrics["loss-weight error"]["all"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"losses": lambda outputs, batch: outputs[:, :1]}, r"\(samples, 2\)"),
        ({"losses": lambda outputs, batch: (outputs.mean(), None)}, r"\(samples, 2\)"),
        ({"losses": lambda outputs, batch: {"c": outputs[:, 0]}}, "no task 'c'"),
        ({"losses": lambda outputs, batch: (outputs, batch[2].float())}, "boolean"),
        ({"answers": lambda outputs, batch: {"c": (outputs, outputs)}}, "name 'c'"),
    ],
)
def test_a_problem_that_does_not_keep_its_word_is_told(changes, words):
    with pytest.raises(UserError, match=words):
        trained(toy(**changes))


def test_a_task_alone_without_the_score_that_decides_is_told():
    problem = toy(scores={"error": Score(goal="min", metric={"a": MeanSquaredError})})
    with pytest.raises(UserError, match="must give 'error' for 'b'"):
        trained(problem, task="b")


class Uniform(HeldOutWeighting):
    """As equal weights, times a factor for each task."""

    factors = (1.0, 1.0)

    def weigh_samples(self, alignments, uniform):
        return uniform * torch.tensor(self.factors)


class Uneven(Uniform):
    factors = (0.5, 3.0)


def weighing(kind, problem):
    def make(network):
        shared = list(problem.shared(network))
        return kind.made_for(problem.tasks, problem.loss_function, network, shared=shared, main="a")

    return make


def test_uniform_weights_of_samples_are_equal_weights_of_tasks():
    usual = toy(network=lambda: nn.Linear(3, 2), shared=lambda network: network.parameters())
    problem = replace(usual, main="a", held_out=usual.validation)
    recipe = replace(problem.recipe, optimizer=torch_sgd, lr=0.01, steps=10)

    def run(make):
        return trained(replace(problem, recipe=recipe), make)

    equal, uniform = run(lambda network: Constant(problem.tasks)), run(weighing(Uniform, problem))
    np.testing.assert_allclose(uniform.history.losses, equal.history.losses, rtol=1e-4)
    np.testing.assert_allclose(uniform.history.weights, 1, rtol=1e-5)
    uneven = run(weighing(Uneven, problem))
    np.testing.assert_allclose(uneven.history.weights, [[0.5, 3.0]] * 10, rtol=1e-5)
    for samples, factors in ((uniform.samples(), (1, 1)), (uneven.samples(), (0.5, 3))):
        there = ~np.isnan(samples.weights)
        expected = np.broadcast_to(np.array(factors), samples.weights.shape)
        np.testing.assert_allclose(samples.weights[there], expected[there], rtol=1e-5)
        assert (there <= problem.train.tensors[2].numpy()).all()
        assert there.any((0, 1)).all()
    assert not equal.weighs_samples

    slaw = run(lambda network: SLAW(problem.tasks))
    both = run(lambda network: SLAW(problem.tasks) + weighing(Uniform, problem)(network))
    np.testing.assert_allclose(both.history.losses, slaw.history.losses, rtol=1e-3)
    np.testing.assert_allclose(both.history.weights, slaw.history.weights, rtol=1e-3)
    assert np.ptp(slaw.history.weights[:, 0]) > 0.1


@pytest.mark.parametrize("asks", [True, False])
def test_held_out_batches_go_to_whoever_asks_for_them(asks):
    seen = []

    class Asking(Constant):
        needs = Needs.LOSSES | (Needs.HELD_OUT if asks else Needs.LOSSES)

        def weigh(self, step):
            seen.append(step.held_out)
            return super().weigh(step)

    problem = replace(toy(), held_out=toy().validation)
    trained(problem, Asking(2), steps=5)
    assert [each is not None for each in seen] == [asks] * 5
    for batch in filter(None, seen):
        rows = {tuple(row) for row in problem.held_out.tensors[0].tolist()}
        assert rows.issuperset(map(tuple, batch[0].tolist()))


def test_losses_by_name_are_taken():
    def by_name(outputs, batch):
        values, mask = problem.losses(outputs, batch)
        losses = {"b": values[:, 1], "a": values[:, 0]}
        return losses, {"a": mask[:, 0], "b": mask[:, 1]}

    problem = toy()
    assert same(trained(problem), trained(replace(problem, losses=by_name)))


def test_a_schedule_changes_the_learning_rate_after_each_step():
    recipe = replace(toy().recipe, schedule=lambda optimizer, steps: StepLR(optimizer, steps // 2))
    problem = replace(toy(), recipe=recipe)
    (method,) = find_methods("constant", problem)
    rates = []
    with torch.random.fork_rng():
        loop = loop_of(problem, partial(method.make, problem, 0), steps=20)
        while not loop.done:
            rates.append(loop.optimizer.param_groups[0]["lr"])
            loop.step()
    assert rates == pytest.approx([0.05] * 10 + [0.005] * 10)


NAMES = [*WEIGHTINGS, "slaw+slgate", "slgate(shared='border')", "torchjd/PCGrad", "torchjd/UW"]


@pytest.mark.parametrize("name", [*NAMES, "torchjd/FAMO"])
def test_a_run_goes_on_bit_for_bit_from_what_is_saved(name):
    recipe = replace(
        noisy().recipe, schedule=lambda optimizer, steps: StepLR(optimizer, steps // 3)
    )
    problem = replace(noisy(), recipe=recipe)
    (method,) = find_methods(name, problem)

    def begun(steps):
        loop = loop_of(problem, partial(method.make, problem, 0), steps=20)
        for _ in range(steps):
            loop.step()
        return loop

    with torch.random.fork_rng():
        whole = begun(20)
    with torch.random.fork_rng():
        content = io.BytesIO()
        torch.save(begun(9).state_dict(), content)
    torch.rand(3)
    with torch.random.fork_rng():
        resumed = begun(0)
        content.seek(0)
        resumed.load_state_dict(torch.load(content, weights_only=True))
        while not resumed.done:
            resumed.step()
    runs = [read_run(each.record.files(name, None, 0, None)) for each in (whole, resumed)]
    equal = same(*runs) and all(
        torch.equal(one, other)
        for one, other in zip(
            whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True
        )
    )
    # FAMO's optimizer and last batch are its own: a study begins such a run anew.
    assert equal == method.resumes
    if runs[0].weighs_samples:
        for one, other in zip(*(vars(run.samples()).values() for run in runs), strict=True):
            assert np.array_equal(one, other, equal_nan=True)


def test_held_out_batches_are_all_of_one_size():
    data = TensorDataset(torch.arange(10))
    batches = Batches(data, 4, 0, drop_last=True)
    seen = [next(batches)[0] for _ in range(50)]
    assert {len(rows) for rows in seen} == {4}
    for first, second in zip(seen[::2], seen[1::2], strict=True):  # an epoch
        assert len({*first.tolist(), *second.tolist()}) == 8
    assert torch.cat(seen).unique().tolist() == list(range(10))
    assert {len(next(Batches(data, 64, 0, drop_last=True))[0]) for _ in range(3)} == {10}
