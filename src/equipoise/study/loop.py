"""One training loop for every method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from equipoise.problems.problem import Problem, Recipe
from equipoise.processes import processes, rank
from equipoise.step import Step
from equipoise.study.batches import Batches, to_device
from equipoise.study.losses import losses_of
from equipoise.study.record import Record
from equipoise.weighting import Needs, Weighting


class Loop:
    """A run on its way: a fresh network that learns with one weighting, step by step.

    The seed determines the network's start and the order of the batches, so methods with the same
    seed differ in nothing but their weights, and a run repeats bit for bit on one machine. It
    takes the random numbers of the process: see :func:`torch.random.fork_rng`.

    A weighting that asks for held-out samples gets a batch of them at every step. Of several
    processes each takes its share of every batch.

    Args:
        problem: what to learn.
        make_weighting: from the network to the way to weigh it.
        seed: of this run.
        recipe: steps, batch size and learning rate.
        device: where to train.
        task: the one task that is learned, if it is one.
    """

    def __init__(
        self,
        problem: Problem,
        make_weighting: Callable[[nn.Module], Weighting],
        *,
        seed: int,
        recipe: Recipe,
        device: torch.device,
        task: str | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.recipe = recipe
        self.device = device
        self.losses = losses_of(problem)
        self.network = problem.network().to(device)
        self.weighting = make_weighting(self.network).to(device).train()
        self.model = self.network if processes() == 1 else DistributedDataParallel(self.network)
        self.optimizer = recipe.optimizer(
            [*self.network.parameters(), *self.weighting.parameters()], recipe.lr
        )
        self.schedule = (
            None if recipe.schedule is None else recipe.schedule(self.optimizer, recipe.steps)
        )
        self.batches = Batches(problem.train, recipe.batch_size, seed)
        self.held_out: Batches | None = None
        if Needs.HELD_OUT in self.weighting.needs and problem.held_out is not None:
            size = recipe.held_out_batch_size
            self.held_out = Batches(problem.held_out, size, seed, drop_last=True)
        deciding = problem.deciding if task is None else task
        self.record = Record(problem, recipe.steps, device, deciding)
        self.network.train()
        if rank():  # the first has the random numbers that a process alone would have
            torch.manual_seed(hash((seed, rank())))

    @property
    def done(self) -> bool:
        """Whether there is no step left, or none that makes sense."""
        return self.record.done == self.recipe.steps or self.record.diverged_at is not None

    @property
    def _on_cuda(self) -> bool:
        """Whether the device draws random numbers of its own."""
        return self.device.type == "cuda"

    def step(self) -> None:
        """Train one step, and evaluate the network where that is due."""
        rows, batch = next(self.batches)
        held_out = None if self.held_out is None else next(self.held_out)[1]
        step = Step(
            self.losses,
            self.model,
            to_device(batch, self.device),
            to_device(held_out, self.device),
        )
        self.optimizer.zero_grad()
        torch.autograd.backward(self.weighting.weigh(step))
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        self.record.add(step, rows, self.weighting)
        if self.record.due():
            self.record.evaluate(self.network)

    def state_dict(self) -> dict[str, Any]:
        """All that the steps to come depend on."""
        parts = {name: getattr(self, name) for name in _PARTS}
        return {
            **{name: None if part is None else part.state_dict() for name, part in parts.items()},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self._on_cuda else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, bit for bit as if there had been no stop."""
        for name in _PARTS:
            if state[name] is not None:
                getattr(self, name).load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        if self._on_cuda:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)


_PARTS = ("network", "optimizer", "schedule", "weighting", "batches", "held_out", "record")
