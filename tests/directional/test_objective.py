import copy

import pytest
import torch
from settings import setting, squared_errors
from torch import nn

from equipoise.directional import objective_gradient
from equipoise.losses import task_losses


def first_task(model, batch):
    losses, counts = task_losses(*squared_errors(model, batch))
    return losses[0], counts[0]


@pytest.mark.parametrize("trunk", ["mlp", "batchnorm"])
def test_gradient_of_the_objective_and_nothing_left_behind(trunk):
    model, batch = setting(trunk, samples=16)
    parameters = list(model[0].parameters())
    twin = copy.deepcopy(model)
    expected = torch.autograd.grad(first_task(twin, batch)[0], list(twin[0].parameters()))
    model(batch[0]).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    before = copy.deepcopy(list(model.buffers()))

    found = objective_gradient(first_task, model, batch, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    for buffer, old in zip(model.buffers(), before, strict=True):
        assert torch.equal(buffer, old)
    for parameter, old in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, old)


@pytest.mark.parametrize("size", [1e-6, 1, 1e3])
def test_objective_of_any_size_under_float16(size):
    model, batch = setting("mlp", samples=256, missing=False, dtype=torch.float32)
    parameters = list(model[0].parameters())

    def objective(model, batch):
        value, count = first_task(model, batch)
        return value.float() * size, count

    exact = objective_gradient(objective, model, batch, parameters)
    with torch.autocast("cpu", dtype=torch.float16):
        found = objective_gradient(objective, model, batch, parameters)
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 0.01 * other.norm()


def test_at_moved_parameters():
    model, batch = setting("mlp", samples=16)
    moved = {parameter: parameter.detach() + 0.1 for parameter in model.parameters()}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1
    expected = torch.autograd.grad(first_task(twin, batch)[0], list(twin[0].parameters()))
    found = objective_gradient(first_task, model, batch, list(model[0].parameters()), moved)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_parameter_that_is_not_reached_has_zeros():
    model, batch = setting("mlp", samples=16)
    model.other = nn.Parameter(torch.ones(2))
    parameters = [model.other, model[0][0].weight]
    found = objective_gradient(first_task, model, batch, parameters)
    assert not found[0].any()
    assert found[1].any()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda model, batch: (model(batch[0]).mean(0), torch.ones(())), r"scalar.*found \(3,\)"),
        (lambda model, batch: (1.0, torch.ones(())), "scalar tensor, found float"),
        (lambda model, batch: (torch.ones(()), torch.ones(())), "has no graph"),
        (lambda model, batch: (model[1].bias.sum(), torch.ones(())), "depends on no shared"),
    ],
)
def test_wrong_objective(objective, message):
    model, batch = setting("mlp")
    with pytest.raises(ValueError, match=message):
        objective_gradient(objective, model, batch, list(model[0].parameters()))
