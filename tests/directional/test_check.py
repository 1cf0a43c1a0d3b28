import copy
import math

import pytest
import torch
from settings import TRUNKS, setting, squared_errors
from torch import nn

import equipoise


@pytest.mark.parametrize("trunk", TRUNKS)
def test_engines_agree_with_autograd_and_all_is_as_it_was(trunk):
    model, batch = setting(trunk, samples=8)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = equipoise.check(squared_errors, model, batch)
    assert found.engine == "forward"
    assert set(found.engines) == {"forward", "reverse", "difference"}
    assert found.engines["forward"].error < 1e-9
    assert found.engines["reverse"].error < 1e-9
    assert found.engines["difference"].error < 1e-4
    assert all(each.cost > 0 for each in found.engines.values())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("trunk", "interacting"), [("mlp", False), ("batchnorm", True)])
@pytest.mark.parametrize("dropout", [False, True])
def test_samples_that_interact(trunk, interacting, dropout):
    model, batch = setting(trunk, samples=8)
    if dropout:
        model[0].append(nn.Dropout(0.5))
    found = equipoise.check(squared_errors, model, batch, shared=model[0])
    assert found.interacting is interacting
    assert ("samples interact" in str(found)) is interacting
    assert equipoise.check(squared_errors, model.eval(), batch).interacting is False


def test_batch_of_something_else():
    model, batch = setting("mlp", samples=8)
    found = equipoise.check(lambda model, _: squared_errors(model, batch), model, "all of it")
    assert found.interacting is None
    assert "unknown" in str(found)


def test_an_engine_that_fails_says_why():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(context, inputs):
            return 2 * inputs

        @staticmethod
        def backward(context, gradient):
            return 2 * gradient

    model, batch = setting("mlp", samples=8)

    def losses(model, batch):
        return {"a": Own.apply(model(batch[0]))[:, 0] ** 2}

    found = equipoise.check(losses, model, batch)
    assert found.engine == "reverse"
    assert math.isnan(found.engines["forward"].error)
    assert "Own has no forward-mode formula" in str(found)
    assert found.engines["reverse"].error < 1e-9
