from dataclasses import replace

import numpy as np
import pytest
import torch
from study.toy import Network, noisy
from torch import nn

from equipoise.study.estimate import agreement, estimate
from equipoise.study.loop import Loop
from equipoise.study.methods import find_methods


class Plain(Network):
    """Without dropout, which two passes would draw apart."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(3, 4)


def exact_weights(problem, seed, steps):
    """Of a run with equal weights, from a backward pass of each task in float64."""
    (method,) = find_methods("constant", problem)
    found = {}
    loop = Loop(
        problem,
        lambda network: method.make(problem, seed, network),
        seed=seed,
        recipe=problem.recipe,
        device=torch.device("cpu"),
    )
    batches, make = loop.batches, type(loop.batches)
    ahead = make(problem.train, loop.recipe.batch_size, seed)
    for step in range(1, max(steps) + 1):
        _, upcoming = next(ahead)
        if step in steps:
            network = problem.network().double()
            network.load_state_dict(loop.network.state_dict())
            batch = [part.double() if part.is_floating_point() else part for part in upcoming]
            losses, mask = problem.loss_function(network, batch)
            means = (losses * mask).sum(0) / mask.sum(0)
            shared = list(problem.shared(network))
            norms = [
                torch.cat(
                    [
                        grad.flatten()
                        for grad in torch.autograd.grad(loss, shared, retain_graph=True)
                    ]
                ).norm()
                for loss in means
            ]
            inverse = 1 / torch.stack(norms)
            found[step] = (len(norms) * inverse / inverse.sum()).numpy()
        loop.step()
    assert batches.taken == ahead.taken
    return found


def test_weights_are_those_of_the_run_and_the_exact_ones_those_of_a_loop():
    problem = replace(noisy(), network=Plain)
    table = estimate(problem, ["slaw", "constant"], seeds=[3], first=4, last=12, moments=3)
    steps = sorted(table["step"].unique().tolist())
    assert len(steps) == 3
    assert set(table["method"]) == {"slaw", "constant"}
    exact = exact_weights(problem, 3, steps)
    for step in steps:
        own = table[(table["step"] == step) & (table["method"] == "slaw")]
        assert own["task"].tolist() == list(problem.tasks)
        np.testing.assert_allclose(own["exact"], exact[step], rtol=1e-4)
        assert own["weight"].sum() == pytest.approx(len(problem.tasks))
    equal = table[table["method"] == "constant"]
    assert (equal["weight"] == 1).all()


def test_looking_on_changes_nothing():
    problem = noisy()
    one = estimate(problem, ["slaw"], seeds=[0], first=5, last=9)
    more = estimate(problem, ["probedgradientnorm", "dwa", "slaw"], seeds=[0], first=5, last=9)
    again = more[more["method"] == "slaw"].reset_index(drop=True)
    assert again.equals(one)


def test_agreement_by_hand():
    table = estimate(noisy(), ["slaw"], seeds=[0, 1], first=3, last=9, moments=2)
    table["exact"] = [0.5, 1.0] * 4
    table["weight"] = 3 * table["exact"] ** 2
    (row,) = agreement(table).itertuples(index=False)
    assert row.correlation == pytest.approx(1)
    assert row.slope == pytest.approx(2)
    factors = np.log(3 * table["exact"])
    assert row[-1] == pytest.approx(np.exp(np.sqrt(np.mean(factors**2))))
