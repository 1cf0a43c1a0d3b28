"""How near cheap weights come to the exact ones, during real runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from equipoise.problems.problem import Problem
from equipoise.step import Step
from equipoise.study.loop import Loop
from equipoise.study.methods import Method, find_methods
from equipoise.weighting import Weighting

EXACT = "inversegradientnorm"
"""Every task pulls equally hard: what the others estimate, with a backward pass a task."""
COLUMNS = ("seed", "step", "task", "method", "weight", "exact")


def estimate(
    problem: Problem,
    methods: Sequence[str],
    *,
    seeds: Iterable[int],
    first: int = 100,
    last: int = 1_000,
    moments: int = 1,
    driver: str = "constant",
    device: str = "cpu",
    told: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Weights of methods beside those of exact gradient norms, at random steps of runs.

    All methods see the same steps of the same network, which one of them trains.

    Args:
        problem: what to learn, as its recipe says.
        methods: weightings of tasks, as texts.
        seeds: of the runs; they decide the steps too.
        first: the first step at which weights may be compared.
        last: the last one, at which a run ends.
        moments: steps of a run at which they are.
        driver: whose weights train the network.
        device: where to train.
        told: hears of each run that is done.

    Returns:
        Columns ``seed, step, task, method, weight, exact``; weights with the sum of the tasks.
    """
    names = [*methods, EXACT, driver]
    *watching, exact, driving = (each for name in names for each in find_methods(name, problem))
    parts = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        chosen = np.sort(first + generator.permutation(last - first + 1)[:moments])
        parts += _run(problem, watching, exact, driving, seed, chosen.tolist(), device)
        told(f"{driver}, seed {seed}: weights of step {', '.join(map(str, chosen))}")
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def agreement(estimates: pd.DataFrame) -> pd.DataFrame:
    """Of each method the correlation of its weights with the exact ones, and the slope.

    Both of logarithms; the slope is of the weight on the exact one, 1 for an estimate that is only
    noisy.
    """
    rows = []
    for method, own in estimates.groupby("method", sort=False):
        ours, exact = np.log(own["weight"]), np.log(own["exact"])
        correlation, spread = np.corrcoef(exact, ours)[0, 1], ours.std() / exact.std()
        error = float(np.sqrt(np.mean(np.square(ours - exact))))
        rows.append((method, len(own), correlation, correlation * spread, np.exp(error)))
    columns = ["method", "weights", "correlation", "slope", "typical factor"]
    return pd.DataFrame(rows, columns=columns)


class _Watched(Weighting):
    """Trains with one weighting while others look on, the exact one only when it is due."""

    def __init__(self, watching: Sequence[Weighting], exact: Weighting, driver: Weighting) -> None:
        super().__init__(driver.tasks)
        self.watching = nn.ModuleList(watching)
        self.exact = exact
        self.driver = driver
        self.due = False

    def weigh(self, step: Step) -> Tensor:
        for each in (*self.watching, *([self.exact] if self.due else [])):
            each.weigh(step)
        return self.driver.weigh(step)

    @property
    def weights(self) -> Tensor:
        return self.driver.weights

    @property
    def task_weights(self) -> Tensor:
        return self.driver.task_weights


def _run(
    problem: Problem,
    watching: Sequence[Method],
    exact: Method,
    driver: Method,
    seed: int,
    chosen: Sequence[int],
    device: str,
) -> list[pd.DataFrame]:
    def watched(network: nn.Module) -> _Watched:
        made = (each.make(problem, seed, network) for each in (*watching, exact, driver))
        *others, truth, drives = made
        return _Watched(others, truth, drives)

    found = []
    with torch.random.fork_rng():
        recipe = replace(problem.recipe, steps=chosen[-1])
        loop = Loop(problem, watched, seed=seed, recipe=recipe, device=torch.device(device))
        weighting = loop.weighting
        assert isinstance(weighting, _Watched)
        while not loop.done:
            weighting.due = loop.record.done + 1 in chosen
            loop.step()
            if weighting.due:
                found += [
                    _weights(problem, method.label, each, weighting.exact, seed, loop.record.done)
                    for method, each in zip(watching, weighting.watching, strict=True)
                ]
    return found


def _weights(
    problem: Problem, label: str, weighting: nn.Module, exact: Weighting, seed: int, step: int
) -> pd.DataFrame:
    assert isinstance(weighting, Weighting)
    values = {
        "seed": seed,
        "step": step,
        "task": list(problem.tasks),
        "method": label,
        "weight": weighting.task_weights.cpu().numpy(),
        "exact": exact.task_weights.cpu().numpy(),
    }
    return pd.DataFrame(values, columns=COLUMNS)
