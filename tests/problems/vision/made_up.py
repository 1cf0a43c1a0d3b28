"""Scenes that are made up, in the layout of NYUv2."""

import numpy as np
import torch

from equipoise.problems.vision.orientation import normals_of_depth

HEIGHT, WIDTH = 24, 32
DTYPES = {"image": "float32", "label": "float32", "depth": "float32", "normal": "float32"}


def scene(seed):
    """A wall seen at a slant, with holes: image, classes, depths and the normals they have."""
    rng = np.random.default_rng(seed)
    depth = wall(rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), rng.uniform(2, 4))
    full = torch.tensor(depth)[None]
    normal = np.zeros((HEIGHT, WIDTH, 3))
    normal[:-1, :-1] = normals_of_depth(full)[0].permute(1, 2, 0)
    depth[rng.random(depth.shape) < 0.1] = 0
    normal[rng.random(depth.shape) < 0.1] = 0
    return {
        "image": rng.random((HEIGHT, WIDTH, 3)),
        "label": rng.integers(-1, 13, (HEIGHT, WIDTH)),
        "depth": depth[..., None],
        "normal": normal,
    }


def wall(right, up, distance):
    """Depths of the plane z = distance + right · x + up · y, x right and y up."""
    focal = 519 / 640 * WIDTH
    x = (np.arange(WIDTH) - (WIDTH - 1) / 2) / focal
    y = -(np.arange(HEIGHT) - (HEIGHT - 1) / 2)[:, None] / focal
    return distance / (1 - right * x - up * y)


def write(folder, part, scenes, **dtypes):
    for number, parts in enumerate(scenes):
        for kind, values in parts.items():
            place = folder / part / kind
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{number}.npy", values.astype({**DTYPES, **dtypes}[kind]))
