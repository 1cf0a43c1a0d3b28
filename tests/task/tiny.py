"""A network of one shared layer and a head per task, and one way to call every weighting on it."""

import torch
from torch import nn

from equipoise import ProbedGradientNorm, task
from equipoise.task.base import GradientWeighting, LossWeighting

METHODS = [getattr(task, name) for name in task.__all__]
LOSS_METHODS = [method for method in METHODS if issubclass(method, LossWeighting)]
GRADIENT_METHODS = [method for method in METHODS if issubclass(method, GradientWeighting)]
PROBING_METHODS = [ProbedGradientNorm]


class Tiny(nn.Module):
    """Its losses of step ``time`` are a function of nothing but ``time`` and the parameters."""

    def __init__(self, tasks=3):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.trunk = nn.Linear(4, 5)
            self.heads = nn.Linear(5, tasks)
        self.register_buffer("scales", torch.logspace(0, 0.5, tasks))

    def forward(self, inputs):
        return self.heads(torch.tanh(self.trunk(inputs)))

    def sample_losses(self, time, samples=8):
        generator = torch.Generator().manual_seed(time)
        inputs = torch.randn(samples, 4, generator=generator).to(self.scales.device)
        return (self(2 * inputs) * self.scales) ** 2 + self.scales

    def losses(self, time):
        return self.sample_losses(time).mean(0)


class GivenStep:
    """A step whose losses are given; its derivatives are inner products with their gradients."""

    def __init__(self, weighting, losses, counts, shared):
        self.read = lambda: weighting._read(losses, counts)[0]
        self.losses, self.counts, self.shared = losses, counts, tuple(shared)

    def derivatives(self, direction, *, check):
        losses = self.read()
        # The gradient is linear in what comes from above; its derivative by that is what we need.
        above = torch.ones_like(losses, requires_grad=True)
        gradients = torch.autograd.grad(
            losses, self.shared, above, create_graph=True, materialize_grads=True
        )
        pairs = zip(gradients, direction, strict=True)
        along = sum((gradient * part).sum() for gradient, part in pairs)
        # Materialised: along a path that no present task has there is nothing.
        return torch.autograd.grad(along, above, materialize_grads=True)[0]


def call(weighting, losses, mask=None, *, network):
    """The total, from a weighting of any kind."""
    if isinstance(weighting, GradientWeighting):
        return weighting(losses, mask, shared=network.trunk)
    if type(weighting) in PROBING_METHODS:
        return weighting.weigh(GivenStep(weighting, losses, mask, network.trunk.parameters()))
    return weighting(losses, mask)


def learn(weighting, total):
    """A step of plain gradient descent for what a weighting learns itself, if anything."""
    parameters = list(weighting.parameters())
    if parameters:
        gradients = torch.autograd.grad(total, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient


def run(weighting, times, *, network=None, edit=lambda losses, time: (losses, None)):
    """Weights after each step; ``edit`` turns the losses of a time into losses and a mask."""
    network = network or Tiny(len(weighting.tasks))
    history = []
    for time in times:
        losses, mask = edit(network.losses(time), time)
        learn(weighting, call(weighting, losses, mask, network=network))
        history.append(weighting.weights)
    return torch.stack(history)


def by_name(weighting, losses, *, absent=()):
    pairs = zip(weighting.tasks, losses.unbind(), strict=True)
    return {name: loss for name, loss in pairs if name not in absent}


def same_state(one, other):
    """Whether two state dicts agree bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[key].nan_to_num(), other[key].nan_to_num()) for key in one
    )


def copied_state(weighting):
    return {key: value.clone() for key, value in weighting.state_dict().items()}
