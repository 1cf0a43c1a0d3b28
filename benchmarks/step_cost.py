"""What a weighting costs: the time of a whole step as a ratio to one with constant weights.

    python benchmarks/step_cost.py

The steps of all methods take turns on one network, so that whatever else the machine does falls on
all of them alike; a ratio is the median over rounds. ``constant``, timed a second time, shows what
the ratios cannot tell apart.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from equipoise import SLAW, Constant, ProbedGradientNorm, Step
from equipoise.problems.fingerprints import BITS
from equipoise.problems.molecules import Network, binary_losses
from equipoise.problems.mtregression import mtregression
from equipoise.step import LossFunction
from equipoise.study.methods import WEIGHTINGS
from equipoise.task.base import GradientWeighting, TaskWeighting

BATCH, PRESENT = 512, 0.3
MOST_PASSES = 12
"""Tasks up to which methods with a pass for each of them are measured."""


@dataclass
class Setting:
    """A network and a batch to take steps on."""

    name: str
    tasks: int
    network: nn.Module
    shared: list[nn.Parameter]
    losses: LossFunction
    batch: tuple[torch.Tensor, ...]
    optimizer: torch.optim.Optimizer
    clip: float | None
    rounds: int


def virtual_screening(tasks: int, rounds: int) -> Setting:
    """The network 2048–2000–100–n on 512 molecules with 30% of the labels."""
    generator = np.random.default_rng(0)
    packed = generator.integers(0, 256, (BATCH, BITS // 8), dtype=np.uint8)
    labels = generator.random((BATCH, tasks)) < 0.1
    mask = generator.random((BATCH, tasks)) < PRESENT
    network = Network(BITS, tasks)
    known = np.where(mask, labels, np.nan)
    return Setting(
        name=f"virtual screening, {tasks} tasks",
        tasks=tasks,
        network=network,
        shared=list(network.trunk.parameters()),
        losses=binary_losses(known),
        batch=(torch.from_numpy(packed), torch.from_numpy(labels).float(), torch.from_numpy(mask)),
        optimizer=torch.optim.Adam(network.parameters(), lr=3e-4),
        clip=None,
        rounds=rounds,
    )


def regression(rounds: int) -> Setting:
    """The paper's regression with 10 tasks."""
    problem = mtregression(tasks=10)
    network = problem.network()
    return Setting(
        name="regression, 10 tasks",
        tasks=10,
        network=network,
        shared=list(problem.shared(network)),
        losses=problem.losses,
        batch=problem.train[torch.arange(problem.recipe.batch_size)],
        optimizer=problem.recipe.optimizer(network.parameters(), problem.recipe.lr),
        clip=problem.recipe.clip,
        rounds=rounds,
    )


def seconds_of_steps(setting: Setting) -> dict[str, list[float]]:
    """Seconds of every step of every method, in turns."""
    kinds = {
        name: kind
        for name, kind in WEIGHTINGS.items()
        if not issubclass(kind, GradientWeighting) or setting.tasks <= MOST_PASSES
    }
    weightings: dict[str, TaskWeighting] = {
        name: kind(setting.tasks) for name, kind in kinds.items()
    }
    weightings["probed, every 10"] = ProbedGradientNorm(setting.tasks, every=10)
    weightings["constant, again"] = Constant(setting.tasks)
    seconds: dict[str, list[float]] = {name: [] for name in weightings}
    for number in range(-3, setting.rounds):
        names = list(weightings) if number % 2 else list(weightings)[::-1]
        for name in names:
            start = time.perf_counter()
            step = Step(setting.losses, setting.network, setting.batch, setting.shared)
            setting.optimizer.zero_grad()
            weightings[name].weigh(step).backward()
            if setting.clip is not None:
                nn.utils.clip_grad_norm_(setting.network.parameters(), setting.clip)
            setting.optimizer.step()
            if number >= 0:  # the rounds before warm up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure, and print the tables."""
    console = Console(highlight=False, width=120)
    settings = [virtual_screening(tasks, 40) for tasks in (10, 32, 128, 617)]
    settings.append(regression(600))
    times = {setting.name: seconds_of_steps(setting) for setting in settings}

    table = Table("", *times, title=f"Step time / step with constant weights, {_threads()}")
    for name in [*WEIGHTINGS, "probed, every 10", "constant, again"]:
        table.add_row(name, *(_ratio(seconds, name) for seconds in times.values()))
    milliseconds = (1000 * statistics.median(seconds["constant"]) for seconds in times.values())
    table.add_row("constant, ms", *(f"{each:.2f}" for each in milliseconds))
    console.print(table)

    many, few = (f"virtual screening, {tasks} tasks" for tasks in (617, 32))
    growth = statistics.median(times[many]["slaw"]) / statistics.median(times[few]["slaw"])
    console.print(f"A step with slaw at 617 tasks / at 32 tasks: {growth:.2f}")
    bytes_a_task = sum(buffer.nbytes for buffer in SLAW(617).buffers()) / 617
    console.print(f"State of SLAW: {bytes_a_task:.0f} bytes a task")


def _ratio(seconds: dict[str, list[float]], name: str) -> str:
    if name not in seconds:
        return "a pass per task"
    if name.endswith("every 10"):  # a tenth of its steps is another kind of step
        return f"{sum(seconds[name]) / sum(seconds['constant']):.3f}"
    rounds = zip(seconds[name], seconds["constant"], strict=True)
    return f"{statistics.median(own / plain for own, plain in rounds):.3f}"


def _threads() -> str:
    return f"{torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}"


if __name__ == "__main__":
    main()
