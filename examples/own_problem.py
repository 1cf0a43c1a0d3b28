"""Compare methods on a problem of one's own, with one's own network.

Run it in this folder: equipoise compare own_problem:weather --stations 400 --steps 300
"""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchmetrics import R2Score

from equipoise.problems import Problem, Recipe, Score

TASKS = ["temperature", "pressure", "rain"]


class Network(nn.Module):
    """Your network: anything with parameters that all tasks share."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.heads = nn.Linear(32, len(TASKS))

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions ``(samples, tasks)``."""
        return self.heads(self.trunk(inputs))


def losses(outputs: Tensor, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Per-sample losses ``(samples, tasks)``, and which labels are there."""
    _, targets, mask = batch
    return (outputs - targets).square(), mask


def weather(stations: Annotated[int, "samples to generate"] = 2_000) -> Problem:
    """Three made-up measurements in their own units; rain is measured at a third of the stations.

    The parameters of this function are the options of the command.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(stations, 6, generator=generator)
    truth = torch.randn(6, len(TASKS), generator=generator)
    targets = torch.tanh(inputs @ truth) * torch.tensor([10.0, 50.0, 0.3])
    mask = torch.ones(stations, len(TASKS), dtype=torch.bool)
    mask[:, 2] = torch.rand(stations, generator=generator) < 1 / 3
    parts = torch.randperm(stations, generator=generator).tensor_split(
        [stations * 6 // 10, stations * 8 // 10]
    )
    train, validation, test = (
        TensorDataset(inputs[part], targets[part], mask[part]) for part in parts
    )
    return Problem(
        tasks=TASKS,
        train=train,
        validation=validation,
        test=test,
        network=Network,
        shared=lambda network: network.trunk.parameters(),
        losses=losses,
        # Of each task over the samples that have its label; over all tasks, their mean.
        scores={"R²": Score(goal="max", metric=R2Score, distinct=2)},
        recipe=Recipe(
            steps=1_000,
            batch_size=64,
            lr=1e-3,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
        ),
    )
