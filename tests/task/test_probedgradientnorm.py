import copy

import pytest
import torch
from gloo import on_two_processes
from problems.scored import scored
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from equipoise import InverseGradientNorm, ProbedGradientNorm, task_losses
from equipoise.directional import gradient_norms, random_direction
from equipoise.problems.problem import OVERALL
from equipoise.problems.synthetic.mtregression import mtregression
from equipoise.step import Step
from equipoise.testing import tolerance

NAMES = ("a", "b", "c")


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3))


def made(model, **options):
    return ProbedGradientNorm(NAMES, shared=model[0], **options)


def batch(number):
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randn(8, 4, generator=generator)
    targets = torch.randn(8, 3, generator=generator) * torch.tensor([10.0, 1.0, 0.1])
    return inputs, targets, torch.rand(8, 3, generator=generator) < 0.7


def losses(model, batch):
    inputs, targets, mask = batch
    return (model(inputs) - targets).square(), mask


def train(weighting, model, numbers):
    """Weights of each step of a loop of one's own."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = []
    for number in numbers:
        loss = weighting(losses, model, batch(number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(weighting.weights)
    return torch.stack(history)


def test_weights_follow_the_equation():
    """Derivatives are inner products with gradients here, and labels are missing."""
    model = network().eval().double()
    weighting = made(model, beta=0.6, seed=5, initial=[1.0, 2.0, 0.5]).double()
    parameters, squares = list(model[0].parameters()), []
    for number in range(4):
        inputs, targets, mask = (each.double() for each in batch(number))
        each = (inputs, targets, mask > 0)
        direction = random_direction(model[0], 5, number, 0)
        means = task_losses(*losses(model, each))[0]
        rows = [torch.autograd.grad(mean, parameters, retain_graph=True) for mean in means]
        along = [sum((g * u).sum() for g, u in zip(row, direction, strict=True)) for row in rows]
        squares.append(torch.stack(along).square())
        weighting(losses, model, each)

    mean = squares[0]
    for gain, square in zip((1 / 2, 0.4, 0.4), squares[1:], strict=True):
        mean = mean + gain * (square - mean)
    close = tolerance(torch.float64, 1000)
    torch.testing.assert_close(weighting.mean_squares, mean, **close)
    inverse = mean**-0.5
    torch.testing.assert_close(weighting.weights, 3.5 * inverse / inverse.sum(), **close)
    assert weighting.updates.tolist() == [4, 4, 4]


FORMS = {
    "mappings": lambda losses, mask: (by_name(losses), by_name(mask)),
    "mapping in another order": lambda losses, mask: (
        dict(reversed(by_name(losses).items())),
        mask,
    ),
}


def by_name(columns):
    return dict(zip(NAMES, columns.unbind(1), strict=True))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_losses(form):
    model = network().eval()
    one, other = made(model), made(model)
    for number in range(3):
        total = one(lambda *of: form(*losses(*of)), model, batch(number))
        assert torch.equal(total, other(losses, model, batch(number)))
        assert torch.equal(one.weights, other.weights)


def test_shared_parameters_are_found():
    model = network().eval()
    found, given = ProbedGradientNorm(NAMES), made(model)
    for number in range(3):
        for weighting in (found, given):
            weighting(losses, model, batch(number))
    # The losses of the first step were there before the derivatives: another pass of the same.
    torch.testing.assert_close(found.weights, given.weights, **tolerance(torch.float32, 1000))


def test_own_signature_is_the_step():
    model = network().eval()
    by_call, by_step = made(model), made(model)
    total = by_call(losses, model, batch(0))
    step = Step(losses, model, batch(0))
    assert torch.equal(total, by_step.weigh(step))
    expected = (by_step.weights * step.losses).sum()
    torch.testing.assert_close(total, expected, **tolerance(torch.float32, 3))


def test_one_forward_pass_a_step():
    model, calls = network(), []
    weighting = made(model, every=3)

    def counted(model, batch):
        derivatives = torch.autograd.forward_ad.unpack_dual(model[0].weight).tangent is not None
        calls.append(derivatives)
        return losses(model, batch)

    weighting(counted, model, batch(0))
    calls.clear()  # the first looks whether all derivatives arrive
    for number in range(1, 5):
        weighting(counted, model, batch(number))
    weighting.eval()(counted, model, batch(5))
    assert calls == [False, False, True, False, False]


def test_weights_stay_between_probes():
    model = network()
    weights = train(made(model, every=3), model, range(7))
    for number in (1, 2, 4, 5):
        assert torch.equal(weights[number], weights[number - 1])
    for number in (3, 6):
        assert not torch.equal(weights[number], weights[number - 1])


def test_probes_are_averaged():
    model = network().eval()
    weighting = made(model, probes=400)
    weighting(losses, model, batch(0))
    norms = gradient_norms(Step(losses, model, batch(0)).losses, model[0])
    # The variance of a square is twice its squared mean.
    error = (weighting.mean_squares / norms**2 - 1) / (2 / 400) ** 0.5
    assert (error.abs() < 3.5).all()
    assert weighting.updates.tolist() == [1, 1, 1]


def test_task_that_does_not_reach_the_shared_parameters_keeps_its_weight():
    model = network().eval()

    def with_a_task_apart(model, batch):
        values, mask = losses(model, batch)
        apart = (model[3].bias[2] - batch[1][:, 2:]).square()
        return torch.cat([values[:, :2], apart], 1), mask

    weighting = made(model, initial=[1.0, 2.0, 0.5])
    for number in range(3):
        weighting(with_a_task_apart, model, batch(number))
    assert weighting.updates.tolist() == [3, 3, 0]
    assert weighting.weights[2] == 0.5
    assert weighting.weights.sum().item() == pytest.approx(3.5)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("stop", [1, 2, 5])
def test_interrupted_training_continues_bit_for_bit(every, stop):
    model = network()
    weighting = made(model, every=every, seed=7)
    train(weighting, model, range(stop))
    resumed_model = copy.deepcopy(model)
    resumed = made(resumed_model, every=every)
    resumed.load_state_dict(copy.deepcopy(weighting.state_dict()))

    histories = []
    for continued in ((weighting, model), (resumed, resumed_model)):
        torch.manual_seed(2)
        histories.append(train(*continued, range(stop, 9)))
    assert torch.equal(*histories)
    pairs = zip(model.parameters(), resumed_model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def of_rows(rows, wrap=lambda model: model):
    """Weights of each step on some rows of each batch, and the parameters at the end."""
    model = network().eval().double()
    wrapped, weighting = wrap(model), made(model, every=2).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = []
    for number in range(6):
        inputs, targets, mask = (each[rows] for each in batch(number))
        mask[:] = True  # gradients are averaged evenly, whatever the counts
        loss = weighting(losses, wrapped, (inputs.double(), targets.double(), mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(weighting.weights)
    return torch.stack(history), nn.utils.parameters_to_vector(model.parameters()).detach()


def work(rank):
    return of_rows(slice(4 * rank, 4 * rank + 4), DistributedDataParallel)


def test_two_wrapped_processes_train_as_one(tmp_path):
    expected = of_rows(slice(0, 8))
    for found in on_two_processes(work, tmp_path):
        torch.testing.assert_close(found, expected, **tolerance(torch.float64, 10_000))


def test_losses_that_depend_on_nothing_shared_are_refused():
    model = network()
    weighting = made(model)
    before = copy.deepcopy(weighting.state_dict())
    heads = model[3]
    with pytest.raises(ValueError, match="no loss depends on a shared parameter"):
        weighting(lambda model, _: (heads.bias[None] ** 2, None), model, None)
    with pytest.raises(ValueError, match="along the direction are 0"):
        weighting(lambda model, _: (0 * model(torch.ones(2, 4)), None), model, 0)
    for name, value in weighting.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.0}, "beta must be a number in"),
        ({"probes": 0}, "probes must be an integer of at least 1"),
        ({"every": 1.5}, "every must be an integer of at least 1"),
        ({"seed": "x"}, "seed must be an integer"),
    ],
)
def test_wrong_options_of_its_own(options, message):
    with pytest.raises(ValueError, match=message):
        ProbedGradientNorm(NAMES, **options)


def test_mtregression_as_with_exact_norms():
    """Three seeds of 1,500 updates: correlations from 0.991 on, losses within 0.7%."""
    problem = mtregression(tasks=10)
    recipe, updates = problem.recipe, 400
    ends, pairs = [], []
    for method in (InverseGradientNorm, ProbedGradientNorm):
        torch.manual_seed(0)
        model = problem.network()
        weighting = method(10, shared=problem.shared(model))
        optimizer = recipe.optimizer(model.parameters(), recipe.lr)
        for number in range(updates):
            rows = torch.randint(len(problem.train), (recipe.batch_size,))
            step = Step(problem.loss_function, model, problem.train[rows])
            total = weighting.weigh(step)
            if method is ProbedGradientNorm and number >= 100 and number % 20 == 0:
                exact = gradient_norms(step.losses, problem.shared(model)).reciprocal()
                pairs.append(torch.stack([weighting.weights, 10 * exact / exact.sum()]))
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
        with torch.no_grad():
            ends.append(scored(problem, model, problem.test, 1_000)["normalised loss"][OVERALL])
    exact, probed = ends
    assert probed == pytest.approx(exact, rel=0.02)
    assert torch.corrcoef(torch.cat(pairs, 1).log())[0, 1] >= 0.97
