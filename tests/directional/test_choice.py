import copy
import warnings

import pytest
import torch
from settings import TRUNKS, by_loops, setting, squared_errors
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

import equipoise
from equipoise import alignments
from equipoise.directional import (
    border_parameters,
    engine_for,
    objective_gradient,
    random_direction,
    shared_parameters,
)


class Through(nn.Module):
    """A trunk with an operation behind it."""

    def __init__(self, trunk, operation):
        super().__init__()
        self.trunk = trunk
        self.operation = operation

    def forward(self, inputs):
        return self.operation(self.trunk(inputs))


class WithoutFormula(torch.autograd.Function):
    """An operator of a user's own; twice differentiable, without a forward-mode formula."""

    @staticmethod
    def forward(context, inputs):
        context.save_for_backward(inputs)
        return inputs**2

    @staticmethod
    def backward(context, gradient):
        (inputs,) = context.saved_tensors
        return 2 * inputs * gradient


class WrongFormula(WithoutFormula):
    @staticmethod
    def setup_context(context, inputs, output):
        context.save_for_backward(*inputs)
        context.save_for_forward(*inputs)

    @staticmethod
    def forward(inputs):
        return inputs**2

    @staticmethod
    def jvp(context, tangent):
        return tangent * 0.5


class Checkpointed(nn.Module):
    """Two parts of which the second is computed again in the backward pass."""

    def __init__(self, first, second, reentrant=True):
        super().__init__()
        self.first = first
        self.second = second
        self.reentrant = reentrant

    def forward(self, inputs):
        return checkpoint(self.second, self.first(inputs), use_reentrant=self.reentrant)


WITHOUT_GRAPH = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
"""What PyTorch says of checkpoints under no_grad()."""


def checkpointed(reentrant=True, dtype=torch.float64):
    """A stem, a part that is computed again, and heads."""
    trunk = Checkpointed(
        nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Sequential(nn.Linear(5, 5)), reentrant
    )
    model = nn.Sequential(trunk, nn.Linear(5, 3)).to(dtype)
    return model, (torch.randn(6, 4, dtype=dtype), torch.randn(6, 3, dtype=dtype), None)


def plain_twin(model):
    trunk = model[0]
    return copy.deepcopy(nn.Sequential(nn.Sequential(trunk.first, trunk.second), model[1]))


def expected_of(model, batch, direction, places):
    """Of a twin without checkpoints."""
    twin = plain_twin(model)
    parameters = [list(twin.parameters())[place] for place in places]
    return by_loops(twin, batch, direction, parameters)[1]


@pytest.mark.parametrize("engine", ["auto", "forward", "reverse", "difference"])
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_an_engine_that_serves_and_nothing_is_left_behind(trunk, engine, dtype):
    model, batch = setting(trunk, dtype=dtype)
    model[0].register_parameter("own", nn.Parameter(torch.ones(2)))  # no loss depends on it
    gradient = model[1].weight.grad = torch.ones_like(model[1].weight)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = engine_for(squared_errors, model, batch, shared=model[0], engine=engine)
    assert found == ("forward" if engine == "auto" else engine)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert model[1].weight.grad is gradient
    assert (gradient == 1).all()
    assert all(parameter.grad is None for parameter in model[0].parameters())


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (WithoutFormula.apply, "WithoutFormula has no forward-mode formula"),
        (WrongFormula.apply, "the engine 'forward' gives other derivatives than a backward pass"),
    ],
)
def test_falls_back_with_a_warning_that_says_why(operation, reason):
    model, batch = setting("mlp")
    model[0] = Through(model[0], operation)
    direction = random_direction(model[0], 1)
    expected = by_loops(model, batch, direction, list(model[0].parameters()))[1]
    with pytest.warns(UserWarning, match=f"{reason}; taking the engine 'reverse'"):
        found = alignments(squared_errors, model, batch, direction, shared=model[0])
    torch.testing.assert_close(found[2][batch[2]], expected[batch[2]])


