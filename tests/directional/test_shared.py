import copy

import pytest
import torch
from torch import nn

from equipoise.directional import shared_parameters


class Tree(nn.Module):
    """A stem of all, a branch of the first two tasks, and a head for each of three."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.branch = nn.Linear(4, 4)
        self.heads = nn.ModuleList([nn.Linear(4, 1) for _ in range(3)])
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs):
        stem = self.stem(inputs)
        branch = self.branch(stem)
        features = (branch, branch, stem)
        return torch.cat([head(each) for head, each in zip(self.heads, features, strict=True)], 1)


def losses(model, inputs):
    return model(inputs) ** 2, None


def names(model, found):
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return {known[id(parameter)].split(".")[0] for parameter in found}


@pytest.mark.parametrize(
    ("main", "expected"), [(0, {"stem", "branch"}), (1, {"stem", "branch"}), (2, {"stem"})]
)
def test_reached_by_the_main_task_and_by_another(main, expected):
    model, inputs = Tree(), torch.randn(5, 3)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = shared_parameters(losses, model, inputs, main)
    assert names(model, found) == expected
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_gradient_of_zero_is_no_sign_of_being_out_of_reach():
    model = Tree()
    for head in model.heads:
        nn.init.zeros_(head.weight)  # so nothing flows back into the trunk
    found = shared_parameters(losses, model, torch.randn(5, 3), 0)
    assert names(model, found) == {"stem", "branch"}


def test_frozen_parameters_are_not_shared():
    model = Tree()
    model.stem.requires_grad_(False)
    assert names(model, shared_parameters(losses, model, torch.randn(5, 3), 0)) == {"branch"}


def test_of_one_task_all_that_it_reaches():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    found = shared_parameters(losses, model, torch.randn(5, 3), 0)
    assert [id(each) for each in found] == [id(each) for each in model.parameters()]


def test_nothing_shared_is_an_error():
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])

    def apart(model, inputs):
        return torch.cat([each(inputs) for each in model], 1) ** 2, None

    with pytest.raises(ValueError, match="no parameter is reached by the main task and by another"):
        shared_parameters(apart, model, torch.randn(5, 3), 0)
