"""What is trained in every way: a network, losses, batches; and the plain loop in float64."""

import functools

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import equipoise
from equipoise import Step
from equipoise.study.methods import torchjd_methods

BATCH, STEPS, TASKS = 8, 3, 3
LR = 0.01
SCALE = torch.tensor([3.0, 1.0, 0.3])


class Network(nn.Module):
    """Two layers that are shared, and a head; the second may be checkpointed."""

    def __init__(self, reentrant=None):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, TASKS)
        self.reentrant = reentrant

    @property
    def shared(self):
        return [*self.first.parameters(), *self.second.parameters()]

    def block(self, features):
        return torch.tanh(self.second(features))

    def forward(self, inputs):
        features = torch.tanh(self.first(inputs))
        if self.reentrant is None:
            features = self.block(features)
        else:
            features = checkpoint(self.block, features, use_reentrant=self.reentrant)
        return self.head(features)


def losses(model, batch):
    inputs, targets = batch
    return (model(inputs) - targets) ** 2, None


def batch(step, rows, dtype):
    generator = torch.Generator().manual_seed(step)
    # Not the default one, which hosts change.
    inputs = torch.randn(BATCH, 4, generator=generator, dtype=torch.float32)
    targets = torch.randn(BATCH, TASKS, generator=generator, dtype=torch.float32) * SCALE
    return inputs[rows].to(dtype), targets[rows].to(dtype)


def made(method, model, shared, losses=losses):
    options = {"losses": losses, "model": model, "shared": shared, "main": "0"}
    kind = torchjd_methods()[method] if "/" in method else getattr(equipoise, method)
    return kind.made_for(["0", "1", "2"], **options)


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def recorded(weighting, parameters):
    """Task weights and gradients, as a vector."""
    gradients = [whole(each.grad).flatten() for each in parameters]
    return torch.cat([weighting.task_weights.detach(), *gradients]).double()


def step_of(number, model, rows=slice(None), dtype=torch.float64):
    """A step, with held-out samples."""
    return Step(losses, model, batch(number, rows, dtype), batch(100 + number, rows, dtype))


def trained(method, wrap, *, rows=slice(None), low=None, dtype=torch.float64, reentrant=None):
    """Task weights and the gradients of all parameters, step by step."""
    network = Network(reentrant).to(dtype)
    model = wrap(network)
    # Now: FSDP2 has put others in their place.
    weighting = made(method, model, network.shared)
    if low is None:
        weighting = weighting.to(dtype)
    optimizer = torch.optim.SGD([*network.parameters(), *weighting.parameters()], lr=LR)
    scaler = torch.amp.GradScaler("cpu", enabled=low is torch.float16, init_scale=2.0**8)
    found = []
    for number in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=low or torch.bfloat16, enabled=low is not None):
            total = weighting.weigh(step_of(number, model, rows, dtype))
        scaler.scale(total).backward()
        scaler.unscale_(optimizer)
        found.append(recorded(weighting, network.parameters()))
        scaler.step(optimizer)
        scaler.update()
    return torch.stack(found)


@functools.cache
def plain(method):
    return trained(method, lambda network: network)
