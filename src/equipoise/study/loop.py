"""One training loop for every method."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.errors import UserError
from equipoise.problems.problem import OVERALL, Data, Metrics, Problem, Recipe
from equipoise.problems.scores import measure, rows_at_once
from equipoise.sample.base import SampleWeighting
from equipoise.step import Step
from equipoise.study.folder import History, Run
from equipoise.study.losses import losses_of
from equipoise.study.samples import SampleRecord
from equipoise.weighting import Needs, Weighting

EVALUATIONS = 10
"""Times that the network is evaluated during training, evenly spread, the last at the end."""

WEIGHT_ERROR = "loss-weight error"
"""Metric where ideal weights are known: mean squared distance to them, both of sum n."""


def train(
    problem: Problem,
    make_weighting: Callable[[nn.Module], Weighting],
    *,
    seed: int,
    recipe: Recipe,
    device: torch.device,
    method: str,
    source: str | None = None,
    task: str | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Run:
    """Train a fresh network with one weighting.

    The seed determines the network's start and the order of the batches, so methods with the same
    seed differ in nothing but their weights, and a run repeats bit for bit on one machine. The
    random state of the process is left as it was.

    A weighting that asks for held-out samples gets a batch of them at every step.

    Args:
        problem: what to learn.
        make_weighting: from the network to the way to weigh it.
        seed: of this run.
        recipe: steps, batch size and learning rate.
        device: where to train.
        method: the label to record.
        source: of a method of the user's own, to record.
        task: the one task that is learned, to record.
        on_step: called after each step.

    Returns:
        The run; with the network of its selected step if the problem can predict new samples.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = problem.network().to(device)
        weighting = make_weighting(network).to(device).train()
        deciding = problem.deciding if task is None else task
        record = _Record(problem, recipe.steps, device, deciding)
        for step, rows in _steps(problem, network, weighting, seed, recipe, device):
            record.add(step, rows, weighting)
            on_step()
            if record.due():
                record.evaluate(network)
                if record.diverged_at is not None:
                    break
    return record.run(method, source, seed, task)


def _steps(
    problem: Problem,
    network: nn.Module,
    weighting: Weighting,
    seed: int,
    recipe: Recipe,
    device: torch.device,
) -> Iterator[tuple[Step, Tensor]]:
    """Train step by step, and yield each step after it is done, and the rows that it had."""
    losses = losses_of(problem)
    optimizer = recipe.optimizer([*network.parameters(), *weighting.parameters()], recipe.lr)
    batches = _batches(problem.train, recipe.batch_size, seed)
    held_out = _held_out_batches(problem, weighting, recipe, seed)
    network.train()
    for _ in range(recipe.steps):
        rows, batch = next(batches)
        held_out_batch = _to(next(held_out), device)
        step = Step(losses, network, _to(batch, device), held_out_batch)
        optimizer.zero_grad()
        torch.autograd.backward(weighting.weigh(step))
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        yield step, rows


