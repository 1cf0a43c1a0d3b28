"""An encoder with a convolutional head for each task, and how networks are named."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu, softplus

from equipoise.errors import UserError
from equipoise.problems.vision.tasks import CHANNELS, DEPTH, Outputs

WIDTHS = {"small": (32, 64, 96), "large": (64, 128, 256, 512)}
"""Channels of the stages of the encoder, each of half the resolution of the one before."""
RESNET = "resnet50"
GROUPS = 8
WIDEST = 256
"""Channels inside of a head, at most."""
NEAREST = 0.01
"""Metres, below which no depth is predicted."""


class Network(nn.Module):
    """Images ``(scenes, 3, height, width)`` → logits, depths and normals of the same size.

    Args:
        trunk: from images to features ``(scenes, channels, rows, columns)``.
        features: channels of these.
    """

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict(
            {task: head(features, channels) for task, channels in CHANNELS.items()}
        )

    def forward(self, images: Tensor) -> Outputs:
        """See the class."""
        features = self.trunk(images)
        size = images.shape[-2:]
        outputs = {
            task: interpolate(each(features), size, mode="bilinear", align_corners=False)
            for task, each in self.heads.items()
        }
        return {**outputs, DEPTH: softplus(outputs[DEPTH]) + NEAREST}


class Residuals(nn.Sequential):
    """Residual stages after a convolution.

    Groups of channels are normalised within a scene, so that no scene depends on others.

    Args:
        widths: channels of the stages.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(nn.Conv2d(3, widths[0], 5, stride=2, padding=2))
        for before, after in zip((widths[0], *widths[:-1]), widths, strict=True):
            self.append(Residual(before, after, stride=1 if before == after else 2))

    def forward(self, images: Tensor) -> Tensor:
        """Features of images in [0, 1]."""
        features = images - 0.5
        for stage in self:
            features = stage(features)
        return features


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, after) for _ in range(2))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Conv2d(before, after, 1, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features ``(scenes, after, height / stride, width / stride)``."""
        inner = relu(self.norms[0](self.first(inputs)))
        outer: Tensor = relu(self.norms[1](self.second(inner)) + self.shortcut(inputs))
        return outer


def head(features: int, channels: int) -> nn.Sequential:
    """Two convolutions from features to the channels of a task."""
    inner = min(features // 2, WIDEST)
    return nn.Sequential(
        nn.Conv2d(features, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
    )


def network_of(name: str, weights: Path | None = None) -> Callable[[], nn.Module]:
    """What makes the network of a size, a ResNet-50's, or that of ``module:attribute``.

    Args:
        name: which.
        weights: a file that the encoder of resnet50 begins with.

    Raises:
        UserError: if it is none of them, packages are missing, or the weights are of another.
    """
    if weights is not None and name != RESNET:
        raise UserError(f"`weights` are of `network` {RESNET}, found `network` {name}")
    if name == RESNET:
        from equipoise.problems.vision.resnet import FEATURES, resnet50

        encoder = resnet50(weights)
        return lambda: Network(encoder(), FEATURES)
    if name in WIDTHS:
        widths = WIDTHS[name]
        return lambda: Network(Residuals(widths), widths[-1])
    if ":" not in name:
        raise UserError(
            f"`network` must be {', '.join(WIDTHS)}, {RESNET}, or your own as module:attribute, "
            f"found {name!r}"
        )
    made = _found(name)
    if not callable(made):
        raise UserError(f"`network`: {name} is no class and no function that makes a network")
    return lambda: _checked(made(), name)


def _found(name: str) -> object:
    """What a user names, who may have it in the working directory."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"`network`: {name} cannot be imported: {error}") from error


def _checked(network: object, name: str) -> nn.Module:
    if not isinstance(network, nn.Module) or not isinstance(
        getattr(network, "trunk", None), nn.Module
    ):
        raise UserError(
            f"`network`: {name} must make a torch.nn.Module with a trunk, the part that all tasks "
            f"share, from images to a dict of {', '.join(CHANNELS)}"
        )
    return network


def trunk_of(network: nn.Module) -> Iterable[nn.Parameter]:
    """What the tasks share."""
    trunk = network.trunk
    assert isinstance(trunk, nn.Module)
    return trunk.parameters()
