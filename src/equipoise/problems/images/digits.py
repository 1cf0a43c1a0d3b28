"""Two overlapping handwritten digits: the one on the left, and the one on the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from equipoise.errors import UserError
from equipoise.problems.images.digit_pairs import (
    CLASSES,
    SCORES,
    TASKS,
    answers,
    digit_targets,
    losses,
    made_wrong,
    overlaid,
)
from equipoise.problems.labelled import HELD_OUT, labelled_parts
from equipoise.problems.noise import Noisy, draw_corrupted, noise_notes
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
    noise: Annotated[
        float, "with `main`, probability that a training label becomes another digit"
    ] = 0.0,
    noisy: Annotated[Noisy, "whose labels: the main task's, or those of both"] = "main",
    held_out_noise: Annotated[
        float, "probability that a held-out label becomes another digit"
    ] = 0.0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """Two overlapping handwritten digits, as in MultiMNIST, but small: seconds to train.

    From the 1,797 images of 8 × 8 that come with scikit-learn. Two of them, up to two rows up or
    down, are laid over each other on 10 × 12, the brighter one seen; the tasks are the digit on
    the left and the one on the right. 6,000 pairs to train on, 1,000 to choose on, 1,000 to test,
    each part of images of its own. With `main` some of those to train on are held out, of images
    of their own too, and with `noise` labels of the training part become one of the nine other
    digits, each with this probability, and with `held_out_noise` those that are held out.

    Raises:
        UserError: if ``held_out`` is no share, a noise is no probability or without ``main``, or
            ``data_seed`` no seed.
    """
    check_seed("data_seed", data_seed)
    if main is None and (noise or held_out_noise):
        raise UserError("`noise` is of what a main task learns from: give `main` too")
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

    def wrong(part: TensorDataset, noise: float, name: str) -> tuple[TensorDataset, Tensor]:
        pictures, labels = part.tensors
        where = draw_corrupted(
            len(part), TASKS, main or TASKS[0], noise, noisy, generator, name=name
        )
        return TensorDataset(pictures, made_wrong(labels, where, generator)), where

    parts = {
        "train": pairs(train, PAIRS - own_pairs),
        "validation": pairs(validation, HELD_OUT_PAIRS),
        "test": pairs(test, HELD_OUT_PAIRS),
    }
    if own_pairs:
        parts[HELD_OUT] = pairs(own, own_pairs)
    parts["train"], corrupted = wrong(parts["train"], noise, "noise")
    known, notes = {"train": corrupted}, []
    if own_pairs:
        parts[HELD_OUT], judged = wrong(parts[HELD_OUT], held_out_noise, "held_out_noise")
        known[HELD_OUT] = judged
        notes = [
            f"Pairs held out for the weightings of samples, trained on by no method: {own_pairs:,}."
        ]
        notes += noise_notes(judged, TASKS, part="Held-out")
    return Problem(
        tasks=TASKS,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        network=Network,
        shared=_trunk,
        losses=losses,
        answers=answers,
        scores=SCORES,
        main=main,
        held_out=parts.get(HELD_OUT),
        corrupted=corrupted if noise else None,
        classes=parts["train"].tensors[1] if main else None,
        recipe=recipe,
        labelled=lambda: labelled_parts(parts, digit_targets, known, main=main),
        notes=[*notes, *noise_notes(corrupted, TASKS, parts["train"].tensors[1])],
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
