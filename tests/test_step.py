import copy

import pytest
import torch
from settings import TRUNKS, setting, squared_errors
from torch import nn

from equipoise.directional import random_direction
from equipoise.step import Step


def test_losses_and_counts_come_from_one_forward_pass():
    calls = []

    def losses(model, batch):
        calls.append(batch)
        return model(batch) ** 2, batch > 0

    model, batch = nn.Linear(2, 2, bias=False), torch.tensor([[1.0, -1.0], [2.0, -2.0]])
    step = Step(losses, model, batch)
    assert not calls

    squares = (batch @ model.weight.T) ** 2
    torch.testing.assert_close(step.losses, torch.stack([squares[:, 0].mean(), torch.tensor(0.0)]))
    assert step.counts.tolist() == [2, 0]
    torch.testing.assert_close(step.sample_losses[0], squares)
    assert len(calls) == 1
    assert step.losses.requires_grad


@pytest.mark.parametrize("losses_first", [False, True])
def test_derivatives_and_losses_come_from_one_pass_unless_losses_were_there(losses_first):
    calls = []

    def losses(model, batch):
        calls.append(batch)
        return model(batch) ** 2, batch[:, :2] > -1

    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    batch = torch.randn(5, 3)
    step = Step(losses, model, batch)
    shared = list(model[1].parameters())
    direction = random_direction(shared, 1)
    if losses_first:
        before = step.losses
    derivatives = step.derivatives(direction, shared, check=False)
    if losses_first:
        assert step.losses is before
    assert len(calls) == 1 + losses_first
    assert model[0].num_batches_tracked == 1

    for loss, derivative in zip(step.losses, derivatives, strict=True):
        gradients = torch.autograd.grad(loss, shared, retain_graph=True)
        expected = sum((g * u).sum() for g, u in zip(gradients, direction, strict=True))
        torch.testing.assert_close(derivative, expected)
    twice = step.derivatives([2 * part for part in direction], shared, check=False)
    torch.testing.assert_close(twice, 2 * derivatives)
    assert len(calls) == 2 + losses_first
    assert model[0].num_batches_tracked == 1
    step.losses.sum().backward()
    assert model[1].weight.grad.any()


ORDERS = [
    ("losses", "derivatives"),
    ("derivatives", "losses"),
    ("derivatives", "derivatives", "losses"),
    ("losses", "derivatives", "derivatives"),
]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_answers_do_not_depend_on_the_order_of_questions(order, engine, check):
    model, batch = setting("batchnorm")
    model[0].append(nn.Dropout(0.5))
    shared = list(model[0].parameters())
    direction = random_direction(shared, 1)

    def asked(order, model, engine):
        torch.manual_seed(1)
        step = Step(squared_errors, model, batch)
        shared = list(model[0].parameters())
        answers = {}
        for question in order:
            if question == "losses":
                answers[question] = step.losses
            else:
                answers[question] = step.derivatives(direction, shared, engine=engine, check=check)
        answers["losses"].sum().backward()
        return (
            answers,
            [torch.rand(2), *model.buffers()],
            [each.grad for each in model.parameters()],
        )

    once = asked(ORDERS[1], copy.deepcopy(model), "reverse")
    found = asked(order, model, engine)
    torch.testing.assert_close(found, once, rtol=1e-6, atol=1e-6)
    assert all(map(torch.equal, found[1], once[1]))


MOMENTA = {"usual": 0.1, "cumulative": None}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("momentum", MOMENTA.values(), ids=MOMENTA)
@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
def test_a_step_with_derivatives_leaves_the_buffers_of_one_without(engine, momentum, dtype):
    """Bit for bit, step after step, whether derivatives are asked for or not."""
    model, batch = setting("batchnorm", dtype=dtype)
    model[0][1].momentum = momentum
    model[0].insert(0, nn.BatchNorm2d(2, momentum=momentum, dtype=dtype))
    twin = copy.deepcopy(model)
    direction = random_direction(model[0], 1)
    for number in range(4):
        squared_errors(twin, batch)
        step = Step(squared_errors, model, batch)
        if number % 2 == 0:
            step.derivatives(direction, model[0], engine=engine, check=number == 0)
            step.derivatives(direction, model[0], engine=engine, check=False)
        assert step.losses.requires_grad
        for (name, buffer), other in zip(model.named_buffers(), twin.buffers(), strict=True):
            assert torch.equal(buffer, other), name


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_difference_leaves_the_graph_of_the_losses_usable(trunk):
    model, batch = setting(trunk)
    twin = copy.deepcopy(model)
    step, plain = (Step(squared_errors, each, batch) for each in (model, twin))
    losses = step.losses.sum()
    step.derivatives(random_direction(model[0], 1), model[0], engine="difference")
    losses.backward()
    plain.losses.sum().backward()
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)
