"""What a step costs: floating-point operations that are counted, or seconds that were measured.

Counted operations are the same on every machine and for any load, so that a study at equal cost
repeats; they know the problem's network, and weightings need not declare anything. Measured seconds
are what a user waits for, on one machine, with what else it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from equipoise.errors import UserError
from equipoise.problems.problem import Problem
from equipoise.study.jobs import Candidate
from equipoise.study.loop import Loop
from equipoise.study.methods import Method
from equipoise.study.runs import Run

FIRST = 2
"""Steps that are not counted: the first may try engines, and the second look back at it."""
NEVER = 1_000
"""Steps of the loop, of which so few are taken that nothing is evaluated."""


def counted_operations(candidate: Candidate, problem: Problem) -> int:
    """Operations of one training step: those of matrix products, convolutions and attention.

    What a method computes besides, such as a quadratic program over the tasks, does not count.

    Raises:
        UserError: if a step has none.
    """
    with torch.random.fork_rng():
        loop = Loop(
            problem,
            partial(candidate.method.make, problem, 0),
            seed=0,
            recipe=replace(candidate.training.recipe(problem), steps=NEVER),
            device=torch.device(candidate.training.device),
        )
        for _ in range(FIRST):
            loop.step()
        with FlopCounterMode(display=False) as counter:
            loop.step()
    operations = int(counter.get_total_flops())
    if not operations:
        raise UserError(
            "`equal_time`: no operations can be counted in a step of the problem's network: give "
            "'seconds'"
        )
    return operations


def measured_seconds(method: Method, runs: Sequence[Run]) -> float:
    """Median seconds of a step over the runs of a method."""
    own = [run.facts.seconds_per_step for run in runs if run.facts.method == method.label]
    return float(np.median(own))