def test_checkpointed_activations_take_reverse_mode():
    model, batch = checkpointed(reentrant=False)
    direction = random_direction(model[0], 1)
    expected = expected_of(model, batch, direction, range(4))
    with pytest.warns(
        UserWarning, match=r"checkpoint cannot go back .* taking the engine 'reverse'"
    ):
        losses, _, found = alignments(squared_errors, model, batch, direction, shared=model[0])
    torch.testing.assert_close(found, expected)
    losses.sum().backward()
    assert model[0].second[0].weight.grad.any()


class Attention(nn.Module):
    """Four words of each sample that look at each other, with a fused kernel."""

    def __init__(self):
        super().__init__()
        self.all = nn.Linear(8, 24)

    def forward(self, inputs):
        words = self.all(inputs.view(len(inputs), 4, 8)).view(len(inputs), 4, 3, 2, 4)
        queries, keys, values = words.permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(queries, keys, values).flatten(1)


def test_checkpointed_attention_takes_differences():
    trunk = Checkpointed(nn.Linear(4, 32), Attention(), reentrant=False)
    model = nn.Sequential(trunk, nn.Linear(32, 3)).double()
    batch = (torch.randn(6, 4).double(), torch.randn(6, 3).double(), None)
    direction = random_direction(model[0], 1)
    expected = expected_of(model, batch, direction, range(4))
    with pytest.warns(UserWarning, match="taking the engine 'difference'"):
        losses, _, found = alignments(squared_errors, model, batch, direction, shared=model[0])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    losses.sum().backward()  # which an exchanged kernel made impossible
    assert model[0].second.all.weight.grad.any()


def shared_of(model):
    """All but the stem, so that what is computed again has an input without a derivative."""
    return [*model[0].second.parameters(), *model[1].parameters()]


@WITHOUT_GRAPH
def test_what_reentrant_checkpointing_hides_is_noticed_and_another_engine_taken():
    model, batch = checkpointed()
    shared = shared_of(model)
    direction = random_direction(shared, 1)
    expected = expected_of(model, batch, direction, range(2, 6))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    with pytest.warns(UserWarning, match="taking the engine 'difference'") as caught:
        losses, _, found = alignments(squared_errors, model, batch, direction, shared=shared)
    (text,) = [str(each.message) for each in caught if "engine" in str(each.message)]
    for engine in ("forward", "reverse"):
        assert (
            f"the engine '{engine}' does not reach 0.second.0.weight, 0.second.0.bias, as" in text
        )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert all((parameter.grad == 7).all() for parameter in model.parameters())
    losses.sum().backward()
    assert not (model[0].second[0].weight.grad == 7).all()


@WITHOUT_GRAPH
@pytest.mark.parametrize("hidden", [False, True], ids=["some", "all"])
def test_an_engine_that_was_named_is_refused_where_it_misses_parameters(hidden):
    model, batch = checkpointed()
    shared = list(model[0].second.parameters()) if hidden else shared_of(model)
    direction = random_direction(shared, 1)
    arguments = (squared_errors, model, batch, direction)
    reason = "fails: no loss" if hidden else "does not reach 0.second.0.weight, 0.second.0.bias, as"
    for engine in ("forward", "reverse"):
        with pytest.raises(ValueError, match=f"the engine '{engine}' {reason}"):
            alignments(*arguments, shared=shared, engine=engine)
    found = alignments(*arguments, shared=shared, engine="difference")[2]
    expected = expected_of(model, batch, direction, [2, 3] if hidden else range(2, 6))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@WITHOUT_GRAPH
def test_check_says_the_same():
    model, batch = checkpointed()
    found = equipoise.check(squared_errors, model, batch, shared=shared_of(model))
    assert found.engine == "difference"
    for engine in ("forward", "reverse"):
        assert "not reach 0.second.0.weight, 0.second.0.bias" in found.engines[engine].failure
    assert found.engines["difference"].error < 1e-4
    assert all(parameter.grad is None for parameter in model.parameters())


