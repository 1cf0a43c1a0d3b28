"""A problem that trains in a blink: two linear targets of different scale, labels missing."""

from dataclasses import replace

import torch
from torch import nn
from torch.utils.data import TensorDataset

from equipoise.problems import Problem, Recipe


def toy(**changes):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(3, 2, generator=generator)

    def samples(size):
        inputs = torch.randn(size, 3, generator=generator)
        mask = torch.rand(size, 2, generator=generator) < torch.tensor([1.0, 0.5])
        return TensorDataset(inputs, inputs @ truth * torch.tensor([1.0, 10.0]), mask)

    def errors(network, data):
        inputs, targets, mask = data[torch.arange(len(data))]
        return torch.where(mask, (network(inputs) - targets).square(), 0).sum(0) / mask.sum(0)

    def metrics(network, data):
        values = errors(network, data)
        return {"error": {"a": values[0].item(), "b": values[1].item(), "all": values.sum().item()}}

    usual = Problem(
        tasks=["a", "b"],
        train=samples(50),
        validation=samples(20),
        test=samples(20),
        network=Network,
        shared=lambda network: network.trunk.parameters(),
        losses=losses,
        metrics=metrics,
        goals={"error": "min"},
        recipe=Recipe(
            steps=20,
            batch_size=16,
            lr=0.05,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
        ),
    )
    return replace(usual, **changes)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1))
        self.heads = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.heads(self.trunk(inputs))


def losses(network, batch):
    inputs, targets, mask = batch
    return (network(inputs) - targets).square(), mask


def blows_up(network, batch):
    values, mask = losses(network, batch)
    return values * float("inf"), mask
