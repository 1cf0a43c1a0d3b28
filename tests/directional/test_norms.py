import pytest
import torch
from torch import nn

from equipoise.directional import gradient_norms, parameters_of


class Network(nn.Module):
    """The third loss is one of the head alone."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def losses(self):
        outputs = self.head(self.trunk(torch.ones(5, 3)))
        return torch.stack([*(outputs**2).mean(0), self.head.bias.sum()])


SHARED = {
    "module": lambda network: network.trunk,
    "parameters": lambda network: network.trunk.parameters(),
    "list": lambda network: list(network.trunk.parameters()),
    "one": lambda network: network.trunk[2].weight,
}


@pytest.mark.parametrize("shared", SHARED.values(), ids=SHARED)
def test_norms_are_those_of_the_flat_gradients(shared):
    network = Network()
    losses = network.losses()
    norms = gradient_norms(losses, shared(network))

    for index in range(2):
        parameters = parameters_of(shared(network))
        parts = torch.autograd.grad(losses[index], parameters, retain_graph=True)
        assert norms[index].item() == pytest.approx(sum((g**2).sum() for g in parts).sqrt().item())
    assert norms[2] == 0
    assert not norms.requires_grad
    losses.sum().backward()  # the graph is kept


def test_frozen_parameters_do_not_count():
    network = Network()
    everything = gradient_norms(network.losses(), network.trunk)
    network.trunk[0].requires_grad_(False)
    rest = gradient_norms(network.losses(), network.trunk)
    torch.testing.assert_close(rest, gradient_norms(network.losses(), network.trunk[2]))
    assert (rest[:2] < everything[:2]).all()


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_norms_are_of_float32_at_least(dtype, expected):
    weight = torch.full((1000,), 3.0, dtype=dtype, requires_grad=True)
    norms = gradient_norms(torch.stack([weight.sum()]), weight)
    assert norms.dtype == expected
    assert norms.item() == pytest.approx(1000**0.5)


def test_activations_may_be_shared():
    """For a wide trunk: its output in place of its parameters."""
    network = Network()
    features = network.trunk(torch.ones(5, 3))
    losses = (network.head(features) ** 2).mean(0)
    norms = gradient_norms(losses, features)
    expected = torch.autograd.grad(losses[0], features)[0].norm()
    torch.testing.assert_close(norms[0], expected)


def test_shared_parameters_out_of_reach():
    with pytest.raises(ValueError, match="no loss depends on a shared parameter"):
        gradient_norms(Network().losses(), nn.Linear(2, 2))


def test_step_without_labels_reaches_nothing():
    losses = torch.zeros(2, requires_grad=True)
    assert gradient_norms(losses, nn.Linear(2, 2), torch.zeros(2)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "shared", [[], nn.Tanh(), torch.ones(2), nn.Linear(2, 2).requires_grad_(False)]
)
def test_nothing_shared(shared):
    with pytest.raises(ValueError, match="shared holds no parameter that requires a gradient"):
        parameters_of(shared)
