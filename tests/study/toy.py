"""A problem that trains in a blink: two linear targets of different scale, labels missing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchmetrics import MeanSquaredError

from equipoise.errors import UserError
from equipoise.problems import Problem, Recipe, Score


def toy(**changes):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(3, 2, generator=generator)

    def samples(size):
        inputs = torch.randn(size, 3, generator=generator)
        mask = torch.rand(size, 2, generator=generator) < torch.tensor([1.0, 0.5])
        return TensorDataset(inputs, inputs @ truth * torch.tensor([1.0, 10.0]), mask)

    usual = Problem(
        tasks=["a", "b"],
        train=samples(50),
        validation=samples(20),
        test=samples(20),
        network=Network,
        shared=lambda network: network.trunk.parameters(),
        losses=losses,
        scores={"error": Score(goal="min", metric=MeanSquaredError, over_tasks=sum)},
        recipe=Recipe(
            steps=20,
            batch_size=16,
            lr=0.05,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
        ),
    )
    return replace(usual, **changes)


def serving():
    """The toy problem with a main task, of a name that a terminal might take for a style."""
    return toy(tasks=["[a]", "b"], main="[a]")


def held_out():
    """The problem with a main task, and samples held out."""
    return replace(serving(), held_out=toy().validation)


def noisy():
    """The same, every fourth label of the main task wrong, with rows of a file and pictures."""
    usual = held_out()
    inputs, targets, mask = usual.train.tensors
    corrupted = torch.zeros_like(mask)
    corrupted[::4, 0] = True
    return replace(
        usual,
        train=TensorDataset(inputs, torch.where(corrupted, -3 * targets, targets), mask),
        corrupted=corrupted,
        rows=[3 * row + 7 for row in range(len(inputs))],
        pictures=lambda indices: np.stack([picture(int(index)) for index in indices]),
    )


def dealt(data_seed: int = 0):
    """The same, its samples dealt out to the parts by a seed."""
    whole = noisy()
    generator = torch.Generator().manual_seed(data_seed)
    order = torch.randperm(90, generator=generator)
    parts = [whole.train, whole.validation, whole.test]
    tensors = [torch.cat(each) for each in zip(*(part.tensors for part in parts), strict=True)]
    dealt = [TensorDataset(*(each[rows] for each in tensors)) for rows in order.split([50, 20, 20])]
    corrupted = dealt[0].tensors[1][:, :1] > 0
    return replace(
        whole,
        train=dealt[0],
        validation=dealt[1],
        test=dealt[2],
        corrupted=corrupted.expand(-1, 2),
        rows=order[:50].tolist(),
    )


def picture(index):
    """Of 5 × 4 pixels in colours that no other sample has."""
    return np.random.default_rng(index).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def predicting(**changes):
    """The toy problem, able to predict the rows of a file of three numbers each."""

    def predict(path, networks):
        assert not torch.is_grad_enabled()
        assert not any(network.training for network in networks)
        try:
            inputs = torch.from_numpy(np.loadtxt(path, np.float32, delimiter=",", ndmin=2))
        except ValueError as error:
            raise UserError(f"{path} is wrong") from error
        means = torch.stack([network(inputs) for network in networks]).mean(0)
        return pd.DataFrame(means.tolist(), columns=["a", "b"])

    return toy(predict=predict, **changes)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1))
        self.heads = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.heads(self.trunk(inputs))


def losses(outputs, batch):
    _, targets, mask = batch
    return (outputs - targets).square(), mask


def blows_up(outputs, batch):
    values, mask = losses(outputs, batch)
    return values * float("inf"), mask
