"""A run without a study around it."""

from dataclasses import replace

import torch
from study.toy import toy

from equipoise import SLAW, Weighting
from equipoise.study.loop import Loop
from equipoise.study.runs import read_run


def loop_of(problem=None, weighting=None, seed=0, task=None, **recipe):
    """A loop; ``weighting`` is one, or a function of the network."""
    problem = problem or toy()
    made = SLAW(problem.tasks) if weighting is None else weighting
    return Loop(
        problem,
        (lambda network: made) if isinstance(made, Weighting) else made,
        seed=seed,
        recipe=replace(problem.recipe, **recipe),
        device=torch.device("cpu"),
        task=task,
    )


def trained(problem=None, weighting=None, seed=0, task=None, **recipe):
    with torch.random.fork_rng():
        loop = loop_of(problem, weighting, seed, task, **recipe)
        while not loop.done:
            loop.step()
        return read_run(loop.record.files("slaw", None, seed, task))
