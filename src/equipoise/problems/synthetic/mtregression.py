"""Non-linear regression: many tasks that differ in nothing but their scale."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from statistics import pvariance
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from equipoise.problems.memory import check_fits
from equipoise.problems.metrics import Averaged
from equipoise.problems.parameters import check_seed, check_whole
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.scores import Answers, Score

INPUTS, OUTPUTS, WIDTH = 250, 100, 100
TRAINING, HELD_OUT = 9_000, 1_000
MOST_TASKS = 10_000
INPUT_STD, BASE_STD, TASK_STD = 0.01, 10.0, 3.5
RECIPE = Recipe(
    steps=9_900,
    batch_size=304,
    lr=7e-4,
    optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, eps=1e-5),
    clip=0.5,
)


def mtregression(
    tasks: Annotated[int, "number of tasks; the paper has 2, 10, 20, 30, 40 and 50"] = 10,
    data_seed: Annotated[int, "seed of the generated data"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """Non-linear regression of the SLAW paper (arXiv 2109.08218), from the GradNorm paper.

    Targets y_k = σ_k tanh((B + ε_k) x) of dimension 100 from inputs x of dimension 250. The scales
    σ are 1 to n, or 1 and 10 for two tasks: with weights proportional to 1/σ² all tasks would be
    alike. 9,000 samples to train on, 1,000 to test, 1,000 more to choose on.

    Raises:
        UserError: for fewer than two tasks, or more than fit into memory.
    """
    check_whole("tasks", tasks, 2, MOST_TASKS)
    check_seed("data_seed", data_seed)
    check_fits(
        4 * (TRAINING + 2 * HELD_OUT) * tasks * OUTPUTS, f"samples of {tasks:,} tasks", "`tasks`"
    )
    scales = torch.tensor([1.0, 10.0]) if tasks == 2 else torch.arange(1.0, tasks + 1)
    generator = torch.Generator().manual_seed(data_seed)
    base = BASE_STD * torch.randn(OUTPUTS, INPUTS, generator=generator)
    own = TASK_STD * torch.randn(tasks, OUTPUTS, INPUTS, generator=generator)

    def samples(size: int) -> TensorDataset:
        inputs = INPUT_STD * torch.randn(size, INPUTS, generator=generator)
        targets = torch.tanh(torch.einsum("koi,si->sko", base + own, inputs))
        return TensorDataset(inputs, scales[:, None] * targets)

    ideal = scales**-2
    # E‖ŷ − y‖²/σ², a mean over samples of a sum over outputs.
    distance = partial(Averaged, _distance)
    return Problem(
        tasks=_names(scales),
        train=samples(TRAINING),
        validation=samples(HELD_OUT),
        test=samples(HELD_OUT),
        network=lambda: Network(tasks),
        shared=_trunk,
        losses=_losses,
        answers=partial(_answers, scales),
        scores={
            "normalised loss": Score(goal="min", metric=distance),
            "variance over tasks": Score(
                goal="min", metric=distance, over_tasks=pvariance, by_task=False
            ),
        },
        recipe=recipe,
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


def _losses(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    return (outputs - batch[1]).square().mean(2), None


def _names(scales: Tensor) -> list[str]:
    return [f"σ={scale:g}" for scale in scales.tolist()]


def _answers(scales: Tensor, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Answers:
    """Predictions and targets of each task over its scale, ``(samples, 100)``."""
    unit = scales.to(outputs.device)[:, None]
    parts = (each.double() / unit for each in (outputs, batch[1]))
    pairs = zip(*(each.unbind(1) for each in parts), strict=True)
    return dict(zip(_names(scales), pairs, strict=True))


def _distance(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared distances ``(samples,)``."""
    return (outputs - targets).square().sum(1)