@WITHOUT_GRAPH
def test_what_is_computed_again_behind_shared_parameters_takes_the_difference():
    model, batch = checkpointed()
    direction = random_direction(model[0], 1)
    with pytest.warns(UserWarning, match=r"CheckpointFunction has no .*the engine 'reverse' fails"):
        found = alignments(squared_errors, model, batch, direction, shared=model[0])[2]
    expected = expected_of(model, batch, direction, range(4))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@WITHOUT_GRAPH
@pytest.mark.parametrize("stem", [False, True])
def test_gradient_of_an_objective_reaches_what_is_computed_again(stem):
    model, batch = checkpointed()
    twin = plain_twin(model)
    model[1].weight.grad = torch.ones_like(model[1].weight)

    def objective(model, batch):
        return squared_errors(model, batch)[0].mean(), torch.ones(())

    shared = [*(model[0].parameters() if stem else model[0].second.parameters())]
    expected = torch.autograd.grad(
        objective(twin, batch)[0], list(twin[0].parameters())[0 if stem else 2 :]
    )
    found = objective_gradient(objective, model, batch, shared)
    torch.testing.assert_close(found, list(expected))
    assert all(parameter.grad is None for parameter in model[0].parameters())
    assert (model[1].weight.grad == 1).all()


@WITHOUT_GRAPH
@pytest.mark.parametrize("reentrant", [False, True])
def test_buffers_of_what_is_computed_again_stay(reentrant):
    model, batch = checkpointed(reentrant)
    model[0].second.append(nn.BatchNorm1d(5, dtype=torch.float64))
    before = copy.deepcopy(list(model.buffers()))

    def objective(model, batch):
        return squared_errors(model, batch)[0].mean(), torch.ones(())

    shared = list(model[0].second.parameters())
    objective_gradient(objective, model, batch, shared)
    engine_for(squared_errors, model, batch, shared=shared, engine="difference")
    shared_parameters(squared_errors, model, batch, 0)
    border_parameters(squared_errors, model, batch, 0)
    equipoise.check(squared_errors, model, batch, shared=shared)
    assert all(map(torch.equal, model.buffers(), before))


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_at_moved_parameters_of_what_is_computed_again(reentrant):
    model, batch = checkpointed(reentrant)
    moved = {parameter: parameter.detach() + 0.1 for parameter in model.parameters()}
    twin = plain_twin(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 0.1

    def objective(model, batch):
        return squared_errors(model, batch)[0].mean(), torch.ones(())

    expected = torch.autograd.grad(objective(twin, batch)[0], list(twin[0].parameters()))
    found = objective_gradient(objective, model, batch, list(model[0].parameters()), moved)
    torch.testing.assert_close(found, list(expected))


def test_no_engine_serves():
    class Stepped(torch.autograd.Function):
        """A step, with the gradient of a line: no derivative is the gradient."""

        @staticmethod
        def forward(context, inputs):
            return inputs.round()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context, gradient):
            return gradient

    model, batch = setting("mlp")
    model[0] = Through(model[0], Stepped.apply)
    with pytest.raises(ValueError, match=r"no engine serves this model: Stepped has .*'reverse'"):
        engine_for(squared_errors, model, batch, shared=model[0])
    found = equipoise.check(squared_errors, model, batch, shared=model[0])
    assert found.engine is None
    assert "engine: none serves" in str(found)


@pytest.mark.parametrize("engine", ["auto", "forward", "reverse", "difference"])
def test_losses_that_are_not_finite_say_nothing_of_an_engine(engine):
    model, (inputs, targets, _) = setting("mlp")
    targets[0, 0] = torch.nan
    found = engine_for(
        squared_errors, model, (inputs, targets, None), shared=model[0], engine=engine
    )
    assert found == ("forward" if engine == "auto" else engine)


@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError, ValueError])
def test_what_the_losses_raise_comes_as_it_is(error):
    model, batch = setting("mlp")

    def losses(model, batch):
        raise error("later")

    with pytest.raises(error, match=r"^later$"):
        engine_for(losses, model, batch, shared=model[0])
