import numpy as np
import pytest
import torch
from problems.scored import scored

from equipoise import SLAW, InverseGradientNorm
from equipoise.errors import UserError
from equipoise.problems.synthetic.mtregression import mtregression
from equipoise.step import Step


@pytest.fixture(scope="module")
def problem():
    return mtregression(tasks=10)


def test_sizes_are_the_papers(problem):
    assert [len(part) for part in (problem.train, problem.validation, problem.test)] == [
        9_000,
        1_000,
        1_000,
    ]
    inputs, targets = problem.train[torch.arange(5)]
    assert inputs.shape == (5, 250)
    assert targets.shape == (5, 10, 100)
    assert problem.network()(inputs).shape == (5, 10, 100)


def test_data_follow_the_equation(problem):
    # atanh(y/σ) must be linear in x: with 250 inputs, 1,000 samples over-determine the matrix.
    inputs, targets = problem.test[torch.arange(1_000)]
    for k in (0, 9):
        linear = torch.atanh((targets[:, k] / (k + 1)).double().clamp(-1 + 1e-7, 1 - 1e-7))
        matrix = torch.linalg.lstsq(inputs.double(), linear).solution
        residual = linear - inputs.double() @ matrix
        assert residual.abs().median() < 1e-3
        assert matrix.std() == pytest.approx((10**2 + 3.5**2) ** 0.5, rel=0.02)
    assert inputs.std() == pytest.approx(0.01, rel=0.01)


def test_tasks_share_a_base(problem):
    _, targets = problem.test[torch.arange(1_000)]
    unit = targets / torch.arange(1.0, 11)[:, None]
    both = torch.corrcoef(torch.stack([unit[:, 0].flatten(), unit[:, 1].flatten()]))
    assert both[0, 1] > 0.8


def test_predicting_zero_scores_near_57(problem):
    network = problem.network()
    torch.nn.init.zeros_(network.heads.weight)
    with torch.no_grad():
        metrics = scored(problem, network, problem.test)["normalised loss"]
    assert metrics["all"] == pytest.approx(57, abs=1)
    assert metrics["all"] == pytest.approx(np.mean([metrics[name] for name in problem.tasks]))


def test_losses_are_the_mean_squared_error_of_each_task(problem):
    batch = problem.train[torch.arange(7)]
    network = problem.network()
    step = Step(problem.loss_function, network, batch, problem.shared(network))
    outputs = network(batch[0])
    expected = [
        torch.nn.functional.mse_loss(outputs[:, k], batch[1][:, k]).item() for k in range(10)
    ]
    assert step.losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_layers_are_orthogonal_with_gain_root_two(problem):
    network = problem.network()
    for head in network.heads.weight.detach().split(100):
        torch.testing.assert_close(head @ head.T, 2 * torch.eye(100), atol=1e-4, rtol=0)
    first = network.trunk[0].weight.detach()
    torch.testing.assert_close(first @ first.T, 2 * torch.eye(100), atol=1e-4, rtol=0)
    assert not network.heads.bias.any()


@pytest.mark.parametrize(("tasks", "scales"), [(2, [1, 10]), (3, [1, 2, 3])])
def test_ideal_weights(tasks, scales):
    inverse = [1 / scale**2 for scale in scales]
    expected = [tasks * each / sum(inverse) for each in inverse]
    assert mtregression(tasks=tasks).ideal_weights == pytest.approx(expected)


def test_same_seed_same_data():
    one, same, other = (mtregression(tasks=2, data_seed=seed) for seed in (0, 0, 1))
    indices = torch.arange(3)
    assert torch.equal(one.train[indices][1], same.train[indices][1])
    assert not torch.equal(one.train[indices][1], other.train[indices][1])


def test_one_task_is_refused():
    with pytest.raises(UserError, match="`tasks`"):
        mtregression(tasks=1)


def test_slaw_estimates_the_exact_weights(problem):
    """The paper's check of its estimate, at random steps of a run."""
    torch.manual_seed(0)
    network, slaw, exact = problem.network(), SLAW(10), InverseGradientNorm(10)
    shared = list(problem.shared(network))
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)
    checked = set((100 + torch.randperm(900)[:20]).tolist())
    pairs = []
    for number in range(max(checked) + 1):
        batch = problem.train[torch.randint(9_000, (304,))]
        step = Step(problem.loss_function, network, batch, shared)
        optimizer.zero_grad()
        total = slaw.weigh(step)
        if number in checked:
            exact.weigh(step)
            pairs.append(torch.stack([slaw.weights, exact.weights]))
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
    logarithms = torch.cat(pairs, 1).log()
    assert logarithms.shape == (2, 200)
    assert torch.corrcoef(logarithms)[0, 1] > 0.95
