"""A network of one shared layer and a head per task, and one way to run every weighting."""

import torch
from torch import nn

from equipoise import task
from equipoise.task.of_gradients import GradientWeighting
from equipoise.task.of_losses import LossWeighting

METHODS = [getattr(task, name) for name in task.__all__]
LOSS_METHODS = [method for method in METHODS if issubclass(method, LossWeighting)]
GRADIENT_METHODS = [method for method in METHODS if issubclass(method, GradientWeighting)]
CALLED = [*LOSS_METHODS, *GRADIENT_METHODS]
"""Those that are called with losses."""

SAMPLES = 8


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

    def sample_losses(self, time, samples=SAMPLES):
        generator = torch.Generator().manual_seed(time)
        inputs = torch.randn(samples, 4, generator=generator).to(self.scales)
        return (self(2 * inputs) * self.scales) ** 2 + self.scales

    def losses(self, time):
        return self.sample_losses(time).mean(0)


def made(method, network, tasks=("a", "b", "c"), **options):
    if method in GRADIENT_METHODS:
        options = {"shared": network.trunk, **options}
    return method(tasks, **options)


def learn(weighting, total):
    """A step of plain gradient descent for what a weighting learns itself, if anything."""
    parameters = list(weighting.parameters())
    if parameters:
        gradients = torch.autograd.grad(total, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient


def run(weighting, network, times, edit=lambda losses, time: (losses, {})):
    """Weights after each step; ``edit`` makes the arguments of a call from the losses of a time."""
    history = []
    for time in times:
        losses, options = edit(network.losses(time), time)
        learn(weighting, weighting(losses, **options))
        history.append(weighting.weights)
    return torch.stack(history)


def by_name(tasks, losses, absent=()):
    """Columns by name."""
    pairs = zip(tasks, losses.unbind(-1), strict=True)
    return {name: loss for name, loss in pairs if name not in absent}


def same_state(one, other):
    """Whether two state dicts agree bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[key].nan_to_num(), other[key].nan_to_num()) for key in one
    )


def copied_state(weighting):
    return {key: value.clone() for key, value in weighting.state_dict().items()}
