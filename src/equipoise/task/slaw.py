"""SLAW: weights from the spread of recent losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from equipoise.differences import Differences
from equipoise.errors import positive
from equipoise.moments import Moments, Start
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_losses import LossWeighting

_RELATIVE_FLOOR = 1e-5
STARTS: dict[str, Start] = {"reference": "plain", "paper": "zero"}


class SLAW(LossWeighting):
    r"""Scaled Loss Approximate Weighting: balanced gradients without an extra backward pass.

    .. math:: w_k = n \frac{1/s_k}{\sum_j 1/s_j}

    where :math:`s_k` is the running standard deviation of the loss of task :math:`k`
    (:class:`~equipoise.moments.Moments`) and :math:`n` the sum of the initial weights. Between
    steps the shared parameters move by a small perturbation that is the same for all tasks, so
    :math:`s_k` is proportional to the norm of the task's gradient in them.

    The losses of a step enter the statistics before its weights are computed. A task that is not
    measured yet keeps its initial weight, and so does one whose loss stands still: whose spread is
    below what the losses' dtype resolves at their size. The others share out what remains. The
    spread of a loss that comes to a halt falls by half in 140 steps (at :math:`\beta=0.99`), and
    its weight rises until that point is reached: where losses may freeze, set ``bounds``.

    Source: Crawshaw and Košecká, 2021, arXiv 2109.08218. ``beta`` is 0.99 there. The schedule is
    that of the authors' code; ``averaging="paper"`` is the text's.

    Args:
        tasks: number of tasks, or their names.
        beta: averaging factor of the statistics, in [0, 1).
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``. Of these, only
            the sum matters once every task is measured.
        floor: the spread is taken to be at least this, in units of the loss; ``"relative"`` takes
            1e-5 times the size of the running mean instead.
        bounds: lowest and highest weight. Weights between them keep their ratios, and the sum stays
            what it is, so ``low × tasks ≤ sum of initial ≤ high × tasks`` must hold.
        warmup: updates of a task during which it keeps its initial weight, at least 1.
        spread: ``"deviation"`` is the paper's :math:`s_k`. ``"differences"`` takes the root mean
            square of the loss's change from one step to the next instead, which a trend does not
            enter: see :class:`~equipoise.differences.Differences` and docs/slaw_by_differences.md.
        averaging: ``"reference"`` starts with plain averages; ``"paper"`` with exponential ones
            that start at zero, so that at first the spread contains the mean.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Example:
        >>> weighting = SLAW(["depth", "normals"])
        >>> loss = weighting({"depth": torch.tensor(2.0), "normals": torch.tensor(0.1)})
        >>> weighting.weights_by_task()
        {'depth': 1.0, 'normals': 1.0}
    """

    source: ClassVar[str] = "Crawshaw & Košecká 2021, arXiv 2109.08218"

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        beta: float = 0.99,
        initial: Initial | None = None,
        floor: float | Literal["relative"] = 1e-5,
        bounds: tuple[float, float] | None = None,
        warmup: int = 1,
        spread: Literal["deviation", "differences"] = "deviation",
        averaging: Literal["reference", "paper"] = "reference",
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if averaging not in STARTS:
            raise ValueError(f"averaging must be 'reference' or 'paper', found {averaging!r}")
        if spread not in ("deviation", "differences"):
            raise ValueError(f"spread must be 'deviation' or 'differences', found {spread!r}")
        if spread == "differences" and averaging == "paper":
            raise ValueError("averaging 'paper' is of the deviation: leave out spread or averaging")
        if not isinstance(warmup, int) or warmup < 1:
            raise ValueError(f"warmup must be an integer of at least 1, found {warmup!r}")
        self.floor: float | str = floor if floor == "relative" else positive("floor", floor)
        # A normal number at least, so that the inverse is finite.
        self._lowest = 1e-37 if isinstance(self.floor, str) else max(self.floor**2, 1e-37)
        self.bounds = None if bounds is None else self._checked(bounds)
        self.warmup = warmup
        self.averaging = averaging
        self.spread = spread
        self.moments: Moments | Differences = (
            Differences(len(self.tasks), beta)
            if spread == "differences"
            else Moments(len(self.tasks), beta, start=STARTS[averaging])
        )

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        last, variance, updates = self.moments.update(losses, counts)
        measured = torch.addcmul(variance, last, last, value=-(self.resolution**2)) > 0
        if self.warmup > 1 or self.averaging == "paper":
            measured &= updates > self.warmup  # else the first variance is 0 anyway
        if self.floor == "relative":
            variance = variance.maximum((_RELATIVE_FLOOR * self.moments.mean).square())
        inverse = variance.clamp(min=self._lowest).rsqrt_()
        weights = inverse_weights(inverse, measured, self._state["initial"])
        return weights if self.bounds is None else _bounded(weights, *self.bounds)

    def _checked(self, bounds: tuple[float, float]) -> tuple[float, float]:
        try:
            low, high = (float(bound) for bound in bounds)
        except (TypeError, ValueError) as error:
            raise ValueError(f"bounds must be two numbers, found {bounds!r}") from error
        total, size = float(self.initial.sum()), len(self.tasks)
        if not 0 <= low * size <= total <= high * size:
            raise ValueError(
                f"bounds must satisfy 0 ≤ low ≤ {total / size:g} ≤ high, the mean of the initial "
                f"weights, found {bounds}"
            )
        return low, high


def _bounded(weights: Tensor, low: float, high: float) -> Tensor:
    r"""Scale :math:`w` by the :math:`c` for which ``clip(c·w, low, high)`` has the sum of ``w``.

    As a function of :math:`c` that sum is linear between the points at which a weight meets a
    bound; the two of these around the solution determine it.
    """
    total = weights.sum()
    weights = weights.clamp(min=1e-12 * total)
    points, order = torch.cat([low / weights, high / weights]).sort()
    slopes = torch.cat([weights, -weights])[order].cumsum(0)
    rises = (slopes[:-1] * points.diff()).cumsum(0)
    sums = low * len(weights) + torch.cat([rises.new_zeros(1), rises])
    after = torch.searchsorted(sums, total).clamp(1, len(sums) - 1)
    rise = sums[after] - sums[after - 1]
    fraction = torch.where(rise > 0, (total - sums[after - 1]) / rise, 0).clamp(0, 1)
    scale = torch.lerp(points[after - 1], points[after], fraction)
    return torch.clamp(scale * weights, low, high)
