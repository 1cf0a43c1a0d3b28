"""No weighting holds a gradient for each task."""

import weakref

import pytest
import torch
from tiny import METHODS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from equipoise import Step

TASKS, INPUTS, WIDTH, SAMPLES = 200, 30, 40, 2
SHARED = INPUTS * WIDTH
JACOBIAN = 4 * TASKS * SHARED
"""Bytes of a gradient for each task."""


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that operators make, as long as they live."""

    def __init__(self):
        super().__init__()
        self.known = weakref.WeakSet()
        self.now = self.most = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for storage in storages((args, kwargs)):
            self.known.add(storage)
        result = function(*args, **(kwargs or {}))
        for storage in storages(result):
            if storage not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                self.largest = max(self.largest, storage.nbytes())
                weakref.finalize(storage, self.freed, storage.nbytes())
        return result

    def freed(self, size):
        self.now -= size


def storages(tensors):
    for leaf in tree_leaves(tensors):
        if isinstance(leaf, torch.Tensor):
            yield leaf.untyped_storage()


def steps():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(INPUTS, WIDTH, bias=False), nn.Tanh(), nn.Linear(WIDTH, TASKS))
    while True:
        yield Step(given_losses, model, torch.randn(SAMPLES, INPUTS))


def given_losses(network, batch):
    return network(batch).square() + 1, None


@pytest.mark.parametrize("method", METHODS)
def test_no_weighting_holds_a_gradient_for_each_task(method):
    given = steps()
    step = next(given)
    weighting = method.made_for(
        map(str, range(TASKS)), given_losses, step.model, shared=step.model[:1]
    )
    with Live() as live:
        for _ in range(3):
            weighting.weigh(next(given)).backward()
    heads = 4 * TASKS * WIDTH
    assert heads <= live.largest < JACOBIAN
    assert live.most < JACOBIAN


def test_gradients_for_each_task_are_noticed():
    step = next(steps())
    shared = list(step.model[:1].parameters())
    with Live() as live:
        rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in step.losses]
    assert len(rows) == TASKS
    assert live.most >= JACOBIAN > live.largest
    with Live() as live:
        rows = torch.cat([row[0][None] for row in rows])
    assert live.largest == JACOBIAN
    del rows
    assert live.now == 0
