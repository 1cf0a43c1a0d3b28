"""What a run records on its way."""

from __future__ import annotations

import math
import time
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.errors import UserError
from equipoise.problems.problem import OVERALL, Data, Metrics, Problem
from equipoise.processes import of_first, rank, whole_batch
from equipoise.sample.base import SampleWeighting
from equipoise.step import Step
from equipoise.study.measure import measure, rows_at_once
from equipoise.study.runs import Facts, History, run_files
from equipoise.study.samples import SampleRecord
from equipoise.weighting import Weighting

EVALUATIONS = 10
"""Times that the network is evaluated during training, evenly spread, the last at the end."""

WEIGHT_ERROR = "loss-weight error"
"""Metric where ideal weights are known: mean squared distance to them, both of sum n."""


_Figures: TypeAlias = dict[str, dict[str, float]]


class Record:
    """What a run leaves behind. Nothing is read from the device between evaluations.

    Args:
        problem: that is learned.
        steps: of the whole run.
        device: where it is trained.
        deciding: whose value of the objective selects the step.
    """

    def __init__(self, problem: Problem, steps: int, device: torch.device, deciding: str) -> None:
        size = len(problem.tasks)
        self.problem = problem
        self.device = device
        self.deciding = deciding
        self.points = {round(steps * (k + 1) / EVALUATIONS) for k in range(EVALUATIONS)} - {0}
        self.losses = torch.full((steps, size), torch.nan, device=device)
        self.weights = torch.full((steps, size), torch.nan, device=device)
        self.finite = torch.ones(steps, dtype=torch.bool, device=device)
        self.samples: SampleRecord | None = None
        self.done = 0
        self.diverged_at: int | None = None
        self.evaluated_at: list[int] = []
        self.validation: list[float] = []
        self.test: list[dict[str, dict[str, float]]] = []
        self.detection: list[float] = []
        self.seconds_per_step: list[float] = []
        self.network: dict[str, Tensor] | None = None
        self.sheet: Tensor | None = None
        self._seconds = 0.0
        self._clock = time.perf_counter()

    def add(self, step: Step, rows: Tensor, weighting: Weighting) -> None:
        """Take in a step that is done."""
        if isinstance(weighting, SampleWeighting):
            self.samples = self.samples or SampleRecord(self.problem, self.device)
            self.samples.add(rows, weighting, step.sample_losses[1])
        weights = weighting.task_weights
        losses, counts = whole_batch(step.losses.detach(), step.counts)
        assert counts is not None
        present = counts > 0
        self.losses[self.done] = torch.where(present, losses, torch.nan)
        self.weights[self.done] = weights
        self.finite[self.done] = (losses.isfinite() | ~present).all() & weights.isfinite().all()
        self.done += 1

    def due(self) -> bool:
        """Whether the network is to be evaluated now."""
        return self.done in self.points

    def evaluate(self, network: nn.Module) -> None:
        """Measure the network on the parts held out, and keep it if it is the best so far."""
        bad = (~self.finite).nonzero().flatten().tolist()
        self.diverged_at = bad[0] + 1 if bad else None
        since = self.done - (self.evaluated_at[-1] if self.evaluated_at else 0)
        self.seconds_per_step.append((self._seconds + time.perf_counter() - self._clock) / since)
        validation, test = of_first(self._both_parts(network) if rank() == 0 else None)
        self.test.append(test)
        self.validation.append(validation[self.problem.objective][self.deciding])
        self.evaluated_at.append(self.done)
        self.detection.append(self.samples.close_window() if self.samples else math.nan)
        if self._selected() == len(self.validation) - 1:
            self._keep(network)
        self._seconds, self._clock = 0.0, time.perf_counter()

    def _keep(self, network: nn.Module) -> None:
        """What is asked for of the best network so far."""
        if self.problem.predict is not None:
            self.network = {
                name: value.to("cpu", copy=True) for name, value in network.state_dict().items()
            }
        if self.problem.sheet is not None and rank() == 0:
            network.eval()
            with torch.no_grad():
                self.sheet = torch.tensor(self.problem.sheet(network))
            network.train()

    def _both_parts(self, network: nn.Module) -> tuple[_Figures, _Figures]:
        network.eval()
        with torch.no_grad():
            found = [
                self._measure(network, part)
                for part in (self.problem.validation, self.problem.test)
            ]
        network.train()
        validation, test = (
            {
                name: {task: float(each) for task, each in values.items()}
                for name, values in part.items()
            }
            for part in found
        )
        return validation, test

    def _measure(self, network: nn.Module, data: Data) -> Metrics:
        rows = rows_at_once(data, self.problem.recipe.batch_size)
        metrics = measure(self.problem, network, data, device=self.device, batch_size=rows)
        if self.deciding not in metrics.get(self.problem.objective, {}):
            raise UserError(
                f"the problem's metrics must give {self.problem.objective!r} for "
                f"{self.deciding!r}, found {metrics}"
            )
        return metrics

    def files(
        self, method: str, source: str | None, seed: int, task: str | None
    ) -> dict[str, bytes]:
        """The files of the finished run."""
        history = History(
            losses=self.losses[: self.done].cpu().numpy(),
            weights=self.weights[: self.done].cpu().numpy(),
            evaluated_at=_array(self.evaluated_at),
            validation=_array(self.validation),
            test=_array([each[self.problem.objective][self.deciding] for each in self.test]),
            seconds_per_step=_array(self.seconds_per_step),
            detection=_array(self.detection),
        )
        known = self.samples is not None and self.problem.corrupted is not None
        facts = Facts(
            method=method,
            source=source,
            seed=seed,
            task=task,
            selected_step=self.evaluated_at[self._selected()],
            diverged_at=self.diverged_at,
            metrics=self._metrics(task),
            seconds_per_step=float(np.median(self.seconds_per_step)),
            detection=self.detection[-1] if known else None,
            torch=torch.__version__,
        )
        samples = None if self.samples is None else self.samples.samples()
        sheet = None if self.sheet is None else self.sheet.numpy()
        return run_files(facts, history, samples, self.network, sheet)

    def _metrics(self, task: str | None) -> dict[str, dict[str, float]]:
        """Those of the selected step; of one task only, if one alone was learned."""
        selected = self._selected()
        metrics = {name: dict(values) for name, values in self.test[selected].items()}
        if self.problem.ideal_weights is not None:
            weights = self.weights[self.evaluated_at[selected] - 1]
            metrics[WEIGHT_ERROR] = {OVERALL: self._weight_error(weights)}
        if self.diverged_at is not None:
            metrics = {name: dict.fromkeys(values, np.nan) for name, values in metrics.items()}
        if task is None:
            return metrics
        return {name: {task: values[task]} for name, values in metrics.items() if task in values}

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

    def state_dict(self) -> dict[str, Any]:
        """What is recorded so far."""
        state = {name: getattr(self, name) for name in _LISTS}
        for name in _BY_STEP:
            state[name] = getattr(self, name)[: self.done].clone()
        state["samples"] = None if self.samples is None else self.samples.state_dict()
        state["seconds"] = self._seconds + time.perf_counter() - self._clock
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the time in between does not count."""
        for name in _LISTS:
            setattr(self, name, state[name])
        for name in _BY_STEP:
            getattr(self, name)[: self.done] = state[name].to(self.device)
        if state["samples"] is not None:
            self.samples = SampleRecord(self.problem, self.device)
            self.samples.load_state_dict(state["samples"])
        self._seconds, self._clock = state["seconds"], time.perf_counter()


_BY_STEP = ("losses", "weights", "finite")
_LISTS = (
    "done",
    "diverged_at",
    "evaluated_at",
    "validation",
    "test",
    "detection",
    "seconds_per_step",
    "network",
    "sheet",
)


def _array(values: list[Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)
