"""Two overlapping handwritten digits: the one on the left, and the one on the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from equipoise.problems.kinds import multiclass_losses
from equipoise.problems.problem import OVERALL, Data, Metrics, Problem, Recipe

TASKS = ("left", "right")
SIDE, HEIGHT, WIDTH = 8, 10, 12
"""Of an image, and of the canvas that two are put on: they share four columns or fewer."""
HELD_OUT_IMAGES = 300
PAIRS, HELD_OUT_PAIRS = 6_000, 1_000
CLASSES, FEATURES = 10, 64


def digits(
    data_seed: Annotated[int, "seed of the split of the images and of their pairs"] = 0,
) -> Problem:
    """Two overlapping handwritten digits, as in MultiMNIST, but small: seconds to train.

    From the 1,797 images of 8 × 8 that come with scikit-learn. Two of them, up to two rows up or
    down, are laid over each other on 10 × 12, the brighter one seen; the tasks are the digit on
    the left and the one on the right. 6,000 pairs to train on, 1,000 to choose on, 1,000 to test,
    each part of images of its own.
    """
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, SIDE, SIDE).astype(np.float32) / 16
    generator = torch.Generator().manual_seed(data_seed)
    order = torch.randperm(len(images), generator=generator)
    test, validation, train = torch.split(
        order, [HELD_OUT_IMAGES, HELD_OUT_IMAGES, len(order) - 2 * HELD_OUT_IMAGES]
    )

    def pairs(own: Tensor, size: int) -> TensorDataset:
        chosen = own[torch.randint(len(own), (size, 2), generator=generator)]
        rows = torch.randint(HEIGHT - SIDE + 1, (size, 2), generator=generator)
        return TensorDataset(
            _overlaid(torch.from_numpy(images)[chosen], rows),
            torch.from_numpy(labels)[chosen],
        )

    return Problem(
        tasks=TASKS,
        train=pairs(train, PAIRS),
        validation=pairs(validation, HELD_OUT_PAIRS),
        test=pairs(test, HELD_OUT_PAIRS),
        network=Network,
        shared=_trunk,
        losses=_losses,
        metrics=_metrics,
        goals={"accuracy": "max"},
        recipe=Recipe(
            steps=600,
            batch_size=128,
            lr=2e-3,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
        ),
    )


class Network(nn.Module):
    """A convolution and a dense layer, shared, and two heads.

    From images ``(samples, 1, 10, 12)`` to logits ``(samples, tasks, classes)``.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 16
        self.trunk = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(channels * HEIGHT * WIDTH // 4, FEATURES),
            nn.ReLU(),
        )
        self.heads = nn.Linear(FEATURES, len(TASKS) * CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(samples, tasks, classes)``."""
        logits: Tensor = self.heads(self.trunk(images)).unflatten(1, (len(TASKS), CLASSES))
        return logits


def _overlaid(images: Tensor, rows: Tensor) -> Tensor:
    """Pairs ``(samples, 2, 8, 8)``, each from its own row on, as ``(samples, 1, 10, 12)``."""
    size = len(images)
    canvas = torch.zeros(size, 2, HEIGHT, WIDTH)
    sample = torch.arange(size)[:, None, None]
    for side, start in enumerate((0, WIDTH - SIDE)):
        row = rows[:, side, None, None] + torch.arange(SIDE)[:, None]
        canvas[sample, side, row, start + torch.arange(SIDE)] = images[:, side]
    return canvas.amax(1, keepdim=True)


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()


def _losses(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    images, labels = batch
    return multiclass_losses(network(images), labels), None


def _metrics(network: nn.Module, data: Data) -> Metrics:
    images, labels = data[torch.arange(len(data))]
    device = next(network.parameters()).device
    found: NDArray[np.int64] = network(images.to(device)).argmax(2).cpu().numpy()
    accuracies = [accuracy_score(*pair) for pair in zip(labels.numpy().T, found.T, strict=True)]
    return {
        "accuracy": {
            OVERALL: float(np.mean(accuracies)),
            **dict(zip(TASKS, accuracies, strict=True)),
        }
    }
