"""What a step of a method costs, in steps with equal weights.

Declared costs are the same on every machine, so a study at equal cost repeats. Measured seconds are
what a user waits for, and are of one machine, its load and its libraries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equipoise.errors import UserError
from equipoise.study.methods import Method
from equipoise.study.runs import Run

FORWARD, BACKWARD = 1 / 3, 2 / 3
"""A backward pass is two of forward: derivatives by the inputs and by the parameters of a layer."""

PASSES = {
    "none": 0.0,
    "forward": FORWARD,
    "held-out forward and backward": FORWARD + BACKWARD,
    "main task forward and backward": FORWARD + BACKWARD,
    "the forward pass in forward mode": FORWARD,
}
"""What weightings declare beside the pass forward and the pass backward of equal weights; forward
mode carries a tangent along, as much work as the values."""
EACH_TASK = "tasks backward"


def declared_cost(method: Method, tasks: int) -> float:
    """What a step costs by what the parts of a method declare.

    Raises:
        UserError: if one declares what cannot be counted.
    """
    return 1 + sum(
        _counted(method, each, tasks)
        for part in method.parts
        for each in part.kind.passes.split(", ")
    )


def _counted(method: Method, passes: str, tasks: int) -> float:
    if passes == EACH_TASK:
        return tasks * BACKWARD
    if passes not in PASSES:
        raise UserError(
            f"`equal_time`: {method.label} declares {passes!r} as its cost, which is none of "
            f"{', '.join([*PASSES, EACH_TASK])}: give `equal_time` 'seconds', or leave it out"
        )
    return PASSES[passes]


def measured_seconds(method: Method, runs: Sequence[Run]) -> float:
    """Median seconds of a step over the runs of a method."""
    own = [run.facts.seconds_per_step for run in runs if run.facts.method == method.label]
    return float(np.median(own))
