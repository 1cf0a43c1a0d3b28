"""The encoder of both papers: a ResNet-50 with dilations, of ``transformers``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.errors import UserError, reason_of

FEATURES = 2_048
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, which published weights expect."""
DILATIONS = {2: 2, 3: 4}
"""Stage → by which it is dilated, in place of its stride."""
PREFIX = "resnet."
"""Of the encoder's weights in a file of a whole classifier."""


class Encoder(nn.Module):
    """A ``ResNetModel`` that keeps an eighth of the images' height and width.

    The first block of a dilated stage has the dilation of the stage before, so that weights that
    were trained with strides mean the same (Yu, Koltun and Funkhouser, arXiv 1705.09914). Its
    batches are normalised as a whole: a scene's loss depends on the scenes beside it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        self.model = ResNetModel(ResNetConfig())
        stages: Any = self.model.encoder.stages
        for stage, dilation in DILATIONS.items():
            for block, layer in enumerate(stages[stage].layers):
                _dilate(layer, dilation // 2 if block == 0 else dilation)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(scenes, 2048, height / 8, width / 8)`` of images in [0, 1]."""
        features: Tensor = self.model((images - self.mean) / self.deviation).last_hidden_state
        return features


def resnet50(weights: Path | None) -> Callable[[], Encoder]:
    """What makes the encoder, with the weights of a file if there is one.

    Args:
        weights: of ``ResNetModel`` or ``ResNetForImageClassification``, a local file of safetensors
            or of PyTorch.

    Raises:
        UserError: if transformers is missing, or the weights are no ResNet-50's.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"`network` resnet50 needs more packages ({error}): pip install 'equipoise[vision]'"
        ) from error
    if weights is None:
        return Encoder
    state = _read(weights)

    def made() -> Encoder:
        encoder = Encoder()
        try:
            encoder.model.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(
                f"`weights`: {weights} are not those of transformers' ResNetModel of 50 layers: "
                f"{str(error).splitlines()[-1].strip()[:200]}"
            ) from error
        return encoder

    made()
    return made


def _dilate(layer: nn.Module, dilation: int) -> None:
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            part.stride = (1, 1)
            if part.kernel_size == (3, 3):
                part.dilation = part.padding = (dilation, dilation)


def _read(weights: Path) -> dict[str, Tensor]:
    """The encoder's part of a file; nothing in it is run."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if weights.suffix == ".safetensors":
            state: Any = load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"`weights`: cannot read {weights} as safetensors or PyTorch's: {reason_of(error)}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise UserError(f"`weights`: {weights} holds no tensors by name")
    whole = any(name.startswith(PREFIX) for name in state)
    return {
        name.removeprefix(PREFIX): value
        for name, value in state.items()
        if not whole or name.startswith(PREFIX)
    }
