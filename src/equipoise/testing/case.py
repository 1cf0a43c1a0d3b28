"""A small network, batches that depend on nothing but the time, and a weighting to try on them."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.step import Step
from equipoise.weighting import Weighting

TASKS = ("a", "b", "c")
SAMPLES = 8


def tolerance(dtype: torch.dtype, terms: int = 1) -> dict[str, Any]:
    """Tolerances for two computations of one number: rounding of so many terms, on any machine.

    Args:
        dtype: in which the less precise of them was done.
        terms: length of the longest sum, or number of operations one after another.

    Returns:
        ``rtol`` and ``atol`` for :func:`torch.testing.assert_close`, for numbers of the size of 1.
    """
    size = 8 * torch.finfo(dtype).eps * max(terms, 1) ** 0.5
    return {"rtol": size, "atol": size}


class Network(nn.Module):
    """A shared layer and a head per task; what it is given at a time depends on nothing else."""

    def __init__(self, tasks: int, normalised: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.trunk = nn.Sequential(
                nn.Linear(4, 5), nn.BatchNorm1d(5) if normalised else nn.Identity(), nn.Tanh()
            )
            self.heads = nn.Linear(5, tasks)
        self.register_buffer("scales", torch.logspace(0, 0.5, tasks))

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions ``(samples, tasks)``."""
        outputs: Tensor = self.heads(self.trunk(inputs)) * self.scales
        return outputs


Batch = tuple[Tensor, Tensor, Tensor]


def batch_of(time: int, tasks: int, samples: int = SAMPLES) -> Batch:
    """Inputs, targets, and which labels are there: all."""
    generator = torch.Generator().manual_seed(time)
    inputs = 2 * torch.randn(samples, 4, generator=generator)
    targets = 2 + torch.rand(samples, tasks, generator=generator)
    return inputs, targets, torch.ones(samples, tasks, dtype=torch.bool)


def squared_errors(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses ``(samples, tasks)`` and the mask."""
    inputs, targets, mask = batch
    return (network(inputs) - targets).square(), mask


@dataclass(frozen=True)
class Case:
    """A weighting to be asked, and what it is asked with."""

    kind: type[Weighting]
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, network: nn.Module, tasks: Iterable[str] = TASKS) -> Weighting:
        """A new one."""
        names = tuple(tasks)
        return self.kind.made_for(
            names,
            squared_errors,
            network,
            main=names[0],
            **{"shared": network.trunk, **self.options},
        )

    def pair(self, steps: int = 0) -> tuple[Network, Weighting]:
        """A network, and a weighting of it that has seen so many steps."""
        network = Network(len(TASKS))
        weighting = self.make(network)
        run(weighting, network, range(steps))
        return network, weighting


Edit = Callable[[Batch], Batch]


def weigh(weighting: Weighting, network: nn.Module, time: int, edit: Edit | None = None) -> Tensor:
    """The scalar of the batch of a time, with random numbers of its own."""
    torch.manual_seed(time)
    tasks = len(weighting.tasks)
    parts = [batch_of(time, tasks), batch_of(1000 + time, tasks)]
    like = next(network.parameters())
    batch, held_out = (
        (inputs.to(like), targets.to(like), mask.to(like.device)) for inputs, targets, mask in parts
    )
    return weighting.weigh(Step(squared_errors, network, edit(batch) if edit else batch, held_out))


def run(
    weighting: Weighting, network: nn.Module, times: Iterable[int], edit: Edit | None = None
) -> Tensor:
    """Task weights after each step ``(steps, tasks)``; what the weighting learns moves too."""
    history = []
    for time in times:
        total = weigh(weighting, network, time, edit)
        learned = list(weighting.parameters())
        gradients = torch.autograd.grad(total, learned, allow_unused=True) if learned else []
        with torch.no_grad():
            for parameter, gradient in zip(learned, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(0.1 * gradient)
        history.append(weighting.task_weights)
    return torch.stack(history) if history else torch.empty(0, len(TASKS))


def fresh(case: Case, steps: int, times: Iterable[int]) -> Tensor:
    """What :func:`run` gives of one that was never touched."""
    network, weighting = case.pair(steps)
    return run(weighting, network, times)


def spoilt(value: float) -> Edit:
    """A batch whose labels of the second task have this value."""

    def edit(batch: Batch) -> Batch:
        inputs, targets, mask = batch
        targets = targets.clone()
        targets[:, 1] = value
        return inputs, targets, mask

    return edit


def without_labels(*columns: int, filling: float = 2.0) -> Edit:
    """A batch without labels of some tasks."""

    def edit(batch: Batch) -> Batch:
        inputs, targets, mask = batch
        targets, mask = targets.clone(), mask.clone()
        for column in columns:
            targets[:, column] = filling
            mask[:, column] = False
        return inputs, targets, mask

    return edit


def copied(module: nn.Module) -> dict[str, Any]:
    """A state that nothing changes."""
    return copy.deepcopy(module.state_dict())


def saved_and_loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state as it comes back from a file that nobody has to trust."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded
