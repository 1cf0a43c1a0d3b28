"""MultiMNIST: two overlapping digits of MNIST, with wrong labels among those to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
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
from equipoise.problems.images.idx import read_idx
from equipoise.problems.images.lenet import LeNet, trunk_of
from equipoise.problems.labelled import HELD_OUT, labelled_parts
from equipoise.problems.noise import Noisy, draw_corrupted, noise_notes
from equipoise.problems.parameters import check_seed, check_whole
from equipoise.problems.problem import Problem, Recipe

SIDE = 28
"""Of an image."""
SHIFT = 4
"""Pixels, at most, by which a digit is moved from the middle, across and down."""
CANVAS = SIDE + 2 * SHIFT
PAIRS = 15_000
"""To train on; a third as many are held out, to choose on, and to test."""
RECIPE = Recipe(
    epochs=10,
    batch_size=64,
    lr=1e-2,
    optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    held_out_batch_size=32,
)
LEAST = 100
"""Images of a part of MNIST without which there is not much to pair."""


def multimnist(
    data: Annotated[Path, "folder of MNIST's four idx files, gzipped (.gz) or not"],
    main: Annotated[Literal["left", "right"], "the task that decides"] = "left",
    noise: Annotated[float, "probability that a training label becomes another digit"] = 0.0,
    noisy: Annotated[Noisy, "whose labels: the main task's, or those of both"] = "main",
    held_out_noise: Annotated[
        float, "probability that a held-out label becomes another digit"
    ] = 0.0,
    pairs: Annotated[int, "to train on; each other part has a third as many"] = PAIRS,
    offset: Annotated[
        int | None,
        "pixels from the left digit to the right one, across and down, 6 in the authors' code; by "
        "default each is shifted by random ones",
    ] = None,
    data_seed: Annotated[int, "seed of the pairs, and of the wrong labels"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """MultiMNIST, as in the SLGrad paper: two overlapping digits, one left and one right.

    Digits of 28 × 28 are laid over each other on 36 × 36, the brighter pixel seen; the left one is
    shifted from the middle by up to 4 pixels upwards and to the left, the right one downwards and
    to the right, each by numbers of its own. With `offset` all left digits are in the upper left
    corner, and all right ones so many pixels further down and to the right. A LeNet is shared, and
    one linear layer makes the logits of both. See https://arxiv.org/abs/2306.04519.

    15,000 `pairs` to train on, a third as many held out and to choose on, of MNIST's training
    images, each part of images of its own; and as many of test images to test. With `noise` labels
    of the training part become one of the nine other digits, each with this probability, and with
    `held_out_noise` those that are held out. The
    authors' code has no wrong labels; it cuts its 36 × 36 pixels, as they lie in memory, into rows
    of 28, which is not repeated here.

    Raises:
        UserError: if the files are not MNIST's, a noise is no probability, ``offset`` beyond the
            canvas, ``pairs`` too few, or ``data_seed`` no seed.
    """
    check_seed("data_seed", data_seed)
    check_whole("pairs", pairs, LEAST, 10 * PAIRS)
    if offset is not None:
        check_whole("offset", offset, 0, CANVAS - SIDE)
    others = pairs // 3
    generator = torch.Generator().manual_seed(data_seed)
    images, labels = _read(data, "train")
    order = torch.randperm(len(images), generator=generator)
    # As many images to a part, in proportion, as it has pairs.
    first, second = 3 * len(order) // 5, 4 * len(order) // 5
    parts = [
        _pairs(images[rows], labels[rows], size, offset, generator)
        for rows, size in zip(
            torch.tensor_split(order, [first, second]),
            (pairs, others, others),
            strict=True,
        )
    ]
    (pictures, digits), *rest = parts
    rest.append(_pairs(*_read(data, "t10k"), others, offset, generator))
    corrupted = draw_corrupted(pairs, TASKS, main, noise, noisy, generator)
    digits = made_wrong(digits, corrupted, generator)
    judged = draw_corrupted(
        others, TASKS, main, held_out_noise, noisy, generator, name="held_out_noise"
    )
    images_held_out, own = rest[0]
    rest[0] = images_held_out, made_wrong(own, judged, generator)
    train = TensorDataset(pictures, digits)
    held_out, validation, test = (TensorDataset(*part) for part in rest)
    return Problem(
        tasks=TASKS,
        train=train,
        validation=validation,
        test=test,
        network=lambda: LeNet(pictures, (len(TASKS), CLASSES)),
        shared=trunk_of,
        losses=losses,
        answers=answers,
        scores=SCORES,
        recipe=recipe,
        main=main,
        held_out=held_out,
        corrupted=corrupted if noise else None,
        classes=digits,
        pictures=lambda indices: pictures[indices].permute(0, 2, 3, 1).numpy(),
        labelled=lambda: labelled_parts(
            {"train": train, HELD_OUT: held_out, "validation": validation, "test": test},
            digit_targets,
            {"train": corrupted, HELD_OUT: judged},
            main=main,
            network=lambda outputs: LeNet(pictures, (outputs,)),
        ),
        notes=[
            *noise_notes(corrupted, TASKS, digits),
            *noise_notes(judged, TASKS, part="Held-out"),
        ],
    )


def _pairs(
    images: Tensor, labels: Tensor, size: int, offset: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Canvases ``(size, 1, 36, 36)``, uint8, and their digits ``(size, 2)``, int64."""
    chosen = torch.randint(len(images), (size, 2), generator=generator)
    if offset is None:
        rows, columns = torch.randint(SHIFT + 1, (2, size, 2), generator=generator)
        # The left image is 0 to 4 pixels from the canvas's top and left, the right one 4 to 8.
        right = torch.tensor([0, SHIFT])
        rows, columns = rows + right, columns + right
    else:
        rows = columns = torch.tensor([0, offset]).expand(size, 2)
    return overlaid(images[chosen], rows, columns, (CANVAS, CANVAS)), labels[chosen]


def _read(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images, uint8 ``(n, 28, 28)``, and labels, int64 ``(n,)``, of a part of MNIST."""
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
    if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
        raise UserError(
            f"{part}-images and {part}-labels of {folder} must be (n, 28, 28) and (n,), found "
            f"{images.shape} and {labels.shape}; they are not MNIST's"
        )
    if len(images) < LEAST:
        raise UserError(f"{part}-images of {folder} has {len(images)}, and {LEAST} are needed")
    if labels.max() >= CLASSES:
        raise UserError(f"{part}-labels of {folder} must be digits, found {labels.max()}")
    return torch.tensor(images), torch.tensor(labels, dtype=torch.int64)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"there is no {name} or {name}.gz in {folder}, the folder of `data`")
