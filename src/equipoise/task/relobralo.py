"""ReLoBRaLo: weights from the progress of each loss, with random looks back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from equipoise.draws import WORD, uniform
from equipoise.errors import positive
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_losses import LossWeighting


class ReLoBRaLo(LossWeighting):
    r"""Relative Loss Balancing with Random Lookback: more weight where the loss falls slowly.

    .. math::
        \hat w_k(t, t') = n \operatorname{softmax}_k \frac{L_k(t)}{T L_k(t')}, \qquad
        w(t) = \alpha \big( \rho\, w(t-1) + (1-\rho)\, \hat w(t, 0) \big)
               + (1-\alpha)\, \hat w(t, t-1)

    with :math:`\rho` 1 or 0 at random, anew at every step and the same for all tasks: at times the
    progress since the first step replaces what the weights have become. At the second step
    :math:`\alpha` is 0, so that the weights are :math:`\hat w(t, t-1)` alone. :math:`n` is the sum
    of the initial weights. Steps are counted for each task by its own losses: a task keeps its
    initial weight until it has had two that are finite and not 0, the others share out what
    remains.

    Source: Bischof and Kraus, 2021, arXiv 2110.09813. Schedule and defaults are those of the
    authors' repository, where :math:`L_k(0)` is the loss of the second step, not the first; that
    matters only if ``keep`` is below 1. The first author's article takes a temperature of 0.1 and a
    ``keep`` of 0.99.

    Args:
        tasks: number of tasks, or their names.
        alpha: :math:`\alpha`, in [0, 1): how much of the weights stays from step to step.
        temperature: :math:`T`, positive; larger values give more equal weights.
        keep: expectation of :math:`\rho`, in [0, 1]; with 1 nothing is looked back to.
        seed: of the draws, integer in [0, 2³²). Loading a state also loads its seed.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.
    """

    source: ClassVar[str] = "Bischof & Kraus 2021, arXiv 2110.09813"

    first_losses: Tensor
    last_losses: Tensor
    updates: Tensor
    steps: Tensor
    seed: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        alpha: float = 0.999,
        temperature: float = 1.0,
        keep: float = 1.0,
        seed: int = 0,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not (isinstance(alpha, (int, float)) and 0 <= alpha < 1):
            raise ValueError(f"alpha must be a number in [0, 1), found {alpha!r}")
        if not (isinstance(keep, (int, float)) and 0 <= keep <= 1):
            raise ValueError(f"keep must be a number in [0, 1], found {keep!r}")
        if not (isinstance(seed, int) and 0 <= seed < WORD):
            raise ValueError(f"seed must be an integer in [0, 2**32), found {seed!r}")
        self.alpha = alpha
        self.temperature = positive("temperature", temperature)
        self.keep = keep
        self.add_state("first_losses", 0.0)
        self.add_state("last_losses", 0.0)
        self.add_state("updates", 0)
        self.add_state("steps", torch.tensor(0))
        self.register_buffer("seed", torch.tensor(seed))

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        usable = losses != 0
        known = self.updates > 0
        now = torch.where(usable, losses, self.last_losses)
        since_first = self._balance(now, self.first_losses, known)
        since_last = self._balance(now, self.last_losses, known)
        keeps = uniform(self.seed, self.steps) < 2 * self.keep - 1
        past = torch.where(keeps, self._task_weights, since_first)
        # At its second loss a task has no past yet.
        alpha = self.alpha * (self.updates > 1).to(past.dtype)
        weights = alpha * past + (1 - alpha) * since_last

        self.first_losses.copy_(torch.where(known, self.first_losses, now))
        self.last_losses.copy_(now)
        self.updates += usable
        counted = usable.any()
        self.steps += counted
        weights = inverse_weights(weights, known, self.initial)
        return torch.where(counted, weights, self._task_weights)

    def _balance(self, losses: Tensor, earlier: Tensor, known: Tensor) -> Tensor:
        ratios = losses / torch.where(known, earlier, 1) / self.temperature
        finite = torch.finfo(ratios.dtype)
        scores = torch.where(known, ratios.clamp(max=finite.max), finite.min)
        return (known * self.initial).sum() * scores.softmax(0)
