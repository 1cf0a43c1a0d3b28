"""What serves a model: which engine, at what cost, and whether its samples interact."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.utils._pytree import tree_leaves, tree_map

from equipoise.directional.computation import Computation, unwrapped
from equipoise.directional.engines import ENGINES, Engine, derivatives_by
from equipoise.directional.gradients import gradients_of
from equipoise.directional.kernels import differentiable_kernels
from equipoise.directional.norms import random_direction
from equipoise.directional.random_state import random_state_kept
from equipoise.directional.shared import Shared, parameters_of
from equipoise.directional.verify import Trial
from equipoise.losses import loss_function

TIMES = 3


@dataclass(frozen=True)
class EngineCheck:
    """What became of one engine."""

    error: float
    """Largest difference from plain autograd, relative to the norm of the sample's gradient; NaN
    where it failed."""
    cost: float
    """Time of its pass and the backward pass, in plain training steps."""
    failure: str = ""
    """Why it does not serve."""


@dataclass(frozen=True)
class Check:
    """What :func:`check` found; as text it is for people to read."""

    engine: Engine | None
    """The engine that ``"auto"`` takes; ``None`` if none serves."""
    interacting: bool | None
    """Whether a sample's losses depend on other samples; ``None`` if that could not be tried."""
    engines: Mapping[Engine, EngineCheck]

    def __str__(self) -> str:
        lines = [f"engine: {self.engine or 'none serves'}"]
        for name, found in self.engines.items():
            result = found.failure or f"error {found.error:.1e}, {found.cost:.1f} plain steps"
            lines.append(f"  {name:10}  {result}")
        lines.append(
            {
                True: "samples interact, as in BatchNorm: the weight of a sample also counts what "
                "it does to the others of its batch",
                False: "samples do not interact",
                None: "whether samples interact is unknown: no tensor of the batch has a row each",
            }[self.interacting]
        )
        return "\n".join(lines)


def check(
    losses: Callable[[nn.Module, Any], Any],
    model: nn.Module,
    batch: Any,
    *,
    shared: Shared | None = None,
    samples: int = 4,
) -> Check:
    """Compare the engines of :func:`~equipoise.alignments` with plain autograd on a model.

    Everything is left as it was: gradients, buffers, random state. Print what comes back.

    Args:
        losses: ``losses(model, batch)`` gives per-sample losses, as :class:`~equipoise.SLGrad`
            takes them.
        model: the network, in the mode in which it will be used.
        batch: a batch of training data.
        shared: a module, parameters or one parameter; ``None`` for all of the model.
        samples: losses, of one sample and task each, to compare: one backward pass each.

    Raises:
        ValueError: if no loss depends on ``shared``.
    """
    losses = loss_function(losses)
    model = unwrapped(model)
    parameters = parameters_of(model if shared is None else shared)
    trial = Trial(losses, model, batch, parameters)
    direction = random_direction(parameters, 0)
    computation = Computation(losses, model)
    reference = _reference(computation, batch, parameters, direction, samples)

    def plain() -> None:
        trial.gradients(*trial.plain_pass())

    step = _seconds(plain, model)

    def tried(engine: Engine) -> EngineCheck:
        def run() -> Tensor:
            values, mask, derivatives = derivatives_by(
                engine, losses, model, batch, direction, parameters, update_buffers=False
            )
            trial.gradients(values, mask)
            return derivatives

        try:
            trial.verify(engine)
        except (NotImplementedError, ValueError) as error:
            return EngineCheck(math.nan, math.nan, str(error))
        with torch.enable_grad(), random_state_kept(model):
            found = run()
        errors = [
            abs(float(found[row, task]) - expected) / (norm or 1)
            for row, task, expected, norm in reference
        ]
        return EngineCheck(max(errors, default=0.0), _seconds(run, model) / step)

    engines = {engine: tried(engine) for engine in ENGINES}
    return Check(
        engine=next((engine for engine, found in engines.items() if not found.failure), None),
        interacting=_interacting(computation, batch),
        engines=engines,
    )


def _reference(
    computation: Computation,
    batch: Any,
    parameters: list[Tensor],
    direction: list[Tensor],
    samples: int,
) -> list[tuple[int, int, float, float]]:
    """Row, task, derivative and norm of the gradient of some losses, by a backward pass each."""
    model = computation.model
    with torch.enable_grad(), random_state_kept(model), differentiable_kernels(model):
        values, mask = computation.call(batch, computation.copied_buffers())
    places = (torch.ones_like(values, dtype=torch.bool) if mask is None else mask).nonzero()
    reference = []
    for row, task in places[:: max(len(places) // samples, 1)][:samples].tolist():
        with computation.replacing(computation.copied_buffers()):
            gradients = gradients_of(
                values[row, task], parameters, parameters=computation.parameters()
            )
        pairs = [
            (gradient, part)
            for gradient, part in zip(gradients, direction, strict=True)
            if gradient is not None
        ]
        derivative = float(sum((gradient * part).sum() for gradient, part in pairs))
        norm = float(get_total_norm([gradient for gradient, _ in pairs]))
        reference.append((row, task, derivative, norm))
    return reference


def _seconds(work: Callable[[], object], model: nn.Module) -> float:
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        with torch.enable_grad(), random_state_kept(model):
            work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _interacting(computation: Computation, batch: Any) -> bool | None:
    """Whether the losses of the first half change when the second half becomes other samples."""

    def losses_of(batch: Any) -> Tensor:
        with torch.no_grad(), random_state_kept(computation.model):
            values: Tensor = computation.call(batch, computation.copied_buffers())[0]
        return values

    before = losses_of(batch)
    samples = len(before)
    half = samples // 2
    rows = [
        leaf
        for leaf in tree_leaves(batch)
        if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == samples
    ]
    if not rows or not half:
        return None

    def other(leaf: Any) -> Any:
        if not any(leaf is row for row in rows):
            return leaf
        return torch.cat([leaf[: samples - half], leaf[:1].expand_as(leaf[:half])])

    after = losses_of(tree_map(other, batch))
    first = slice(samples - half)
    return not torch.allclose(after[first], before[first], rtol=1e-4, atol=1e-6)
