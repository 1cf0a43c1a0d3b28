"""What SLAW estimates, estimated without bias: from one pass in forward mode."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from equipoise.directional import Shared, parameters_of, random_direction
from equipoise.moments import whole_batch
from equipoise.step import LossFunction, Step
from equipoise.task.base import Initial, TaskWeighting, inverse_weights


class ProbedGradientNorm(TaskWeighting):
    r"""Every task pulls on the shared parameters equally hard, by estimated gradient norms.

    .. math::
        w_k = n \frac{1/\sqrt{q_k}}{\sum_j 1/\sqrt{q_j}}, \quad
        q_k \leftarrow \beta_t q_k + (1 - \beta_t) (g_k \cdot u)^2, \quad
        u \sim N(0, I), \quad \beta_t = \min(\beta, 1 - 1/t)

    where :math:`g_k` is the gradient of the loss of task :math:`k` in the shared parameters and
    :math:`n` the sum of the initial weights. No gradient is computed: the forward pass that gives
    the losses gives :math:`g_k \cdot u` for all tasks, in forward mode, along a direction that is
    the same for all. Its square is an unbiased estimate of :math:`\|g_k\|^2`, so these are the
    weights of :class:`~equipoise.InverseGradientNorm` with estimated norms: those of the last
    :math:`1/(1-\beta)` probed steps.

    A task keeps its initial weight until it has had a derivative that is finite and not 0. The
    derivatives of a step enter the average before its weights are computed.

    Source: Equipoise. The exact form is that of Crawshaw and Košecká, 2021, arXiv 2109.08218.

    Args:
        tasks: number of tasks, or their names.
        beta: averaging factor :math:`\beta` from one probed step to the next, in [0, 1).
        probes: directions per probed step, averaged; from the second on, each is one more pass.
        every: steps from one probed step to the next. In between the weights stay.
        seed: of the directions, together with the number of the step; the same on every process.
            Loading a state also loads its seed.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Attributes:
        mean_squares: :math:`q_k`, the estimated squared gradient norms, ``(tasks,)``.
        updates: probed steps behind each of them, ``(tasks,)`` int64.
        steps: calls in training mode.

    Example:
        >>> def squared_errors(model, batch):  # (samples, tasks), and no label is missing
        ...     inputs, targets = batch
        ...     return (model(inputs) - targets).square(), None
        >>> weighting = ProbedGradientNorm(["depth", "normals"], every=10)
        >>> loss = weighting(squared_errors, model, batch, shared=model.trunk)  # doctest: +SKIP
    """

    passes: ClassVar[str] = "the forward pass in forward mode"
    needs: ClassVar[str] = "derivatives of the losses along a direction"
    source: ClassVar[str] = "Equipoise; exact form: Crawshaw & Košecká 2021, arXiv 2109.08218"

    mean_squares: Tensor
    updates: Tensor

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        beta: float = 0.99,
        probes: int = 1,
        every: int = 1,
        seed: int = 0,
        initial: Initial | None = None,
        nonfinite: Literal["propagate", "raise"] = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, nonfinite=nonfinite)
        if not (isinstance(beta, (int, float)) and 0 <= beta < 1):
            raise ValueError(f"beta must be a number in [0, 1), found {beta!r}")
        for name, value in (("probes", probes), ("every", every)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, found {value!r}")
        if not isinstance(seed, int):
            raise ValueError(f"seed must be an integer, found {seed!r}")
        self.beta = beta
        self.probes = probes
        self.every = every
        self.seed = seed
        # Counted by the host, which has to know it: a tensor would have to be read at every step.
        self.steps = 0
        self.register_buffer("mean_squares", torch.zeros_like(self.initial))
        self.register_buffer("updates", torch.zeros_like(self.initial, dtype=torch.int64))

    def reset(self) -> None:
        """Forget everything: as new."""
        super().reset()
        self.steps = 0
        self.mean_squares.zero_()
        self.updates.zero_()

    def forward(
        self, losses: LossFunction, model: nn.Module, batch: Any, *, shared: Shared
    ) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        Runs the model's forward pass itself, once: what it leaves behind (dropout's random state,
        BatchNorm's statistics) is what a plain forward pass leaves.

        Args:
            losses: ``losses(model, batch)`` gives per-sample losses ``(samples, tasks)``, and the
                boolean mask ``(samples, tasks)`` of the labels present or ``None``.
            model: the network.
            batch: whatever ``losses`` takes.
            shared: whose gradients are compared: a module, parameters, or one parameter, of
                ``model``.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if an argument is not as above, or no loss depends on ``shared``.
            NotImplementedError: naming the operator, if one has no forward-mode formula.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        return self.weigh(Step(losses, model, batch, parameters_of(shared)))

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        probing = self.training and self.steps % self.every == 0
        # Before the losses: the pass gives both.
        derivatives = self._probe(step) if probing else None
        losses, counts = self._read(step.losses, step.counts)
        if derivatives is not None:
            self._weights.copy_(self._update(losses.detach(), counts, derivatives))
        self.steps += self.training
        return (self.weights * losses).sum()

    def get_extra_state(self) -> Tensor:
        """The names, and what the next direction depends on."""
        return _encoded([self.tasks, self.seed, self.steps])

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of other tasks; go on with the directions that would have followed."""
        tasks, seed, steps = json.loads(bytes(state.tolist()))
        super().set_extra_state(_encoded(tasks))
        self.seed, self.steps = seed, steps

    def _probe(self, step: Step) -> Tensor:
        """Derivatives of the task losses along random directions, ``(probes, tasks)``."""
        parameters = parameters_of(step.shared)
        # Whether they are all lost is looked at once: it reads from the device.
        check = self.steps == 0
        keys = ((self.seed, self.steps, probe) for probe in range(self.probes))
        return torch.stack(
            [step.derivatives(random_direction(parameters, *key), check=check) for key in keys]
        )

    def _update(self, losses: Tensor, counts: Tensor | None, derivatives: Tensor) -> Tensor:
        """New weights ``(tasks,)`` from detached losses and derivatives ``(probes, tasks)``."""
        rows = torch.cat([losses[None], derivatives])
        # Derivatives of the whole batch first, squares of them then.
        rows, _ = whole_batch(rows, None if counts is None else counts.expand_as(rows))
        squares = rows[1:].to(self.mean_squares.dtype).square().mean(0)
        usable = rows[0].isfinite() & squares.isfinite() & (squares > 0)
        self.updates += usable
        gain = self.updates.reciprocal().clamp(min=1 - self.beta)
        averaged = self.mean_squares + gain * (squares - self.mean_squares)
        self.mean_squares.copy_(torch.where(usable, averaged, self.mean_squares))
        known = self.mean_squares > 0
        return inverse_weights(
            torch.where(known, self.mean_squares, 1).rsqrt(), known, self.initial
        )


def _encoded(value: object) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
