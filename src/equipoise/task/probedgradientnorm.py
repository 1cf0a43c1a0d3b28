"""What SLAW estimates, estimated without bias: from one pass in forward mode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from equipoise.directional import Shared, random_direction
from equipoise.losses import LossFunction, loss_function
from equipoise.step import Step
from equipoise.task.base import Initial, Nonfinite, inverse_weights
from equipoise.task.of_gradients import SharedWeighting
from equipoise.weighting import Needs


class ProbedGradientNorm(SharedWeighting):
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
        shared: whose gradients are compared: a module, parameters, or one parameter; of ``None``
            those are found that more than one task reaches.
        beta: averaging factor :math:`\beta` from one probed step to the next, in [0, 1).
        probes: directions per probed step, averaged; from the second on, each is one more pass.
        every: steps from one probed step to the next. In between the weights stay.
        seed: of the directions, together with the number of the step; the same on every process.
            Loading a state also loads its seed.
        initial: weights to start from, ``(tasks,)`` or by name; ones if ``None``.
        nonfinite: see :class:`~equipoise.task.base.TaskWeighting`.

    Attributes:
        mean_squares: :math:`q_k`, the estimated squared gradient norms, ``(tasks,)``.
        updates: probed steps behind each of them, ``(tasks,)``.
        steps: calls in training mode.

    Example:
        >>> def squared_errors(model, batch):  # (samples, tasks), and no label is missing
        ...     inputs, targets = batch
        ...     return (model(inputs) - targets).square(), None
        >>> weighting = ProbedGradientNorm(["depth", "normals"], every=10)
        >>> loss = weighting(squared_errors, model, batch)  # doctest: +SKIP
    """

    needs = Needs.LOSSES | Needs.DERIVATIVES
    passes: ClassVar[str] = "the forward pass in forward mode"
    source: ClassVar[str] = "Equipoise; exact form: Crawshaw & Košecká 2021, arXiv 2109.08218"

    mean_squares: Tensor
    updates: Tensor
    steps: int
    seed: int

    def __init__(
        self,
        tasks: int | Iterable[str],
        *,
        shared: Shared | None = None,
        beta: float = 0.99,
        probes: int = 1,
        every: int = 1,
        seed: int = 0,
        initial: Initial | None = None,
        nonfinite: Nonfinite = "propagate",
    ) -> None:
        super().__init__(tasks, initial=initial, shared=shared, nonfinite=nonfinite)
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
        self._checked = False
        # Numbers of the host, which draws by them: tensors would have to be read at every step.
        self.add_number("steps", 0)
        self.add_number("seed", seed, resets=False)
        self.add_state("mean_squares", 0.0)
        self.add_state("updates", 0.0)

    def forward(self, losses: LossFunction, model: nn.Module, batch: Any) -> Tensor:
        """Weighted sum of the losses; in training mode the weights are updated first.

        Runs the model's forward pass itself, once: what it leaves behind (dropout's random state,
        BatchNorm's statistics) is what a plain forward pass leaves.

        Args:
            losses: ``losses(model, batch)`` gives per-sample losses, in any of the forms that
                :func:`~equipoise.losses.loss_function` takes.
            model: the network.
            batch: whatever ``losses`` takes.

        Returns:
            A scalar to call ``backward()`` on, float32 for losses of lower precision.

        Raises:
            TypeError, ValueError: if an argument is not as above, or no loss depends on ``shared``.
            NotImplementedError: naming the operator, if one has no forward-mode formula.
            FloatingPointError: for a non-finite loss, with ``nonfinite="raise"``.
        """
        return self.weigh(Step(loss_function(losses, self.tasks), model, batch))

    def weigh(self, step: Step) -> Tensor:
        """The scalar for a :class:`~equipoise.Step`."""
        probing = self.training and self.steps % self.every == 0
        if self._shared is None and probing:
            self._shared_by(step.losses, step.counts)
        # Before the losses: the pass gives both.
        derivatives = self._probe(step) if probing and self._shared else None
        losses, counts = self._read(*self._of(step), None)
        self.steps += self.training
        if derivatives is None:
            return self._weighted(losses, counts)
        rows = torch.cat([losses.detach()[None], derivatives.to(losses.dtype)])
        return self._weighted(losses, counts, self._averaged(*self._gathered(rows, counts)))

    def _probe(self, step: Step) -> Tensor:
        """Derivatives of the task losses along random directions, ``(probes, tasks)``."""
        assert self._shared is not None
        found = []
        for probe in range(self.probes):
            direction = random_direction(self._shared, self.seed, self.steps, probe)
            # Once: it costs steps, and reads from the device.
            found.append(step.derivatives(direction, self._shared, check=not self._checked))
            self._checked = True
        return torch.stack(found)

    def _averaged(self, rows: Tensor, counts: Tensor) -> Tensor:
        """New weights ``(tasks,)`` from losses and derivatives ``(1 + probes, tasks)``."""
        squares = rows[1:].square().mean(0)
        usable = (counts > 0).all(0) & (squares > 0)
        self.updates += usable
        gain = self.updates.clamp(min=1).reciprocal().clamp(min=1 - self.beta)
        averaged = self.mean_squares + gain * (squares - self.mean_squares)
        self.mean_squares.copy_(torch.where(usable, averaged, self.mean_squares))
        known = self.mean_squares > 0
        return inverse_weights(
            torch.where(known, self.mean_squares, 1).rsqrt(), known, self.initial
        )
