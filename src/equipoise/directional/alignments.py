"""Losses and their derivatives along a direction, by whatever serves the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from equipoise.directional.choice import engine_for
from equipoise.directional.engines import ENGINES, Engine, derivatives_by
from equipoise.directional.shared import Shared, parameters_of
from equipoise.losses import LossFunction, loss_function


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
    - ``"auto"``: what :func:`~equipoise.directional.engine_for` says: in a loop ask it once.

    Args:
        losses: ``losses(model, batch)`` gives the loss of each sample, in any of the forms that
            :func:`~equipoise.losses.loss_function` takes.
        model: the network.
        batch: whatever ``losses`` takes.
        direction: :math:`v`, a tensor for each of the shared parameters that require a gradient.
        shared: a module, an iterable of parameters, or one parameter; of ``model``.
        engine: see above.
        check: look first whether the engine serves this model, as
            :func:`~equipoise.directional.engine_for` does, and refuse derivatives that are all 0
            though there are labels. For the first step: it costs as much as six, and reads from
            the device.
        update_buffers: ``False`` leaves the buffers of ``model`` as they are: for a second pass
            over a batch.

    Returns:
        Losses ``(samples, tasks)`` with their graph; the boolean mask of the labels present, or
        ``None``; derivatives ``(samples, tasks)`` without a graph, meaningless where that is false.

    Raises:
        ValueError: if an argument is not as above, no derivative arrives, or the engine does not
            serve.
        NotImplementedError: naming the operator, for ``"forward"`` if one has no formula.
    """
    return derived(
        loss_function(losses),
        model,
        batch,
        direction,
        shared,
        engine=engine,
        check=check,
        update_buffers=update_buffers,
    )


def derived(
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    shared: Shared,
    *,
    engine: Engine | Literal["auto"],
    check: bool,
    update_buffers: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """:func:`alignments` of losses that are in one form already."""
    parameters = parameters_of(shared)
    if [part.shape for part in direction] != [parameter.shape for parameter in parameters]:
        raise ValueError(
            f"direction must have the shapes of the {len(parameters)} shared parameters, found "
            f"{[tuple(part.shape) for part in direction]}"
        )
    if check or engine not in ENGINES:
        engine = engine_for(losses, model, batch, shared=parameters, engine=engine)
    values, mask, derivatives = derivatives_by(
        engine, losses, model, batch, direction, parameters, update_buffers=update_buffers
    )
    if check:
        labelled = derivatives if mask is None else derivatives[mask]
        if labelled.numel() and not labelled.any():
            raise ValueError("the derivatives of all losses along the direction are 0")
    return values, mask, derivatives
