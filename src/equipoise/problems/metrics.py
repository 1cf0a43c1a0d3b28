"""Metrics of one task that torchmetrics has not, in its form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassStatScores
from torchmetrics.utilities import dim_zero_cat

__all__ = ["R2", "Averaged", "BalancedAccuracy", "Gathered"]

Function: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], float]
"""``(targets, predictions)`` → value, as scikit-learn's metrics are."""


class Gathered(Metric):
    """What needs all targets and predictions at once, such as an exact area under a curve.

    Args:
        function: ``(targets, predictions)``, arrays ``(samples, …)``, to the value.
    """

    full_state_update = False
    predictions: list[Tensor]
    targets: list[Tensor]

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add predictions and targets ``(samples, …)``."""
        self.predictions.append(predictions)
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """The function's value, float64."""
        pair = (dim_zero_cat(part).cpu().numpy() for part in (self.targets, self.predictions))
        return torch.tensor(float(self.function(*pair)), dtype=torch.float64)


class Averaged(Metric):
    """The mean of a function of predictions and targets, over all values that it gives.

    Args:
        function: ``(predictions, targets)``, tensors ``(samples, …)``, to values of any shape.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add predictions and targets ``(samples, …)``."""
        values = self.function(predictions, targets)
        self.total += values.sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.count


class R2(Metric):
    """The coefficient of determination, as scikit-learn's ``r2_score``.

    That of torchmetrics takes squared errors below 1e-4 for none, so that it depends on the
    targets' unit, and loses digits of targets far from 0. Here the mean and the sum of squared
    deviations are merged batch by batch (Chan, Golub and LeVeque 1979).
    """

    full_state_update = True
    count: Tensor
    mean: Tensor
    deviations: Tensor
    errors: Tensor

    def __init__(self) -> None:
        super().__init__()
        for state in ("count", "mean", "deviations", "errors"):
            # Means and deviations of several processes are not to be summed.
            self.add_state(state, torch.zeros(()), dist_reduce_fx=None)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add predictions and targets ``(samples, …)``."""
        new = targets.numel()
        variance, mean = torch.var_mean(targets, correction=0)
        count, apart = self.count + new, mean - self.mean
        self.deviations += new * (variance + apart.square() * self.count / count)
        self.mean += apart * new / count
        self.count = count
        self.errors += (predictions - targets).square().sum()

    def compute(self) -> Tensor:
        """1 less the share of the targets' variance that the predictions leave."""
        return 1 - self.errors / self.deviations


class BalancedAccuracy(MulticlassStatScores):
    """The mean recall of the classes that occur among the targets.

    Args:
        num_classes: how many classes there are.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None, validate_args=False)

    def compute(self) -> Tensor:
        """The mean, float64."""
        scores = super().compute().double()
        hits, support = scores[:, 0], scores[:, 4]
        return (hits / support)[support > 0].mean()
