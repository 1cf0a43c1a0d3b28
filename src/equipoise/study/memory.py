"""What runs need of memory, estimated before they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves
from torch.utils.data import TensorDataset

from equipoise.errors import UserError
from equipoise.problems.memory import free_memory, gigabytes
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.batches import to_device
from equipoise.study.losses import losses_of
from equipoise.study.measure import rows_at_once
from equipoise.study.methods import Method, aggregates
from equipoise.study.modules import users_own

LIBRARIES = 120_000_000
"""Bytes that PyTorch and others take at their first use, and that allocators do not give back."""
PROBED = 8
"""Samples of the pass from which the memory of a batch is told."""
STATES = 5
"""The parameters, their gradients, two averages of Adam's, and what its step makes in between."""
PASSES = 2
"""Memory of a step over what its forward pass keeps: gradients of that come on top."""
SCORED = 64
"""Bytes for each label that is evaluated: of outputs and labels that metrics keep, in float64."""
GRAMIAN, MATRIX = 1, 6
"""Jacobians that an aggregator holds at once: one that needs their inner products only, another."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that a run with constant weights needs beside the data, by what needs them."""

    network: int
    """Parameters, gradients and the optimizer's state."""
    batch: int
    """A step's samples, and what its passes make of them."""
    evaluation: int
    """Samples that are evaluated at once, and what metrics keep of the larger part held out."""
    record: int
    """Losses and weights of every step."""
    samples: int
    """A copy of all samples, for a process of its own; 0 on a device that has batches only."""
    shared: int
    """Number of the shared parameters."""
    gradient: int
    """One task's gradient in the shared parameters, which constant weights do not need."""

    @property
    def total(self) -> int:
        """All together, but for the samples."""
        return self.network + self.batch + self.evaluation + self.record + LIBRARIES


def check_memory(
    problem: Problem,
    methods: Sequence[Method],
    recipe: Recipe,
    device: torch.device,
    jobs: int = 1,
) -> None:
    """Refuse what does not fit into the memory that is free, before anything is trained.

    Of several ``jobs`` at once each is a process with a copy of the samples.

    Raises:
        UserError: if a step does not fit with any method, or the Jacobian of one of ``methods``.
    """
    with users_own("the problem cannot be learned"):
        needs = footprint(problem, recipe, device)
    free = free_memory(device)
    copy = needs.samples if jobs > 1 else 0
    copied = f", {gigabytes(copy)} to hold the samples" if copy else ""

    def check(each: int, why: str, instead: str) -> None:
        if jobs * each <= free:
            return
        if jobs > 1:
            why = f"{jobs} runs at once need about {gigabytes(jobs * each)}, since {why}"
            instead = f"give fewer `jobs`, or {instead}"
        raise UserError(f"{why}, and {gigabytes(free)} are free: {instead}")

    usual = needs.total + copy
    check(
        usual,
        f"training needs about {gigabytes(usual)} ({gigabytes(needs.network)} for the network, "
        f"{gigabytes(needs.batch)} for a batch of {recipe.batch_size:,}, "
        f"{gigabytes(needs.evaluation)} to evaluate, {gigabytes(needs.record)} to record "
        f"{recipe.steps:,} steps{copied})",
        "give a smaller `batch_size` or fewer `steps`, or learn fewer tasks",
    )
    tasks = len(problem.tasks)
    others = [method.label for method in methods if not jacobians(method)] or ["slaw"]
    for method in methods:
        size = jacobians(method) * tasks * needs.gradient
        check(
            usual + size,
            f"{method.label} needs about {gigabytes(usual + size)}, {gigabytes(size)} of it for "
            f"the gradients of {tasks:,} tasks in {needs.shared:,} shared parameters",
            f"choose a method that holds no gradient for each task, such as {others[0]}",
        )


def jacobians(method: Method) -> int:
    """Gradients of all tasks that a method holds at once, in copies; 0 if it holds none."""
    if not aggregates(method):
        return 0
    from torchjd.aggregation import GramianWeightedAggregator

    ours: Any = method.parts[-1].kind
    return GRAMIAN if issubclass(ours.kind, GramianWeightedAggregator) else MATRIX


def footprint(problem: Problem, recipe: Recipe, device: torch.device) -> Footprint:
    """What a run needs, told from a fresh network and its forward pass on a few samples."""
    tasks, probed = len(problem.tasks), min(PROBED, len(problem.train))
    with torch.random.fork_rng():
        network = problem.network().to(device)
        batch = problem.train[torch.arange(probed)]
        samples = _size(batch)
        kept = _kept(problem, network, to_device(batch, device))
    shared = list(problem.shared(network))
    batch_size = min(recipe.batch_size, len(problem.train))
    evaluated = max(problem.validation, problem.test, key=len)
    at_once = min(len(evaluated), rows_at_once(evaluated, recipe.batch_size))
    return Footprint(
        network=STATES * _size(list(network.parameters())),
        batch=(samples + PASSES * kept) * batch_size // probed,
        evaluation=at_once * samples // probed + len(evaluated) * SCORED * tasks,
        record=2 * 4 * recipe.steps * tasks,
        samples=_samples(problem) if device.type == "cpu" else 0,
        shared=sum(parameter.numel() for parameter in shared),
        gradient=_size(shared),
    )


def _kept(problem: Problem, network: nn.Module, batch: Any) -> int:
    """Bytes that the graph of the losses keeps for a backward pass, parameters aside."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = losses_of(problem)(network, batch)  # alive, so that no address comes twice
    kept = sum(size for address, size in sizes.items() if address not in parameters)
    return kept + _size(losses)


def _samples(problem: Problem) -> int:
    """Bytes of the samples, as far as it is known where they are."""
    parts = (problem.train, problem.validation, problem.test, problem.held_out)
    return sum(_size(part.tensors) for part in parts if isinstance(part, TensorDataset))


def _size(tensors: Any) -> int:
    return sum(leaf.nbytes for leaf in tree_leaves(tensors) if isinstance(leaf, Tensor))
