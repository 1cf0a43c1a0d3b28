"""The small convolutional network that image problems share."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor, nn

KERNEL = 5
CHANNELS = (6, 16)
WIDTHS = (120, 84)


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max pooling, all of it shared but one linear layer, the heads.

    From pixels ``(samples, channels, side, side)``, uint8, which are standardised in the network
    and stay a quarter as large in memory, to outputs ``(samples, *outputs)``.

    Args:
        images: the training images, for the mean and standard deviation of each channel.
        outputs: shape of a sample's outputs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, images: Tensor, outputs: tuple[int, ...]) -> None:
        super().__init__()
        _, channels, _, side = images.shape
        variance, mean = torch.var_mean(images.float(), (0, 2, 3), keepdim=True)
        self.register_buffer("mean", mean)
        self.register_buffer("std", variance.sqrt())
        self.outputs = outputs
        first, second = CHANNELS
        for _ in CHANNELS:
            side = (side - KERNEL + 1) // 2
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, first, KERNEL),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, KERNEL),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * side**2, WIDTHS[0]),
            nn.ReLU(),
            nn.Linear(*WIDTHS),
            nn.ReLU(),
        )
        self.heads = nn.Linear(WIDTHS[-1], prod(outputs))

    def forward(self, images: Tensor) -> Tensor:
        """Outputs ``(samples, *outputs)``."""
        standardised = (images - self.mean) / self.std
        outputs: Tensor = self.heads(self.trunk(standardised)).unflatten(1, self.outputs)
        return outputs


def trunk_of(network: nn.Module) -> Iterable[nn.Parameter]:
    """What the tasks share of a `LeNet`."""
    assert isinstance(network, LeNet)
    return network.trunk.parameters()
