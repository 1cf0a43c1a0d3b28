"""CIFAR-10 as binary tasks, one for each class, with wrong labels among those to train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import TensorDataset

from equipoise.errors import UserError, near_match
from equipoise.problems.curves import average_precision, roc_auc
from equipoise.problems.images.cifar_files import Cifar, Images, read_cifar
from equipoise.problems.images.lenet import LeNet, trunk_of
from equipoise.problems.labelled import HELD_OUT, labelled_parts
from equipoise.problems.metrics import Averaged, Gathered
from equipoise.problems.noise import Noisy, draw_corrupted, noise_notes
from equipoise.problems.parameters import LARGEST, check_seed, check_whole
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.scores import Score
from equipoise.problems.table.targets import Target

TRAINING, VALIDATION, TEST = 800, 1_000, 2_000
LEAST = 100
"""Images without which a part says next to nothing."""
RECIPE = Recipe(
    epochs=40,
    batch_size=64,
    lr=1e-2,
    optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    held_out_batch_size=256,
)
SCORES = {
    "ROC-AUC": Score(goal="max", metric=partial(Gathered, roc_auc), distinct=2),
    "average precision": Score(goal="max", metric=partial(Gathered, average_precision), distinct=2),
    "cross-entropy": Score(
        goal="min",
        metric=partial(Averaged, partial(binary_cross_entropy_with_logits, reduction="none")),
    ),
}
"""Of labels and logits."""


def cifar10(
    data: Annotated[Path, "npz file, or folder or .tar.gz of the official batches"],
    main: Annotated[str, "the task that decides: the name of a class, or its number"] = "0",
    noise: Annotated[float, "probability that a training label is flipped"] = 0.0,
    noise_kind: Annotated[
        Literal["uniform", "background"], "what is flipped: any label, or only those that say no"
    ] = "uniform",
    noisy: Annotated[Noisy, "whose labels: the main task's, or every task's"] = "main",
    train_size: Annotated[
        int | None, "images to train on; by default 800, or what a small file leaves"
    ] = None,
    order: Annotated[
        Literal["random", "file"], "which images: drawn at random, or the first of the file"
    ] = "random",
    held_out: Annotated[int, "images held out for the weightings of samples"] = 200,
    held_out_noise: Annotated[float, "probability that a held-out label is flipped"] = 0.0,
    data_seed: Annotated[int, "seed of the choice of images, and of the flipped labels"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """CIFAR-10 as ten binary tasks, "is it this class?", as in the SLGrad paper.

    From an .npz file with images and labels, or train_images, train_labels, test_images and
    test_labels; or from the official files, binary or for Python, as a folder or a .tar.gz. See
    https://arxiv.org/abs/2306.04519.

    Drawn at random from the training images of the file: 800 to train on, 200 held out, and 1,000
    others to choose on (at least 100), or with `order` file the first ones, as in the code of the
    paper's authors. The test is 2,000 of the file's test images, or, where it
    has none, of further training images; a small file is shared evenly between the two.

    `noise` flips labels of the training part only, each by itself with this probability, and
    `held_out_noise` those that are held out. With
    `noise_kind` uniform any label: yes becomes no, and no becomes yes. With background only a no
    becomes yes, so that everything may be taken for the class, as in the code of the paper's
    authors. Beyond 0.5, noise makes the wrong answer the likelier label. All other labels stay as
    they are.

    A LeNet is shared, and one linear layer makes the ten logits. The areas under the ROC curves
    and the other metrics are of each task; over all tasks, the mean of those defined.

    Raises:
        UserError: if the file cannot be read, has too few images, or a parameter cannot be.
    """
    check_seed("data_seed", data_seed)
    check_whole("held_out", held_out, 1, LARGEST)
    if train_size is not None:
        check_whole("train_size", train_size, 1, LARGEST)
    file = read_cifar(data)
    tasks = file.classes
    main = _class(main, tasks)
    generator = torch.Generator().manual_seed(data_seed)
    parts = _draw(file, train_size, held_out, data, _ordered(order, generator))
    pixels = [torch.from_numpy(part.pixels) for part in parts]
    labels = [torch.eye(len(tasks))[torch.from_numpy(part.labels)] for part in parts]
    corrupted = draw_corrupted(len(labels[0]), tasks, main, noise, noisy, generator)
    judged = draw_corrupted(
        len(labels[1]), tasks, main, held_out_noise, noisy, generator, name="held_out_noise"
    )
    if noise_kind == "background":
        corrupted, judged = corrupted & (labels[0] == 0), judged & (labels[1] == 0)
    for place, wrong in enumerate((corrupted, judged)):
        labels[place] = torch.where(wrong, 1 - labels[place], labels[place])
    train, own, validation, test = map(TensorDataset, pixels, labels)
    return Problem(
        tasks=tasks,
        train=train,
        validation=validation,
        test=test,
        network=lambda: LeNet(pixels[0], (len(tasks),)),
        shared=trunk_of,
        losses=_losses,
        scores=SCORES,
        recipe=recipe,
        main=main,
        held_out=own,
        corrupted=corrupted if noise else None,
        classes=labels[0].long(),
        pictures=lambda indices: pixels[0][indices].permute(0, 2, 3, 1).numpy(),
        labelled=lambda: labelled_parts(
            {"train": train, HELD_OUT: own, "validation": validation, "test": test},
            partial(_targets, tasks),
            {"train": corrupted, HELD_OUT: judged},
            main=main,
            network=lambda outputs: LeNet(pixels[0], (outputs,)),
        ),
        notes=[
            f"Images to train on {len(train):,}, held out {len(own):,}, to choose on "
            f"{len(validation):,}, all from the {len(file.train.labels):,} of the file's training "
            f"part; to test {len(test):,}, from "
            + (f"the {len(file.test.labels):,} of its test part." if file.test else "there too."),
            *noise_notes(corrupted, tasks, labels[0]),
            *noise_notes(judged, tasks, part="Held-out"),
        ],
    )


def _targets(tasks: Sequence[str], labels: NDArray[np.float64]) -> list[Target]:
    pairs = zip(tasks, labels.T, strict=True)
    return [Target(task, "binary", own, ("no", "yes")) for task, own in pairs]


def _class(name: str, classes: Sequence[str]) -> str:
    """The class of this name or number."""
    if name in classes:
        return name
    if name.isdecimal() and int(name) < len(classes):
        return classes[int(name)]
    raise UserError(f"`main`: there is no class {name!r}: {near_match(name, classes)}")


def _draw(
    file: Cifar,
    train_size: int | None,
    held_out: int,
    data: Path,
    order_of: Callable[[int], NDArray[np.int64]],
) -> list[Images]:
    """Images to train on, held out, to choose on and to test, none of them twice."""
    images = len(file.train.labels)
    kept = LEAST if file.test else 2 * LEAST
    room = images - held_out - kept
    size = min(TRAINING, room) if train_size is None else train_size
    if not 1 <= size <= room:
        raise UserError(
            f"{data} has {images:,} training images, of which {kept} are kept to choose on"
            f"{'' if file.test else ' and to test'}; `train_size` and `held_out` ({held_out:,}) "
            "must fit into the rest, with 1 at least to train on"
        )
    if file.test and len(file.test.labels) < LEAST:
        raise UserError(
            f"{data} has {len(file.test.labels)} test images, and {LEAST} are needed; add some, or "
            "leave them out to test on further training images"
        )
    rest = room - size + kept
    validation = min(VALIDATION, rest if file.test else rest // 2)
    *parts, left = np.split(order_of(images), np.cumsum([size, held_out, validation]))
    pool = file.train
    if file.test:
        pool, left = file.test, order_of(len(file.test.labels))
    return [*(_picked(file.train, rows) for rows in parts), _picked(pool, left[:TEST])]


def _ordered(
    order: Literal["random", "file"], generator: torch.Generator
) -> Callable[[int], NDArray[np.int64]]:
    """From a number of images to their places, in an order."""
    if order == "file":
        return np.arange
    return lambda images: torch.randperm(images, generator=generator).numpy()


def _picked(images: Images, rows: NDArray[np.int64]) -> Images:
    return Images(images.pixels[rows], images.labels[rows])


def _losses(logits: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
    return binary_cross_entropy_with_logits(logits, batch[1], reduction="none"), None
