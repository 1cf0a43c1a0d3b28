"""Non-linear regression: many tasks that differ in nothing but their scale."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from sklearn.metrics import mean_squared_error
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from equipoise.errors import UserError
from equipoise.problems.problem import OVERALL, Data, Metrics, Problem, Recipe

INPUTS, OUTPUTS, WIDTH = 250, 100, 100
TRAINING, HELD_OUT = 9_000, 1_000
INPUT_STD, BASE_STD, TASK_STD = 0.01, 10.0, 3.5


def mtregression(
    tasks: Annotated[int, "number of tasks; the paper has 2, 10, 20, 30, 40 and 50"] = 10,
    data_seed: Annotated[int, "seed of the generated data"] = 0,
) -> Problem:
    """Non-linear regression of the SLAW paper (arXiv 2109.08218), from the GradNorm paper.

    Targets y_k = σ_k tanh((B + ε_k) x) of dimension 100 from inputs x of dimension 250. The scales
    σ are 1 to n, or 1 and 10 for two tasks: with weights proportional to 1/σ² all tasks would be
    alike. 9,000 samples to train on, 1,000 to test, 1,000 more to choose on.

    Raises:
        UserError: for fewer than two tasks.
    """
    if tasks < 2:
        raise UserError(f"--tasks must be at least 2, found {tasks}")
    scales = torch.tensor([1.0, 10.0]) if tasks == 2 else torch.arange(1.0, tasks + 1)
    generator = torch.Generator().manual_seed(data_seed)
    base = BASE_STD * torch.randn(OUTPUTS, INPUTS, generator=generator)
    own = TASK_STD * torch.randn(tasks, OUTPUTS, INPUTS, generator=generator)

    def samples(size: int) -> TensorDataset:
        inputs = INPUT_STD * torch.randn(size, INPUTS, generator=generator)
        targets = torch.tanh(torch.einsum("koi,si->sko", base + own, inputs))
        return TensorDataset(inputs, scales[:, None] * targets)

    ideal = scales**-2
    return Problem(
        tasks=_names(scales),
        train=samples(TRAINING),
        validation=samples(HELD_OUT),
        test=samples(HELD_OUT),
        network=lambda: Network(tasks),
        shared=_trunk,
        losses=_losses,
        metrics=partial(_metrics, scales),
        goals={"normalised loss": "min", "variance over tasks": "min"},
        recipe=Recipe(
            steps=9_900,
            batch_size=304,
            lr=7e-4,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, eps=1e-5),
            clip=0.5,
        ),
        ideal_weights=(tasks * ideal / ideal.sum()).tolist(),
    )


class Network(nn.Module):
    """Four shared tanh layers and a linear head per task: ``(samples, 250) → (samples, n, 100)``.

    The heads are one matrix, each head's part initialised on its own: orthogonal with gain √2, as
    all layers are.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        widths = [INPUTS, *[WIDTH] * 4]
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
        self.trunk = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
        self.heads = nn.Linear(WIDTH, tasks * OUTPUTS)
        for layer in [*layers, self.heads]:
            nn.init.zeros_(layer.bias)
        for weight in [layer.weight for layer in layers] + list(
            torch.split(self.heads.weight, OUTPUTS)
        ):
            nn.init.orthogonal_(weight.data, gain=2**0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions ``(samples, tasks, 100)``."""
        outputs: Tensor = self.heads(self.trunk(inputs)).unflatten(1, (-1, OUTPUTS))
        return outputs


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()


def _losses(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    inputs, targets = batch
    return (network(inputs) - targets).square().mean(2), None


def _names(scales: Tensor) -> list[str]:
    return [f"σ={scale:g}" for scale in scales.tolist()]


def _metrics(scales: Tensor, network: nn.Module, data: Data) -> Metrics:
    inputs, targets = data[torch.arange(len(data))]
    outputs = network(inputs.to(next(network.parameters()).device)).cpu()
    # E‖ŷ − y‖²/σ², a mean over samples of a sum over outputs.
    normalised = [
        OUTPUTS * mean_squared_error(targets[:, k] / scale, outputs[:, k] / scale)
        for k, scale in enumerate(scales)
    ]
    by_task = dict(zip(_names(scales), normalised, strict=True))
    return {
        "normalised loss": by_task | {OVERALL: float(np.mean(normalised))},
        "variance over tasks": {OVERALL: float(np.var(normalised))},
    }
