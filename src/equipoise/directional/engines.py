"""Losses and their derivatives along a direction, by whatever serves the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from equipoise.directional.computation import in_float16, is_sharded, random_state_kept, unwrapped
from equipoise.directional.difference import difference_derivatives
from equipoise.directional.forward import forward_derivatives
from equipoise.directional.norms import norm, random_direction
from equipoise.directional.reverse import reverse_derivatives
from equipoise.directional.shared import Shared, parameters_of
from equipoise.losses import loss_function

if TYPE_CHECKING:
    from equipoise.step import LossFunction

Engine: TypeAlias = Literal["forward", "reverse", "difference"]
ENGINES: dict[Engine, Callable[..., tuple[Tensor, Tensor | None, Tensor]]] = {
    "forward": forward_derivatives,
    "reverse": reverse_derivatives,
    "difference": difference_derivatives,
}
DOUBTFUL = 0.05
"""Error of a derivative, relative to the norm of the gradient, that rounding does not explain."""


def alignments(
    losses: Callable[[nn.Module, Any], Any],
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    *,
    shared: Shared,
    engine: Engine | Literal["auto"] = "auto",
    check: bool = True,
    update_buffers: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    r"""Losses, and the derivative of each along a direction in the shared parameters.

    .. math:: d_{ik} = v \cdot \nabla l_{ik} = \frac{d}{dt} l_{ik}(\theta + t v) \Big|_{t=0}

    Losses and derivatives belong to the same dropout masks, BatchNorm's statistics are updated
    once, and backward passes from the losses reach the model's parameters as ever. Attention takes
    the math kernel, LSTM on the CPU does without mkldnn, and compiled modules run uncompiled: what
    they use otherwise has no second or forward-mode derivatives.

    - ``"forward"``: dual numbers through the one forward pass; exact. Attention takes the fused
      kernels where :func:`~equipoise.directional.attention.fused_attention` can, so its losses have
      no second derivatives. A backward pass through ``torch.utils.checkpoint`` raises, since it
      repeats the pass without :math:`v`.
    - ``"reverse"``: the forward pass and two reverse passes; exact. For operators without a
      forward-mode formula.
    - ``"difference"``: a central difference, two more forward passes without a graph; approximate,
      in float32 to about 1e-3 of the largest. For sharded parameters (FSDP2).
    - ``"auto"``: what :func:`engine_for` says, which costs a pass: in a loop ask it once.

    Args:
        losses: ``losses(model, batch)`` gives the loss of each sample, in any of the forms that
            :func:`~equipoise.losses.loss_function` takes.
        model: the network.
        batch: whatever ``losses`` takes.
        direction: :math:`v`, a tensor for each of the shared parameters that require a gradient.
        shared: a module, an iterable of parameters, or one parameter; of ``model``.
        engine: see above.
        check: refuse also derivatives that are all 0 though there are labels, as lost ones may be.
            This reads from the device.
        update_buffers: ``False`` leaves the buffers of ``model`` as they are: for a second pass
            over a batch.

    Returns:
        Losses ``(samples, tasks)`` with their graph; the boolean mask of the labels present, or
        ``None``; derivatives ``(samples, tasks)`` without a graph, meaningless where that is false.

    Raises:
        ValueError: if an argument is not as above, or no derivative arrives.
        NotImplementedError: naming the operator, for ``"forward"`` if one has no formula.
    """
    losses = loss_function(losses)
    parameters = parameters_of(shared)
    if [part.shape for part in direction] != [parameter.shape for parameter in parameters]:
        raise ValueError(
            f"direction must have the shapes of the {len(parameters)} shared parameters, found "
            f"{[tuple(part.shape) for part in direction]}"
        )
    if engine == "auto":
        engine = engine_for(losses, model, batch, shared=parameters)
    elif engine not in ENGINES:
        raise ValueError(f"engine must be one of auto, {', '.join(ENGINES)}, found {engine!r}")
    derive = partial(
        ENGINES[engine], losses, model, batch, parameters=parameters, update_buffers=update_buffers
    )
    # The step of a difference has a length of its own.
    if engine != "difference" and in_float16(direction[0]):
        values, mask, derivatives = _along_unit(derive, direction)
    else:
        values, mask, derivatives = derive(direction=direction)
    if check:
        labelled = derivatives if mask is None else derivatives[mask]
        if labelled.numel() and not labelled.any():
            raise ValueError("the derivatives of all losses along the direction are 0")
    return values, mask, derivatives


def _along_unit(
    derive: Callable[..., tuple[Tensor, Tensor | None, Tensor]], direction: Sequence[Tensor]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """What ``derive`` gives, by way of a direction of length 1: of that float16 loses least."""
    length = norm(direction)
    length = torch.where(length > 0, length, 1)
    values, mask, derivatives = derive(direction=[part / length for part in direction])
    return values, mask, derivatives.to(length.dtype) * length


def engine_for(losses: LossFunction, model: nn.Module, batch: Any, *, shared: Shared) -> Engine:
    """The engine that serves a model: ``"forward"`` unless something stands in its way.

    Tries it: the pass, and the backward pass from its losses, whose gradient has to agree with the
    derivatives. Where it fails, a warning says why. It costs a training step, and leaves the model,
    its buffers and the random state as they were.

    The arguments are those of :func:`alignments`.
    """
    parameters = parameters_of(shared)
    if any(is_sharded(parameter) for parameter in parameters):
        return "difference"
    reason = _in_the_way_of_forward(losses, unwrapped(model), batch, parameters)
    if reason is None:
        return "forward"
    warnings.warn(
        f"{reason}; taking the engine 'reverse', which costs a forward and a backward pass more",
        stacklevel=3,
    )
    return "reverse"


def _in_the_way_of_forward(
    losses: LossFunction, model: nn.Module, batch: Any, parameters: list[Tensor]
) -> str | None:
    direction = random_direction(parameters, 0)
    with torch.enable_grad(), random_state_kept(model):
        try:
            values, mask, derivatives = forward_derivatives(
                losses, model, batch, direction, parameters, update_buffers=False
            )
        except NotImplementedError as error:
            if "has no forward-mode formula" not in str(error):
                raise
            return str(error).split(",")[0]
        labels = torch.ones_like(values) if mask is None else mask.to(values.dtype)
        try:
            gradients = torch.autograd.grad(values, parameters, labels, allow_unused=True)
        except torch.utils.checkpoint.CheckpointError:
            return "torch.utils.checkpoint cannot go back through a pass in forward mode"
    pairs = [
        (gradient.double(), part.double())
        for gradient, part in zip(gradients, direction, strict=True)
        if gradient is not None
    ]
    expected = sum((gradient * part).sum() for gradient, part in pairs)
    norm = sum(gradient.square().sum() for gradient, _ in pairs) ** 0.5
    found = torch.where(labels > 0, derivatives, 0).sum()
    if not (found - expected).abs() <= DOUBTFUL * norm:
        return "forward mode gives other derivatives than the backward pass"
    return None
