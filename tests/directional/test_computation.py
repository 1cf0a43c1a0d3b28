import copy

import pytest
import torch
from settings import TRUNKS, setting, squared_errors
from torch import nn
from torch.nn.utils import parametrize

from equipoise.directional import (
    Computation,
    alignments,
    objective_gradient,
    parameters_of,
    random_direction,
)
from equipoise.losses import task_losses

ENGINES = ["forward", "reverse", "difference"]


class Aliased(nn.Module):
    """A trunk that is registered under two names, and a parameter that two modules hold."""

    def __init__(self):
        super().__init__()
        self.net = nn.ModuleDict(
            {"trunk": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4))}
        )
        self.trunk = self.net["trunk"]
        self.trunk[3].weight = self.trunk[0].weight
        self.heads = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.heads(self.trunk(inputs))


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.LSTM(4, 5, batch_first=True)
        self.heads = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.heads(self.trunk(inputs[:, None].expand(-1, 3, -1))[0][:, -1])


class Parametrized(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(4, 4)
        self.heads = nn.Linear(4, 3)
        parametrize.register_parametrization(self.trunk, "weight", Symmetric())
        nn.utils.parametrizations.weight_norm(self.heads)

    def forward(self, inputs):
        return self.heads(self.trunk(inputs).tanh())


MODELS = {"aliases": Aliased, "lstm": Recurrent, "parametrized": Parametrized}


def batch_of(samples=6):
    return torch.randn(samples, 4).double(), torch.randn(samples, 3).double(), None


def held(model):
    """What stands in every place of every module."""
    return [
        (id(module), name, tensor)
        for module in model.modules()
        for tensors in (module._parameters, module._buffers)
        for name, tensor in tensors.items()
    ]


def assert_untouched(before, model):
    after = held(model)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one[:2] == other[:2]
        assert one[2] is other[2]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_derivatives_are_those_of_loops_and_every_tensor_is_in_its_place(make, engine):
    model, batch = make().double(), batch_of()
    shared = parameters_of(model.trunk)
    direction = random_direction(shared, 1)
    losses = squared_errors(model, batch)[0]
    expected = torch.zeros_like(losses)
    for place in torch.ones_like(losses).nonzero().tolist():
        gradients = torch.autograd.grad(losses[tuple(place)], shared, retain_graph=True)
        pairs = zip(gradients, direction, strict=True)
        expected[tuple(place)] = sum((gradient * part).sum() for gradient, part in pairs)

    before, values = held(model), copy.deepcopy(model.state_dict())
    found = alignments(
        squared_errors,
        model,
        batch,
        direction,
        shared=model.trunk,
        engine=engine,
        update_buffers=False,
    )
    torch.testing.assert_close(found[2], expected, rtol=1e-6, atol=1e-6)
    assert_untouched(before, model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, values[name])
    found[0].sum().backward()
    assert all(parameter.grad.any() for parameter in shared)
    copy.deepcopy(model)(batch[0])


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_gradient_of_an_objective(make):
    model, batch = make().double(), batch_of()
    shared = parameters_of(model.trunk)

    def objective(model, batch):
        losses, counts = task_losses(*squared_errors(model, batch))
        return losses[0], counts[0]

    expected = torch.autograd.grad(objective(model, batch)[0], shared)
    before = held(model)
    torch.testing.assert_close(objective_gradient(objective, model, batch, shared), list(expected))
    assert_untouched(before, model)


class WithoutFormula(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs):
        return inputs * 2

    @staticmethod
    def backward(context, gradient):
        return gradient * 2


def interrupted(model, batch):
    raise KeyboardInterrupt


def failing_late(model, batch):
    model(batch[0])
    raise ZeroDivisionError


def without_formula(model, batch):
    return WithoutFormula.apply(model(batch[0])), None


def of_wrong_shape(model, batch):
    return model(batch[0]).sum(), None


ERRORS = {
    "interrupted": (interrupted, KeyboardInterrupt),
    "failing": (failing_late, ZeroDivisionError),
    "without formula": (without_formula, NotImplementedError),
    "shape": (of_wrong_shape, ValueError),
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("error", "engine"),
    [
        *((error, engine) for error in ("interrupted", "failing", "shape") for engine in ENGINES),
        ("without formula", "forward"),
    ],
)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_tensor_is_in_its_place_after_an_error(make, error, engine, check):
    model, batch = make().double(), batch_of()
    losses, kind = ERRORS[error]
    before, values = held(model), copy.deepcopy(list(model.parameters()))
    with pytest.raises(kind):
        alignments(
            losses,
            model,
            batch,
            random_direction(model.trunk, 1),
            shared=model.trunk,
            engine=engine,
            check=check,
        )
    assert_untouched(before, model)
    assert all(map(torch.equal, values, model.parameters()))


def test_a_loss_function_that_is_a_module_has_tensors_too():
    class Loss(nn.Module):
        """Of a model that it holds itself, with a scale and a counter of its own."""

        def __init__(self, model):
            super().__init__()
            self.model = model
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, model, batch):
            self.calls += 1
            return (self.scale * self.model(batch)) ** 2

    model = nn.Linear(3, 2)
    function = Loss(model)
    computation = Computation(function, model)
    inputs, before = torch.randn(4, 3), held(function)
    doubled = {
        function.scale: torch.tensor(2.0),
        model.weight: model.weight.detach() * 0,
        model.bias: torch.ones(2),
    }
    found = computation.call(inputs, computation.copied_buffers() | doubled)
    assert (found == 4).all()
    assert function.calls == 0
    assert_untouched(before, function)
    assert set(computation.parameters()) == {model.weight, model.bias, function.scale}


def test_a_tensor_of_elsewhere_cannot_be_replaced():
    model = nn.Linear(3, 2)
    computation = Computation(lambda model, batch: model(batch), model)
    with pytest.raises(ValueError, match="shared holds a parameter that is none of the model's"):
        computation.call(
            torch.ones(1, 3), {model.weight: model.weight, torch.ones(2): torch.ones(2)}
        )


@pytest.mark.parametrize("trunk", TRUNKS)
def test_copied_buffers_take_the_changes(trunk):
    model, batch = setting(trunk)
    before = copy.deepcopy(model.state_dict())
    computation = Computation(squared_errors, model)
    copies = computation.copied_buffers()
    computation.call(batch, copies)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert set(copies) == set(model.buffers())
    assert all(not torch.equal(buffer, copied) for buffer, copied in copies.items())
