"""A network that learns numbers and classes side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from equipoise.problems.memory import check_fits
from equipoise.problems.parameters import WIDEST, check_whole, check_widths
from equipoise.problems.table.kinds import Kind, Outputs
from equipoise.problems.table.targets import Target


class Network(nn.Module):
    """Shared ReLU layers and heads: ``(samples, inputs) → Outputs``.

    The heads are one matrix whose outputs are parted by kind. Every multiclass task has as many
    outputs as the one with the most classes; those that it has no class for are minus infinity.
    """

    absent: Tensor

    def __init__(self, widths: Sequence[int], head: int, targets: Sequence[Target]) -> None:
        super().__init__()
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
        self.trunk = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        classes = [len(target.classes) for target in targets if target.kind == "multiclass"]
        most = max(classes, default=0)
        present = torch.arange(most) < torch.tensor(classes)[:, None]
        self.register_buffer("absent", ~present, persistent=False)
        outputs = [most if target.kind == "multiclass" else 1 for target in targets]
        self.columns = Counter[Kind]()
        for target, size in zip(targets, outputs, strict=True):
            self.columns[target.kind] += size
        if head:
            self.heads: nn.Module = DeepHeads(widths[-1], head, outputs)
        else:
            self.heads = nn.Linear(widths[-1], sum(outputs))

    def forward(self, inputs: Tensor) -> Outputs:
        """Predictions and logits of the kinds that there are."""
        outputs = self.heads(self.trunk(inputs)).split(list(self.columns.values()), 1)
        found = dict(zip(self.columns, outputs, strict=True))
        if "multiclass" in found:
            logits = found["multiclass"].unflatten(1, self.absent.shape)
            found["multiclass"] = logits.masked_fill(self.absent, -torch.inf)
        return found


def check_layers(trunk: Sequence[int], head: int) -> None:
    """Raise a :class:`UserError` if parameters of this name are no widths of layers."""
    check_widths("trunk", trunk)
    check_whole("head", head, 0, WIDEST)


def check_size(widths: Sequence[int], head: int, targets: Sequence[Target]) -> None:
    """Raise a :class:`UserError` if the layers of such a network do not fit into memory."""
    outputs = sum(max(len(target.classes), 1) for target in targets)
    heads = len(targets) * (widths[-1] + outputs) * head if head else widths[-1] * outputs
    size = 4 * (sum(one * other for one, other in pairwise(widths)) + heads)
    check_fits(size, "the layers of `trunk` and `head`", "units")


class DeepHeads(nn.Module):
    """A hidden ReLU layer of each task's own, and its outputs, for all tasks at once."""

    owner: Tensor

    def __init__(self, width: int, head: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, len(outputs) * head)
        # Of nn.Linear for its initialisation: a row of weights an output.
        self.last = nn.Linear(head, sum(outputs))
        owner = torch.arange(len(outputs)).repeat_interleave(torch.tensor(outputs))
        self.register_buffer("owner", owner, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs ``(samples, outputs)``, each from its own task's hidden layer."""
        hidden = self.hidden(features).relu().unflatten(1, (-1, self.last.in_features))
        outputs: Tensor = (hidden[:, self.owner] * self.last.weight).sum(2) + self.last.bias
        return outputs