def _batches(data: Data, size: int, seed: int) -> Iterator[tuple[Tensor, Any]]:
    """Rows, drawn without replacement until none is left, and the batch of them."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.split(torch.randperm(len(data), generator=generator), size):
            yield rows, data[rows]


def _held_out_batches(
    problem: Problem, weighting: Weighting, recipe: Recipe, seed: int
) -> Iterator[Any]:
    """Held-out batches for a weighting that asks for them, else ``None`` again and again."""
    if Needs.HELD_OUT not in weighting.needs or problem.held_out is None:
        return itertools.repeat(None)
    size = recipe.held_out_batch_size or recipe.batch_size
    return (batch for _, batch in _batches(problem.held_out, size, seed))


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, dict):
        return {name: _to(part, device) for name, part in batch.items()}
    if isinstance(batch, (tuple, list)):
        return tuple(_to(part, device) for part in batch)
    return batch.to(device) if isinstance(batch, Tensor) else batch


class _Record:
    """What a run leaves behind. Nothing is read from the device between evaluations."""

    def __init__(self, problem: Problem, steps: int, device: torch.device, deciding: str) -> None:
        size = len(problem.tasks)
        self.problem = problem
        self.deciding = deciding
        self.losses = torch.full((steps, size), torch.nan, device=device)
        self.weights = torch.full((steps, size), torch.nan, device=device)
        self.finite = torch.ones(steps, dtype=torch.bool, device=device)
        self.points = {round(steps * (k + 1) / EVALUATIONS) for k in range(EVALUATIONS)} - {0}
        self.done = 0
        self.diverged_at: int | None = None
        self.evaluated_at: list[int] = []
        self.validation: list[float] = []
        self.test: list[Metrics] = []
        self.network: dict[str, Tensor] | None = None
        self.samples: SampleRecord | None = None
        self.seconds_per_step: list[float] = []
        self.clock = time.perf_counter()

    def add(self, step: Step, rows: Tensor, weighting: Weighting) -> None:
        if isinstance(weighting, SampleWeighting):
            self.samples = self.samples or SampleRecord(self.problem, self.losses.device)
            self.samples.add(rows, weighting, step.sample_losses[1])
        weights = weighting.task_weights
        losses, present = step.losses.detach(), step.counts > 0
        self.losses[self.done] = torch.where(present, losses, torch.nan)
        self.weights[self.done] = weights
        self.finite[self.done] = (losses.isfinite() | ~present).all() & weights.isfinite().all()
        self.done += 1

    def due(self) -> bool:
        return self.done in self.points

    def evaluate(self, network: nn.Module) -> None:
        bad = (~self.finite).nonzero().flatten().tolist()
        self.diverged_at = bad[0] + 1 if bad else None
        since = self.done - (self.evaluated_at[-1] if self.evaluated_at else 0)
        self.seconds_per_step.append((time.perf_counter() - self.clock) / since)
        network.eval()
        with torch.no_grad():
            validation = self._metrics(network, self.problem.validation)
            self.test.append(self._metrics(network, self.problem.test))
        network.train()
        self.validation.append(validation[self.problem.objective][self.deciding])
        self.evaluated_at.append(self.done)
        if self.samples is not None:
            self.samples.close_window()
        if self.problem.predict is not None and self._selected() == len(self.validation) - 1:
            self.network = {
                name: value.to("cpu", copy=True) for name, value in network.state_dict().items()
            }
        self.clock = time.perf_counter()

    def _metrics(self, network: nn.Module, data: Data) -> Metrics:
        rows = rows_at_once(data, self.problem.recipe.batch_size)
        device = self.losses.device
        metrics = measure(self.problem, network, data, device=device, batch_size=rows)
        if self.deciding not in metrics.get(self.problem.objective, {}):
            raise UserError(
                f"the problem's metrics must give {self.problem.objective!r} for "
                f"{self.deciding!r}, found {metrics}"
            )
        return metrics

    def run(self, method: str, source: str | None, seed: int, task: str | None) -> Run:
        selected = self._selected()
        step = self.evaluated_at[selected]
        metrics = {name: dict(values) for name, values in self.test[selected].items()}
        if self.problem.ideal_weights is not None:
            metrics[WEIGHT_ERROR] = {OVERALL: self._weight_error(self.weights[step - 1])}
        if self.diverged_at is not None:
            metrics = {name: dict.fromkeys(values, np.nan) for name, values in metrics.items()}
        if task is not None:
            metrics = {
                name: {task: values[task]} for name, values in metrics.items() if task in values
            }
        objective = self.problem.objective
        return Run(
            method=method,
            source=source,
            seed=seed,
            task=task,
            selected_step=step,
            diverged_at=self.diverged_at,
            metrics=metrics,
            history=History(
                losses=self.losses[: self.done].cpu().numpy(),
                weights=self.weights[: self.done].cpu().numpy(),
                evaluated_at=np.array(self.evaluated_at, np.float32),
                validation=np.array(self.validation, np.float32),
                test=np.array([each[objective][self.deciding] for each in self.test], np.float32),
                seconds_per_step=np.array(self.seconds_per_step, np.float32),
            ),
            network=self.network,
            samples=None if self.samples is None else self.samples.samples(),
        )

    def _selected(self) -> int:
        """The evaluation with the best validation objective; the last, where none is finite."""
        sign = 1 if self.problem.goals[self.problem.objective] == "max" else -1
        scores = sign * np.array(self.validation)
        finite = np.isfinite(scores)
        return int(np.where(finite, scores, -np.inf).argmax()) if finite.any() else len(scores) - 1

    def _weight_error(self, weights: Tensor) -> float:
        ideal = torch.tensor(self.problem.ideal_weights)
        weights = weights.cpu()
        return float((len(ideal) * weights / weights.sum() - ideal).square().mean())
