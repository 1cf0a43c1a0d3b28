"""Whether an engine serves a model: its derivatives against an ordinary backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.utils.checkpoint import CheckpointError

from equipoise.directional.computation import Computation
from equipoise.directional.engines import Engine, derivatives_by
from equipoise.directional.gradients import gradients_of
from equipoise.directional.norms import random_direction
from equipoise.directional.random_state import random_state_kept
from equipoise.losses import LossFunction

DOUBTFUL = 0.05
"""Error of a derivative, relative to the norm of the gradient, that rounding does not explain."""
DIRECTIONS = 3
"""Along one, a derivative that is missing altogether would pass in 4% of cases."""


class Trial:
    """A pass on which engines are tried; it leaves model, gradients and random state as they were.

    Args:
        losses: ``losses(model, batch)`` gives ``(samples, tasks)`` and the mask.
        model: the network, not wrapped.
        batch: whatever ``losses`` takes.
        parameters: what the engines are to differentiate in.

    Raises:
        ValueError: if no loss depends on any of them. What ``losses`` raises comes as it is.
    """

    def __init__(
        self, losses: LossFunction, model: nn.Module, batch: Any, parameters: list[Tensor]
    ) -> None:
        self.losses = losses
        self.model = model
        self.batch = batch
        self.parameters = parameters
        self._computation = Computation(losses, model)
        values, mask = self.plain_pass()
        if not values.requires_grad or not any(
            gradient is not None for gradient in self.gradients(values, mask)
        ):
            raise ValueError(
                "no loss depends on a shared parameter: are these the right parameters, and is "
                "nothing on the way detached or under no_grad()?"
            )

    def plain_pass(self) -> tuple[Tensor, Tensor | None]:
        """Losses and mask. Uncompiled: what is compiled may give buffers away on the way back."""
        eager = torch.compiler.set_stance("force_eager")
        with torch.enable_grad(), random_state_kept(self.model), eager:
            found: tuple[Tensor, Tensor | None] = self._computation.call(
                self.batch, self._computation.copied_buffers()
            )
        return found

    def verify(self, engine: Engine) -> None:
        """Compare the derivatives of all losses together along random directions.

        Raises:
            NotImplementedError: naming the operator, if one has no forward-mode formula.
            ValueError: if the engine fails, its derivatives are others, naming the parameters that
                it does not reach, or there is no way back through its losses.
        """
        for number in range(DIRECTIONS):
            self._verify_along(engine, random_direction(self.parameters, number))

    def _verify_along(self, engine: Engine, direction: list[Tensor]) -> None:
        try:
            values, mask, derivatives = self._derive(engine, direction, self.parameters)
            gradients = self.gradients(values, mask)
        except NotImplementedError:
            raise
        except CheckpointError as error:
            raise ValueError(
                f"torch.utils.checkpoint cannot go back through a pass of the engine {engine!r}"
            ) from error
        except (RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"the engine {engine!r} fails: {reason}") from error
        found = _labelled(derivatives, mask).double().sum()
        pairs = [
            (gradient.double(), part.double())
            for gradient, part in zip(gradients, direction, strict=True)
            if gradient is not None
        ]
        expected = sum((gradient * part).sum() for gradient, part in pairs)
        norm = get_total_norm([gradient for gradient, _ in pairs])
        # Of a gradient that is not finite nothing can be said.
        if (found - expected).abs() <= DOUBTFUL * norm or not norm.isfinite():
            return
        missed = self._missed(engine, direction, gradients)
        if missed:
            raise ValueError(
                f"the engine {engine!r} does not reach {', '.join(missed)}, as a backward pass does"
            )
        raise ValueError(f"the engine {engine!r} gives other derivatives than a backward pass")

    def _missed(
        self, engine: Engine, direction: list[Tensor], gradients: list[Tensor | None]
    ) -> list[str]:
        """Names of the parameters that have a gradient, and no derivatives of their own."""
        names: dict[Tensor, str] = {each: name for name, each in self.model.named_parameters()}
        own = [
            (parameter, part)
            for parameter, part, gradient in zip(self.parameters, direction, gradients, strict=True)
            if gradient is not None and gradient.any()
        ]
        return [
            names.get(parameter, f"a parameter {tuple(parameter.shape)}")
            for parameter, part in own
            if not self._reached(engine, parameter, part)
        ]

    def _reached(self, engine: Engine, parameter: Tensor, part: Tensor) -> bool:
        try:
            _, mask, derivatives = self._derive(engine, [part], [parameter])
        except ValueError:  # no derivative arrives
            return False
        return bool(_labelled(derivatives, mask).any())

    def _derive(
        self, engine: Engine, direction: list[Tensor], parameters: list[Tensor]
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        with torch.enable_grad(), random_state_kept(self.model):
            return derivatives_by(
                engine,
                self.losses,
                self.model,
                self.batch,
                direction,
                parameters,
                update_buffers=False,
            )

    def gradients(self, values: Tensor, mask: Tensor | None) -> list[Tensor | None]:
        """Gradients of the sum of the losses with labels, by an ordinary backward pass."""
        labels = torch.ones_like(values) if mask is None else mask.to(values.dtype)
        computation = self._computation
        # Checkpointed parts run again on the way back.
        with computation.replacing(computation.copied_buffers()):
            # Not by backward(), of which a wrapper would hear, unless nothing else will do.
            return gradients_of(
                values, self.parameters, labels, parameters=computation.parameters()
            )


def _labelled(derivatives: Tensor, mask: Tensor | None) -> Tensor:
    return derivatives if mask is None else torch.where(mask, derivatives, 0)
