"""Gradients and directional derivatives of losses in the parameters that the tasks share."""

from __future__ import annotations

import re
import traceback
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.autograd.forward_ad as forward_mode
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from equipoise.step import LossFunction

Shared = nn.Module | Iterable[Tensor] | Tensor


def parameters_of(shared: Shared) -> list[Tensor]:
    """The tensors that require a gradient in a module, an iterable of tensors, or a tensor.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(shared, nn.Module):
        shared = shared.parameters()
    candidates = [shared] if isinstance(shared, Tensor) else list(shared)
    parameters = [tensor for tensor in candidates if tensor.requires_grad]
    if not parameters:
        raise ValueError("shared holds no parameter that requires a gradient")
    return parameters


def gradient_norms(losses: Tensor, shared: Shared, counts: Tensor | None = None) -> Tensor:
    r"""Exact norms :math:`\|\nabla L_k\|` over the shared parameters, one backward pass per task.

    Under ``torch.distributed`` the gradients are those of the losses of the whole batch: the
    processes' gradients, weighed by their counts. Memory: one copy of the shared parameters.

    Args:
        losses: ``(tasks,)`` with their graph, which is kept.
        shared: a module, an iterable of parameters, or one parameter.
        counts: labels behind each loss, ``(tasks,)``; ``None`` if every task is present.

    Returns:
        ``(tasks,)``, float32 or the parameters' dtype if that is wider; without a graph.

    Raises:
        ValueError: if a task is present, and no loss depends on a shared parameter.
    """
    parameters = parameters_of(shared)
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if processes > 1:
        share = losses.new_ones(len(losses), dtype=torch.float32) if counts is None else counts
        share = share.float()
        total = share.clone()
        dist.all_reduce(total)
        share = share / torch.where(total > 0, total, 1)
    norms = []
    reached = False
    for index in range(len(losses)):
        # One at a time: the backward pass of unbind() would touch all losses for each.
        gradients = torch.autograd.grad(
            losses[index], parameters, retain_graph=True, allow_unused=True
        )
        reached = reached or any(gradient is not None for gradient in gradients)
        flat = torch.cat(
            [
                torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
                for parameter, gradient in zip(parameters, gradients, strict=True)
            ]
        )
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
        if processes > 1:
            flat = flat * share[index]
            dist.all_reduce(flat)
        norms.append(torch.linalg.vector_norm(flat))
    if not reached and (counts is None or (counts > 0).any()):
        raise ValueError("no loss depends on a shared parameter: are these the right parameters?")
    return torch.stack(norms)


def random_direction(shared: Shared, *key: int) -> list[Tensor]:
    """A direction of independent standard normal numbers over the shared parameters.

    The same for the same key, on every process. The key is numbers of the host, so a step waits for
    no device.

    Args:
        shared: a module, an iterable of parameters, or one parameter.
        key: what the numbers depend on: a seed, the number of the step.

    Returns:
        A tensor for each of :func:`parameters_of` ``shared``, of its shape, dtype and device.
    """
    generators: dict[torch.device, torch.Generator] = {}
    direction = []
    for parameter in parameters_of(shared):
        device = parameter.device
        if device not in generators:
            # One seed in 32 bits, all that the generator of the CPU takes; the number of the device
            # keeps parts of a model on several devices apart. Meta tensors have no generator.
            seed = zlib.crc32(repr((key, len(generators))).encode())
            generator = torch.Generator("cpu" if parameter.is_meta else device)
            generators[device] = generator.manual_seed(seed)
        direction.append(
            torch.randn(
                parameter.shape,
                generator=generators[device],
                dtype=parameter.dtype,
                device=device,
            )
        )
    return direction


def directional_derivatives(
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    direction: Sequence[Tensor],
    shared: Shared,
    *,
    check: bool = True,
    update_buffers: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    r"""Losses, and the derivative of each along a direction in the shared parameters, in one pass.

    .. math:: d_{ik} = \nabla l_{ik} \cdot u = \frac{d}{dt} l_{ik}(\theta + t u) \Big|_{t=0}

    The forward pass runs once, in forward mode: every shared parameter carries its part of
    :math:`u`, every operation passes on value and derivative. So dropout draws once for both,
    BatchNorm sees the batch once, and backward passes from the losses reach the model's parameters
    as ever. During the pass attention takes the math kernel, LSTM on the CPU does without mkldnn,
    and compiled modules run uncompiled: what they use otherwise has no forward-mode formula. A
    backward pass through ``torch.utils.checkpoint`` raises, since it repeats the pass without
    :math:`u`: with checkpoints, take the losses from a pass of their own.

    Args:
        losses: how to compute the losses.
        model: the network.
        batch: whatever ``losses`` takes.
        direction: :math:`u`, a tensor for each of :func:`parameters_of` ``shared``.
        shared: a module, an iterable of parameters, or one parameter; of ``model``.
        check: refuse also derivatives that are all 0 though there are labels, as lost ones may be.
            This reads from the device.
        update_buffers: ``False`` leaves the buffers of ``model`` as they are: for a second pass
            over a batch.

    Returns:
        Losses ``(samples, tasks)`` with their graph and the mask, both as ``losses`` gives them;
        derivatives ``(samples, tasks)`` without a graph, meaningless where the mask is false.

    Raises:
        ValueError: if ``direction`` or ``shared`` are not as above, or no derivative arrives.
        NotImplementedError: naming the operator, if one has no forward-mode formula.
    """
    parameters = parameters_of(shared)
    if [part.shape for part in direction] != [parameter.shape for parameter in parameters]:
        raise ValueError(
            f"direction must have the shapes of the {len(parameters)} shared parameters, found "
            f"{[tuple(part.shape) for part in direction]}"
        )
    computation = _Losses(losses, model)
    names: dict[Tensor, str] = {
        parameter: name for name, parameter in computation.named_parameters()
    }
    if not names.keys() >= set(parameters):
        raise ValueError("shared holds a parameter that is none of the model's")
    replaced = {}
    if not update_buffers:
        replaced = {name: buffer.clone() for name, buffer in computation.named_buffers()}
    with forward_mode.dual_level(), _kernels_with_forward_mode(model):
        with warnings.catch_warnings():
            # PyTorch loads its formulas at first use, by means of its own that it warns of.
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            duals = [
                forward_mode.make_dual(parameter, part)  # type: ignore[no-untyped-call]
                for parameter, part in zip(parameters, direction, strict=True)
            ]
        replaced |= zip((names[parameter] for parameter in parameters), duals, strict=True)
        try:
            dual, mask = functional_call(computation, replaced, (batch,))
        except NotImplementedError as error:
            name = _operator_without_formula(error)
            if name is None:
                raise
            raise NotImplementedError(
                f"{name} has no forward-mode formula, so the losses have no directional "
                "derivatives: replace it, or weigh by a method that does not need them"
            ) from error
        values, derivatives = forward_mode.unpack_dual(dual)  # type: ignore[no-untyped-call]
    if derivatives is None:
        raise ValueError(
            "no loss depends on a shared parameter: are these the right parameters, and is nothing "
            "on the way detached or under no_grad()?"
        )
    derivatives = derivatives.detach()
    if check:
        labelled = derivatives if mask is None else derivatives[mask]
        if labelled.numel() and not labelled.any():
            raise ValueError("the derivatives of all losses along the direction are 0")
    return values, mask, derivatives


class _Losses(nn.Module):
    """The losses as a module, in which the model's parameters can be replaced for a call."""

    def __init__(self, losses: LossFunction, model: nn.Module) -> None:
        super().__init__()
        self.losses = losses
        self.model = model

    def forward(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        return self.losses(self.model, batch)


@contextmanager
def _kernels_with_forward_mode(model: nn.Module) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if hasattr(torch.compiler, "set_stance"):  # from PyTorch 2.6 on
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if any(isinstance(module, nn.LSTM) for module in model.modules()):
            mkldnn: Any = torch.backends.mkldnn  # its flag, typed as what it is made of
            stack.callback(setattr, mkldnn, "enabled", mkldnn.enabled)
            mkldnn.enabled = False
        yield


def _operator_without_formula(error: NotImplementedError) -> str | None:
    """The operator that PyTorch complains about; ``None`` if the error is another."""
    if found := re.search(r"forward AD with (\S+) that", str(error)):
        return found[1]
    if "jvp" in str(error):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            kind = frame.f_locals.get("cls")
            if isinstance(kind, type) and issubclass(kind, torch.autograd.Function):
                return kind.__name__
    return None
