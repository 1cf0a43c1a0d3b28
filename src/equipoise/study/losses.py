"""The losses of a problem, in one form."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from equipoise.errors import UserError
from equipoise.losses import LossFunction, loss_function
from equipoise.problems.problem import Problem


def losses_of(problem: Problem) -> LossFunction:
    """The problem's losses ``(samples, tasks)`` and mask.

    What they raise goes through; a ``UserError`` says what is wrong with what they give.
    """
    tasks = tuple(problem.tasks)

    def losses(network: nn.Module, batch: Any) -> tuple[Tensor, Tensor | None]:
        found = problem.loss_function(network, batch)
        try:
            return loss_function(lambda *_: found, tasks)(network, batch)
        except (TypeError, ValueError) as error:
            raise UserError(f"the problem's losses are wrong: {error}") from error

    return losses
