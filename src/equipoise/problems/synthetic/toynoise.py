"""Regression with outliers among the training targets: a main task and an auxiliary one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchmetrics import MeanSquaredError

from equipoise.problems.labelled import HELD_OUT as JUDGES
from equipoise.problems.labelled import labelled_parts
from equipoise.problems.noise import Noisy, draw_corrupted, noise_notes
from equipoise.problems.parameters import check_seed
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.scores import Score
from equipoise.problems.table.targets import Target

TASKS = ("main", "auxiliary")
INPUTS, WIDTH, LAYERS = 250, 64, 3
TRAINING, HELD_OUT, TEST = 600, 200, 200
BASE_STD, TASK_STD, SCALE = 1.0, 3.5**0.5, 1.0
OUTLIER = -0.5
RECIPE = Recipe(
    steps=3_800,
    batch_size=16,
    lr=1e-2,
    optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    held_out_batch_size=32,
)


def toynoise(
    noise: Annotated[float, "share of training targets that become outliers"] = 0.4,
    noisy: Annotated[Noisy, "whose targets: the main task's, or those of both"] = "main",
    main: Annotated[Literal["main", "auxiliary"], "the task that decides"] = "main",
    held_out_noise: Annotated[float, "share of held-out targets that become outliers"] = 0.0,
    data_seed: Annotated[int, "seed of the generated data, and of where outliers are"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """Toy regression of the SLGrad paper (arXiv 2306.04519): outliers among the training targets.

    Targets y_k = |σ_k tanh((b + ε_k)·x)| of two tasks from standard normal inputs x of dimension
    250; b has variance 1, ε_k 3.5; σ is 1 for both, as in the code of the paper's authors. 1,000
    samples: 600 to train on, 200 held out and 200 to test. As in the paper the held-out samples
    are also those to choose on, so a method that uses them for its weights has an advantage there.

    Of the targets of `noisy` a share of `noise`, rounded down, is replaced by −0.5, in the training
    part only; `held_out_noise` does the same to the held-out ones.

    With these variances tanh is saturated: all but a few targets are within 0.1 of 1. What is
    tested is whether a method finds that value among outliers, not whether it learns a function.

    Raises:
        UserError: if a noise is no probability, or ``data_seed`` no seed.
    """
    check_seed("data_seed", data_seed)
    generator = torch.Generator().manual_seed(data_seed)
    base = BASE_STD * torch.randn(INPUTS, generator=generator)
    own = TASK_STD * torch.randn(len(TASKS), INPUTS, generator=generator)
    size = TRAINING + HELD_OUT + TEST
    inputs = torch.randn(size, INPUTS, generator=generator)
    targets = (SCALE * torch.tanh(inputs @ (base + own).T)).abs()
    corrupted = draw_corrupted(TRAINING, TASKS, main, noise, noisy, generator, exact=True)
    judged = draw_corrupted(
        HELD_OUT, TASKS, main, held_out_noise, noisy, generator, exact=True, name="held_out_noise"
    )
    wrong = torch.cat([corrupted, judged, torch.zeros(TEST, len(TASKS), dtype=torch.bool)])
    targets = torch.where(wrong, OUTLIER, targets)
    parts = (torch.split(each, [TRAINING, HELD_OUT, TEST]) for each in (inputs, targets))
    train, held_out, test = map(TensorDataset, *parts)
    return Problem(
        tasks=TASKS,
        train=train,
        validation=held_out,
        test=test,
        network=Network,
        shared=_trunk,
        losses=_losses,
        scores={"mean squared error": Score(goal="min", metric=MeanSquaredError)},
        recipe=recipe,
        main=main,
        held_out=held_out,
        corrupted=corrupted if noise else None,
        labelled=lambda: labelled_parts(
            {"train": train, JUDGES: held_out, "test": test},
            _targets,
            {"train": corrupted, JUDGES: judged},
            main=main,
            drawn=True,
        ),
        notes=[
            "The held-out samples are also those to choose the step on, as in the paper.",
            *noise_notes(corrupted, TASKS),
            *noise_notes(judged, TASKS, part="Held-out"),
        ],
    )


def _targets(labels: NDArray[np.float64]) -> list[Target]:
    return [Target(task, "regression", own) for task, own in zip(TASKS, labels.T, strict=True)]


class Network(nn.Module):
    """Three shared ReLU layers of 64, and two layers a task: ``(samples, 250) → (samples, 2)``."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(*pair) for pair in pairwise([INPUTS, *[WIDTH] * LAYERS])]
        self.trunk = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)) for _ in TASKS
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions ``(samples, tasks)``."""
        features = self.trunk(inputs)
        return torch.cat([head(features) for head in self.heads], dim=1)


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()


def _losses(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    return (outputs - batch[1]).square(), None
