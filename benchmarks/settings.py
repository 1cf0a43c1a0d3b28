"""Networks, batches and methods to take steps with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from equipoise import Step, task
from equipoise.errors import UserError
from equipoise.losses import LossFunction, task_names
from equipoise.problems.memory import free_memory, gigabytes
from equipoise.problems.molecules.fingerprints import BITS
from equipoise.problems.molecules.molecules import Network, binary_losses
from equipoise.problems.synthetic.mtregression import mtregression
from equipoise.study.memory import jacobians
from equipoise.study.methods import find_methods
from equipoise.weighting import Weighting

BATCH, PRESENT = 512, 0.3
EVERY = "probedgradientnorm(every=10)"
AGAIN = "constant, again"
METHODS = {
    **{name.lower(): name.lower() for name in sorted(task.__all__, key=str.lower)},
    EVERY: EVERY,
    AGAIN: "constant",
    "torchjd/PCGrad": "torchjd/PCGrad",
    "torchjd/UPGrad": "torchjd/UPGrad",
}
"""What is measured, as a study names it: ours of tasks, and peers that use gradients."""
USED = 0.5
"""The part of the free memory that a benchmark may take."""
PATIENCE = 60
"""Seconds that a step may take."""
TOO_LONG = "> 1 min a step"


@dataclass(frozen=True)
class Setting:
    """A network and a batch to take steps on."""

    name: str
    tasks: int
    network: nn.Module
    shared: list[nn.Parameter]
    losses: LossFunction
    batch: tuple[torch.Tensor, ...]
    optimizer: torch.optim.Optimizer
    rounds: int
    clip: float | None = None

    def take_step(self, weighting: Weighting) -> None:
        """One whole training step."""
        step = Step(self.losses, self.network, self.batch)
        self.optimizer.zero_grad()
        weighting.weigh(step).backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()

    @property
    def jacobian(self) -> int:
        """Bytes of a gradient of every task in the shared parameters."""
        return self.tasks * sum(parameter.nbytes for parameter in self.shared)


def virtual_screening(tasks: int, rounds: int = 0) -> Setting:
    """The network 2048–2000–100–n on 512 molecules with 30% of the labels."""
    generator = np.random.default_rng(0)
    packed = generator.integers(0, 256, (BATCH, BITS // 8), dtype=np.uint8)
    labels = generator.random((BATCH, tasks)) < 0.1
    mask = generator.random((BATCH, tasks)) < PRESENT
    network = Network(BITS, tasks)
    of_outputs = binary_losses(np.where(mask, labels, np.nan))
    return Setting(
        name=f"virtual screening, {tasks} tasks",
        tasks=tasks,
        network=network,
        shared=list(network.trunk.parameters()),
        losses=lambda network, batch: of_outputs(network(batch[0]), batch),
        batch=(torch.from_numpy(packed), torch.from_numpy(labels).float(), torch.from_numpy(mask)),
        optimizer=torch.optim.Adam(network.parameters(), lr=3e-4),
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
        losses=problem.loss_function,
        batch=problem.train[torch.arange(problem.recipe.batch_size)],
        optimizer=problem.recipe.optimizer(network.parameters(), problem.recipe.lr),
        rounds=rounds,
        clip=problem.recipe.clip,
    )


def made(setting: Setting) -> tuple[dict[str, Weighting], dict[str, str]]:
    """The methods that can take a step here, and why the others cannot."""
    weightings, reasons = {}, {}
    for name, text in METHODS.items():
        (method,) = find_methods(text)
        (part,) = method.parts
        need = jacobians(method) * setting.jacobian
        if need > USED * free_memory():
            reasons[name] = f"needs {gigabytes(need)}"
            continue
        try:
            weightings[name] = part.kind.made_for(
                task_names(setting.tasks),
                setting.losses,
                setting.network,
                shared=setting.shared,
                **part.options,
            )
        except UserError:
            reasons[name] = "not installed"
    return weightings, reasons


@contextmanager
def patience() -> Iterator[None]:
    """A ``TimeoutError`` for what takes longer than anyone waits."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def threads() -> str:
    """What ran it."""
    return f"{torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}"
