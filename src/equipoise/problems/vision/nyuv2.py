"""Multi-task vision: classes, depths and normals of every pixel of a scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from equipoise.errors import UserError
from equipoise.problems.parameters import check_seed
from equipoise.problems.problem import Data, Problem, Recipe
from equipoise.problems.vision.augmentation import Augmented
from equipoise.problems.vision.layout import Batch, Part, Scenes, open_part
from equipoise.problems.vision.network import network_of, trunk_of
from equipoise.problems.vision.orientation import points_down
from equipoise.problems.vision.sheet import sheet_of_predictions
from equipoise.problems.vision.tasks import SCORES, TASKS, Protocol, answers, losses

RECIPES = {
    "slaw": Recipe(
        steps=660,
        batch_size=36,
        lr=7e-4,
        optimizer=partial(torch.optim.Adam, eps=1e-5),
        clip=0.5,
    ),
    "mtan": Recipe(
        epochs=200,
        batch_size=8,
        lr=1e-4,
        optimizer=torch.optim.Adam,
        schedule=lambda optimizer, steps: StepLR(optimizer, max(steps // 2, 1), 0.5),
    ),
}
RECIPE = RECIPES["slaw"]
HEIGHTS = {"slaw": 120, "mtan": 288}
"""To which scenes are made smaller; the width follows."""
TENTH = 0.1


def nyuv2(
    data: Annotated[Path, "folder with train and val, as MTAN has preprocessed NYUv2"],
    protocol: Annotated[
        Protocol, "losses, size and training of the SLAW paper, or those of MTAN"
    ] = "slaw",
    network: Annotated[
        str, "small, large, resnet50, or your own as module:attribute, see below"
    ] = "small",
    weights: Annotated[Path | None, "file of weights that resnet50 begins with"] = None,
    main: Annotated[
        Literal["segmentation", "depth", "normals"] | None,
        "the task that decides; the others are there to serve it",
    ] = None,
    held_out: Annotated[
        float, "with `main`, the share of the training scenes that is held out for weightings"
    ] = 0.2,
    normals_y: Annotated[
        Literal["up", "down"], "where the second channel of the normals in the files points"
    ] = "up",
    augment: Annotated[bool, "crop, enlarge and mirror the training scenes"] = False,
    height: Annotated[int | None, "of the scenes in pixels; by default the protocol's"] = None,
    data_seed: Annotated[int, "seed of the split of the training scenes"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """NYUv2: segmentation into 13 classes, depth and surface normals of indoor scenes.

    Folders train and val, each with image, label, depth and normal of files 0.npy, 1.npy, …: images
    (height, width, 3) in [0, 1]; classes (height, width) from 0 to 12, −1 where there is none;
    depths (height, width, 1) in metres, 0 where there is none; normals (height, width, 3), 0 where
    there is none. Scenes are read when they are needed.

    With `protocol` slaw: scenes of 120 × 160, cross-entropy, the scale-invariant loss of logarithms
    of depth, (1 − cos)/2 of normals, 660 steps of 36 (arXiv 2109.08218). With mtan: 288 × 384,
    cross-entropy, absolute errors of depth, 1 − cos, 200 epochs of 8, the learning rate halved at
    half time (arXiv 1803.10704). A loss is a mean over the valid pixels of a scene; the authors of
    SLAW count missing depths as 1e-5 m.

    Tested on val. A tenth of train is kept to choose the step on, and with `main` a share is held
    out. `network` is a residual encoder with a convolutional head a task: small has 0.3 million
    parameters, large 8.4 million; resnet50, with 38 million, is the dilated one of both papers, of
    the package transformers, and may begin with `weights`. One of your own has a trunk, the module
    that all tasks share, and makes of images (scenes, 3, height, width) a dict: segmentation,
    logits (scenes, 13, height, width); depth, metres (scenes, 1, height, width); normals (scenes,
    3, height, width).

    Raises:
        UserError: if the folder is not of that form, or a parameter cannot be.
    """
    check_seed("data_seed", data_seed)
    train, test = open_part(data / "train"), open_part(data / "val")
    order = np.random.default_rng(data_seed).permutation(train.scenes).tolist()
    kept = max(1, round(TENTH * train.scenes))
    apart = checked_share(held_out, main, train.scenes)
    if train.scenes < kept + apart + 1:
        raise UserError(f"{data / 'train'} has {train.scenes} scenes, too few to split")
    size = _size(train, HEIGHTS[protocol] if height is None else height)
    made = partial(Scenes, size=size, flip_y=normals_y == "down")
    return scenes_problem(
        train=made(train, order[kept + apart :]),
        validation=made(train, order[:kept]),
        held_out=made(train, order[kept : kept + apart]) if apart else None,
        test=made(test, range(test.scenes)),
        protocol=protocol,
        network=network_of(network, weights),
        main=main,
        augment=augment,
        recipe=recipe if recipe is not RECIPE else RECIPES[protocol],
    )


def scenes_problem(
    *,
    train: Scenes,
    validation: Scenes,
    held_out: Scenes | None,
    test: Scenes,
    protocol: Protocol,
    network: Callable[[], nn.Module],
    main: str | None,
    augment: bool,
    recipe: Recipe,
) -> Problem:
    """The problem of these scenes."""
    notes = []
    if points_down(train):
        notes.append(
            "The second channel of the normals points against what the depths say: give "
            f"`normals_y` {'up' if train.flip_y else 'down'}."
        )
    part: Data = Augmented(train) if augment else train
    return Problem(
        tasks=TASKS,
        train=part,
        validation=validation,
        test=test,
        network=network,
        shared=trunk_of,
        outputs=_outputs,
        losses=partial(losses, protocol),
        answers=answers,
        scores=SCORES,
        recipe=recipe,
        main=main,
        held_out=held_out,
        sheet=lambda network: sheet_of_predictions(test, network),
        pictures=lambda indices: _pictures(train[indices]),
        notes=notes,
    )


def _outputs(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = network(batch.image)
    return found


def checked_share(held_out: float, main: str | None, scenes: int) -> int:
    """How many of the scenes are held out: none without a main task."""
    if not 0 <= held_out < 1:
        raise UserError(f"`held_out` must be from 0 to below 1, found {held_out}")
    return 0 if main is None else round(held_out * scenes)


def _size(part: Part, height: int) -> tuple[int, int]:
    if not 16 <= height <= part.height:
        raise UserError(f"`height` must be from 16 to {part.height}, the files', found {height}")
    return height, round(part.width * height / part.height)


def _pictures(batch: Batch) -> NDArray[np.uint8]:
    pictures: NDArray[np.uint8] = (255 * batch.image).round().byte().movedim(1, -1).numpy()
    return pictures
