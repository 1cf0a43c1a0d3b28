"""Two overlapping handwritten digits: the one on the left, and the one on the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from equipoise.problems.images.digit_pairs import (
    CLASSES,
    SCORES,
    TASKS,
    answers,
    losses,
    overlaid,
)
from equipoise.problems.parameters import check_seed
from equipoise.problems.parts import hold_out
from equipoise.problems.problem import Problem, Recipe

SIDE, HEIGHT, WIDTH = 8, 10, 12
"""Of an image, and of the canvas that two are put on: they share four columns or fewer."""
HELD_OUT_IMAGES = 300
PAIRS, HELD_OUT_PAIRS = 6_000, 1_000
FEATURES = 64
RECIPE = Recipe(
    steps=600,
    batch_size=128,
    lr=2e-3,
    optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
)


def digits(
    data_seed: Annotated[int, "seed of the split of the images and of their pairs"] = 0,
    main: Annotated[
        Literal["left", "right"] | None, "the task that decides; the other is there to serve it"
    ] = None,
    held_out: Annotated[
        float,
        "with `main`, the share of the training part that is held out for the weightings of "
        "samples, and that no method trains on; 0 for none",
    ] = 0.2,
    recipe: Recipe = RECIPE,
) -> Problem:
    """Two overlapping handwritten digits, as in MultiMNIST, but small: seconds to train.

    From the 1,797 images of 8 × 8 that come with scikit-learn. Two of them, up to two rows up or
    down, are laid over each other on 10 × 12, the brighter one seen; the tasks are the digit on
    the left and the one on the right. 6,000 pairs to train on, 1,000 to choose on, 1,000 to test,
    each part of images of its own. With `main` some of those to train on are held out, of images
    of their own too.

    Raises:
        UserError: if ``held_out`` is no share, or ``data_seed`` no seed.
    """
    check_seed("data_seed", data_seed)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, SIDE, SIDE).astype(np.float32) / 16
    generator = torch.Generator().manual_seed(data_seed)
    order = torch.randperm(len(images), generator=generator)
    test, validation, train = torch.split(
        order, [HELD_OUT_IMAGES, HELD_OUT_IMAGES, len(order) - 2 * HELD_OUT_IMAGES]
    )

    own, own_pairs = train[:0], 0
    if main is not None and held_out:
        train, own = map(torch.from_numpy, hold_out(train.numpy(), held_out, data_seed))
        own_pairs = round(held_out * PAIRS)

    def pairs(images_of: Tensor, size: int) -> TensorDataset:
        chosen = images_of[torch.randint(len(images_of), (size, 2), generator=generator)]
        rows = torch.randint(HEIGHT - SIDE + 1, (size, 2), generator=generator)
        columns = torch.tensor([0, WIDTH - SIDE]).expand(size, 2)
        return TensorDataset(
            overlaid(torch.from_numpy(images)[chosen], rows, columns, (HEIGHT, WIDTH)),
            torch.from_numpy(labels)[chosen],
        )

    return Problem(
        tasks=TASKS,
        train=pairs(train, PAIRS - own_pairs),
        validation=pairs(validation, HELD_OUT_PAIRS),
        test=pairs(test, HELD_OUT_PAIRS),
        network=Network,
        shared=_trunk,
        losses=losses,
        answers=answers,
        scores=SCORES,
        main=main,
        held_out=pairs(own, own_pairs) if own_pairs else None,
        recipe=recipe,
        notes=[
            f"Pairs held out for the weightings of samples, trained on by no method: {own_pairs:,}."
        ]
        * bool(own_pairs),
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


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()
