"""What DistributedDataParallel puts behind a model, and derivatives that are none of its affair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn.parallel import distributed

from equipoise.directional.kernels import SWITCHES


@contextmanager
def unnoticed_by_wrappers() -> Iterator[None]:
    """Inside, wrapped models have derivatives of every kind, and the wrapper hears of none.

    One that looks for unused parameters, or at a static graph, passes the outputs through an
    operation without a forward-mode formula, which also tells it that gradients are on their way:
    after a pass for something else it would wait for them. Of these operations some have been made
    before this is entered, so they are changed themselves, not exchanged. One thread at a time.
    """
    sink: Any = distributed._DDPSink
    changed = {"backward": staticmethod(_passed_back), "jvp": staticmethod(_passed_on)}
    with SWITCHES:
        usual = {name: vars(sink).get(name) for name in changed}
        for name, function in changed.items():
            setattr(sink, name, function)
        try:
            yield
        finally:
            for name, before in usual.items():
                if before is None:
                    delattr(sink, name)
                else:
                    setattr(sink, name, before)


def _passed_back(_: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    return (None, *gradients)


def _passed_on(_: Any, __: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
    return tuple(None if each is None else each.clone() for each in tangents)
