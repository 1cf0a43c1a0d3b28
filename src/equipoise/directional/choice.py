"""Which engine serves a model."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from torch import nn

from equipoise.directional.computation import unwrapped
from equipoise.directional.engines import ENGINES, Engine
from equipoise.directional.sharding import is_sharded
from equipoise.directional.shared import Shared, parameters_of
from equipoise.directional.verify import Trial
from equipoise.losses import LossFunction

COSTS: dict[Engine, str] = {
    "forward": "",
    "reverse": "which costs a forward and a backward pass more",
    "difference": "which is approximate, and costs two forward passes more",
}


def engine_for(
    losses: LossFunction,
    model: nn.Module,
    batch: Any,
    *,
    shared: Shared,
    engine: Engine | Literal["auto"] = "auto",
) -> Engine:
    """The engine that serves a model, after a look whether it does.

    Its derivatives along random directions have to agree with an ordinary backward pass, and there
    has to be a way back through its losses. ``"auto"`` takes the first that does, of ``"forward"``,
    ``"reverse"`` and ``"difference"``, and warns of what is wrong with those before. For sharded
    parameters it is ``"difference"``, which moves all there are, without a look.

    It costs about six training steps for each engine that is tried, and leaves the model, its
    buffers and gradients and the random state as they were.

    The arguments are those of :func:`~equipoise.directional.alignments`.

    Raises:
        ValueError: if ``engine``, or with ``"auto"`` any, does not serve: it fails, it does not
            reach the parameters that are named, or its derivatives are others.
        NotImplementedError: naming the operator, for ``"forward"`` if one has no formula.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(f"engine must be one of auto, {', '.join(ENGINES)}, found {engine!r}")
    parameters = parameters_of(shared)
    if any(map(is_sharded, parameters)):
        return "difference" if engine == "auto" else engine
    trial = Trial(losses, unwrapped(model), batch, parameters)
    if engine != "auto":
        trial.verify(engine)
        return engine
    reasons = []
    for each in ENGINES:
        try:
            trial.verify(each)
        except NotImplementedError as error:
            reasons.append(str(error).split(",")[0])
        except ValueError as error:
            reasons.append(str(error))
        else:
            if reasons:
                warnings.warn(
                    f"{'; '.join(reasons)}; taking the engine {each!r}, {COSTS[each]}", stacklevel=3
                )
            return each
    raise ValueError(f"no engine serves this model: {'; '.join(reasons)}")
