"""The stand-in for NYUv2 that needs no file: rooms that are drawn."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch

from equipoise.errors import UserError
from equipoise.problems.parameters import check_seed, check_whole
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.vision.layout import Scenes, open_part
from equipoise.problems.vision.network import network_of
from equipoise.problems.vision.nyuv2 import checked_share, scenes_problem
from equipoise.problems.vision.tasks import Protocol

SIZE = (72, 96)
RECIPE = Recipe(
    steps=1_200, batch_size=16, lr=1e-3, optimizer=partial(torch.optim.Adam, eps=1e-5), clip=0.5
)


def rooms(
    protocol: Annotated[Protocol, "losses of the SLAW paper, or those of MTAN"] = "slaw",
    network: Annotated[str, "small, large, resnet50, or your own as module:attribute"] = "small",
    main: Annotated[
        Literal["segmentation", "depth", "normals"] | None,
        "the task that decides; the others are there to serve it",
    ] = None,
    held_out: Annotated[
        float, "with `main`, the share of the training scenes that is held out for weightings"
    ] = 0.2,
    augment: Annotated[bool, "crop, enlarge and mirror the training scenes"] = False,
    scenes: Annotated[int, "scenes to train on, at most 400"] = 400,
    data_seed: Annotated[int, "seed of which scenes are held out"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """Rooms with furniture, drawn by rays: a stand-in for NYUv2 with the same tasks and classes.

    400 scenes of 72 × 96 to train on, 150 to choose on and 150 to test; see nyuv2 for tasks, losses
    and networks. They are drawn once, in a few minutes, and kept in the folder that the
    environment variable EQUIPOISE_CACHE names, or in the user's cache. Depths and normals have the
    noise and the holes of a sensor, and some things have no class.

    Raises:
        UserError: if a parameter cannot be, or packages are missing.
    """
    check_seed("data_seed", data_seed)
    check_whole("scenes", scenes, 2, 400)
    try:
        from equipoise.problems.vision.rooms.dataset import rooms_folder
    except ImportError as error:
        raise UserError(
            f"the problem rooms needs more packages ({error}): pip install 'equipoise[vision]'"
        ) from error
    made = network_of(network)  # what cannot be is said before anything is drawn
    folder = rooms_folder(*SIZE)
    train, validation, test = (open_part(folder / part) for part in ("train", "val", "test"))
    order = torch.randperm(scenes, generator=torch.Generator().manual_seed(data_seed)).tolist()
    apart = checked_share(held_out, main, scenes)
    return scenes_problem(
        train=Scenes(train, order[apart:], SIZE),
        held_out=Scenes(train, order[:apart], SIZE) if apart else None,
        validation=Scenes(validation, range(validation.scenes), SIZE),
        test=Scenes(test, range(test.scenes), SIZE),
        protocol=protocol,
        network=made,
        main=main,
        augment=augment,
        recipe=recipe,
    )
