"""The field's augmentations: crops that are made larger, and mirror images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from equipoise.problems.vision.layout import Batch, Scenes

SCALES = (1.0, 1.2, 1.5)


class Augmented:
    """Scenes, each cropped and made larger by 1, 1.2 or 1.5, and mirrored half of the time.

    What is brought nearer is less deep by that factor; what is mirrored looks the other way in x.
    Numbers are drawn from PyTorch's generator, so that a run goes on with the same ones.
    """

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, indices: Tensor) -> Batch:
        """The batch of scenes at ``indices``, int64."""
        batch = self.scenes[indices]
        made = [_augmented(Batch(*scene)) for scene in zip(*batch, strict=True)]
        return Batch(*map(torch.stack, zip(*made, strict=True)))


def _augmented(scene: Batch) -> Batch:
    scale = SCALES[int(torch.randint(len(SCALES), ()))]
    scene = cropped(scene, scale, *torch.rand(2).tolist())
    return mirrored(scene) if torch.rand(()) < 0.5 else scene


def cropped(scene: Batch, scale: float, down: float, right: float) -> Batch:
    """The part of a scene that begins at these shares of the room there is, at the old size."""
    height, width = scene.label.shape
    rows, columns = int(height / scale), int(width / scale)
    top, left = round(down * (height - rows)), round(right * (width - columns))
    cut = [each[..., top : top + rows, left : left + columns] for each in scene]
    image = interpolate(cut[0][None], (height, width), mode="bilinear", align_corners=False)[0]
    others = torch.cat([cut[1][None].float(), cut[2][None], cut[3]])
    label, depth, *axes = interpolate(others[None], (height, width), mode="nearest-exact")[0]
    return Batch(image, label.long(), depth / scale, torch.stack(axes))


def mirrored(scene: Batch) -> Batch:
    """Left and right exchanged."""
    image, label, depth, normal = (each.flip(-1) for each in scene)
    return Batch(image, label, depth, normal * normal.new_tensor([-1, 1, 1])[:, None, None])
