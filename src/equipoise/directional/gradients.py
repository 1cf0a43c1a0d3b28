"""Gradients from an ordinary backward pass that leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from equipoise.directional.wrapping import unnoticed_by_wrappers


def gradients_of(
    outputs: Tensor,
    inputs: Sequence[Tensor],
    factors: Tensor | None = None,
    *,
    parameters: Iterable[Tensor] = (),
    keep: bool = True,
) -> list[Tensor | None]:
    """``torch.autograd.grad``, also where a part is computed again in the backward pass.

    What such a part (reentrant checkpointing) holds is not in the graph: ``torch.autograd.grad``
    fails, or does not reach it; ``backward()`` does.

    Args:
        outputs: what to differentiate, with its graph.
        inputs: leaves to differentiate in.
        factors: of the shape of ``outputs``; needed unless it is a scalar.
        parameters: what the graph may hide, and ``backward()`` reaches nonetheless.
        keep: whether the graph is kept; what is compiled may have to give it away.

    Returns:
        A tensor for each of ``inputs``, ``None`` for one that is not reached.
    """
    if not inputs:
        return []
    again = _computes_again(outputs)
    try:
        with unnoticed_by_wrappers():
            gradients = torch.autograd.grad(
                outputs, inputs, factors, retain_graph=keep or again, allow_unused=True
            )
    except RuntimeError:
        if not again:
            raise
    else:
        if not again or all(gradient is not None for gradient in gradients):
            return list(gradients)
    return gradients_by_backward(outputs, inputs, factors, parameters=parameters)


def gradients_by_backward(
    outputs: Tensor,
    inputs: Sequence[Tensor],
    factors: Tensor | None = None,
    *,
    parameters: Iterable[Tensor] = (),
) -> list[Tensor | None]:
    """What ``backward()`` leaves in ``.grad``, which has its old value afterwards."""
    kept = {leaf: leaf.grad for leaf in (*inputs, *parameters, *leaves_of(outputs))}
    try:
        for leaf in kept:
            leaf.grad = None
        outputs.backward(factors, retain_graph=True)  # type: ignore[no-untyped-call]
        return [leaf.grad for leaf in inputs]
    finally:
        for leaf, gradient in kept.items():
            leaf.grad = gradient


def leaves_of(outputs: Tensor) -> dict[Tensor, int]:
    """The leaves of a graph, and a number for each that grows with the time of its last use."""
    uses: dict[Tensor, int] = {}
    for node, after in _edges(outputs):
        if after.name() == "torch::autograd::AccumulateGrad":
            leaf: Tensor = after.variable  # type: ignore[attr-defined]
            uses[leaf] = max(uses.get(leaf, 0), node._sequence_nr())
    return uses


def _computes_again(outputs: Tensor) -> bool:
    """Whether the graph has a part of a name that PyTorch and its kin give to checkpointing."""
    return any("Checkpoint" in after.name() for _, after in _edges(outputs))


def _edges(outputs: Tensor) -> Iterator[tuple[Node, Node]]:
    """Every step back through a graph, from an operation to one whose result it used."""
    if outputs.grad_fn is None:
        return
    seen, waiting = {outputs.grad_fn}, [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        for after, _ in node.next_functions:
            if after is None:
                continue
            yield node, after
            if after not in seen:
                seen.add(after)
                waiting.append(after)
