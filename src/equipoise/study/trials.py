"""Learning rates that Optuna suggests, to each method from what its own have come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from equipoise.errors import UserError
from equipoise.study.grids import Point, Tried, point
from equipoise.study.jobs import Candidate

FACTOR = 10.0
"""Trials of the learning rate are between the recipe's divided and multiplied by this."""
ROUND = 5
"""Trials of a method that are suggested together, so that they can be made at once."""
NEAR = 0.05
"""A trial within this share of the logarithmic range is on its edge."""


def by_trials(
    candidates: Sequence[Candidate],
    goal: str,
    number: int,
    measured: Callable[[Sequence[Point]], list[Tried]],
) -> list[list[Tried]]:
    """So many trials of each method: the recipe's learning rate first, then what is suggested.

    The sampler is a tree-structured Parzen estimator with a fixed seed, so that a study that was
    stopped gets the same suggestions again.

    Raises:
        UserError: if Optuna is not installed.
    """
    optuna = _optuna()
    usual = candidates[0].training.lr
    between = optuna.distributions.FloatDistribution(usual / FACTOR, usual * FACTOR, log=True)
    lr = {"lr": between}
    direction = "maximize" if goal == "max" else "minimize"
    studies = []
    for _ in candidates:
        sampler = optuna.samplers.TPESampler(seed=0)
        studies.append(optuna.create_study(direction=direction, sampler=sampler))
        studies[-1].enqueue_trial({"lr": usual})
    tried: list[list[Tried]] = [[] for _ in candidates]
    for begun in range(0, number, ROUND):
        trials = [[study.ask(lr) for _ in range(min(ROUND, number - begun))] for study in studies]
        suggested = [
            point(dict(trial.params), candidate)
            for own, candidate in zip(trials, candidates, strict=True)
            for trial in own
        ]
        found = iter(measured(suggested))
        for so_far, study, own in zip(tried, studies, trials, strict=True):
            for trial in own:
                so_far.append(each := next(found))
                _tell(optuna, study, trial, each.mean)
    return tried


def _tell(optuna: Any, study: Any, trial: Any, value: float) -> None:
    if math.isfinite(value):
        study.tell(trial, value)
    else:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def is_on_edge(lr: float, usual: float) -> bool:
    """Whether a learning rate is at an end of what is tried around the recipe's."""
    return abs(math.log(lr / usual, FACTOR)) > 1 - 2 * NEAR


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise UserError(
            "`tune` by trials needs one more package: pip install 'equipoise[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
