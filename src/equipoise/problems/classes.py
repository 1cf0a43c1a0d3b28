"""The loss of classes, for all tasks at once."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy


def multiclass_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropies ``(samples, tasks)`` of logits with a last dimension of classes."""
    flat = cross_entropy(logits.flatten(0, 1), labels.flatten().long(), reduction="none")
    return flat.view_as(labels)
