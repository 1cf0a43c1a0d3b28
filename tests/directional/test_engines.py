import copy
import warnings

import pytest
import torch
from settings import TRUNKS, by_loops, setting, squared_errors
from torch import nn
from torch.utils.checkpoint import checkpoint

from equipoise import alignments
from equipoise.directional import engine_for, random_direction
from equipoise.losses import task_losses


@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize(
    "options",
    [{}, {"missing": False}, {"samples": 1, "missing": False}, {"tasks": 1}],
    ids=["missing labels", "all labels", "one sample", "one task"],
)
def test_every_engine_gives_what_loops_give_and_leaves_what_a_pass_leaves(engine, trunk, options):
    model, batch = setting(trunk, **options)
    twin = copy.deepcopy(model)
    direction = random_direction(model[0], 1)
    losses, expected = by_loops(twin, batch, direction, list(twin[0].parameters()))
    task_losses(losses, batch[2])[0].sum().backward()
    before = copy.deepcopy(list(model.parameters()))

    found = alignments(squared_errors, model, batch, direction, shared=model[0], engine=engine)
    task_losses(*found[:2])[0].sum().backward()

    assert found[1] is batch[2]
    assert not found[2].requires_grad
    torch.testing.assert_close(found[0], losses)
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if engine == "difference" else {}
    labelled = torch.ones_like(losses) > 0 if batch[2] is None else batch[2]
    torch.testing.assert_close(found[2][labelled], expected[labelled], **tolerance)
    for parameter, old, other in zip(model.parameters(), before, twin.parameters(), strict=True):
        assert torch.equal(parameter, old)
        torch.testing.assert_close(parameter.grad, other.grad)
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_error_of_the_difference_in_float32(trunk):
    """Relative to the largest: a thousandth."""
    model, batch = setting(trunk, samples=32, dtype=torch.float32)
    direction = random_direction(model[0], 1)
    arguments = (squared_errors, model, batch, direction)
    _, mask, exact = alignments(*arguments, shared=model[0], engine="forward")
    found = alignments(*arguments, shared=model[0], engine="difference")[2]
    error = (found - exact)[mask].abs().max() / exact[mask].abs().max()
    assert error < 2e-3


@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
def test_dropout_is_that_of_the_losses(engine):
    model, batch = setting("mlp")
    model[0].append(nn.Dropout(0.5))
    direction = random_direction(model[0], 1)
    torch.manual_seed(3)
    losses, expected = by_loops(model, batch, direction, list(model[0].parameters()))
    after = torch.get_rng_state()
    torch.manual_seed(3)
    found = alignments(squared_errors, model, batch, direction, shared=model[0], engine=engine)
    torch.testing.assert_close(found[0], losses)
    mask = batch[2]
    torch.testing.assert_close(found[2][mask], expected[mask], rtol=1e-6, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
def test_autocast(engine):
    model, batch = setting("mlp", samples=64, dtype=torch.float32)
    direction = random_direction(model[0], 1)
    exact = alignments(squared_errors, model, batch, direction, shared=model[0], engine=engine)[2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, _, found = alignments(
            squared_errors, model, batch, direction, shared=model[0], engine=engine
        )
    losses.sum().backward()
    assert model[0][0].weight.grad.any()
    assert torch.corrcoef(torch.stack([found.flatten().float(), exact.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize("size", [1e-8, 1, 1e4])
@pytest.mark.parametrize("engine", ["forward", "reverse", "difference"])
def test_direction_of_any_size_under_float16(engine, size):
    model, batch = setting("mlp", samples=64, missing=False, dtype=torch.float32)
    direction = random_direction(model[0], 1)

    def found(direction, autocast):
        with torch.autocast("cpu", dtype=torch.float16, enabled=autocast):
            return alignments(
                squared_errors, model, batch, direction, shared=model[0], engine=engine
            )[2].float()

    exact = found(direction, autocast=False)
    half = found([size * part for part in direction], autocast=True) / size
    assert (half - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("engine", ["reverse", "difference"])
def test_parameters_that_no_loss_reaches(engine):
    model, batch = setting("mlp")
    model.other = nn.Parameter(torch.ones(2))
    direction = random_direction(model.other, 1)
    with pytest.raises(ValueError, match=r"no loss depends on a shared parameter|are 0"):
        alignments(squared_errors, model, batch, direction, shared=model.other, engine=engine)


def test_parameters_are_restored_where_the_losses_fail():
    model, batch = setting("mlp")
    before = copy.deepcopy(list(model.parameters()))

    def failing(model, batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        alignments(
            failing,
            model,
            batch,
            random_direction(model[0], 1),
            shared=model[0],
            engine="difference",
        )
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_no_such_engine():
    model, batch = setting("mlp")
    with pytest.raises(ValueError, match="engine must be one of auto, forward, reverse, diff"):
        alignments(
            squared_errors,
            model,
            batch,
            random_direction(model[0], 1),
            shared=model[0],
            engine="backward",
        )


# Which engine


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


class Through(nn.Module):
    """A trunk with an operation behind it."""

    def __init__(self, trunk, operation):
        super().__init__()
        self.trunk = trunk
        self.operation = operation

    def forward(self, inputs):
        return self.operation(self.trunk(inputs))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_forward_mode_where_it_works_and_nothing_is_left_behind(trunk):
    model, batch = setting(trunk, dtype=torch.float32)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert engine_for(squared_errors, model, batch, shared=model[0]) == "forward"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (WithoutFormula.apply, "WithoutFormula has no forward-mode formula"),
        (WrongFormula.apply, "forward mode gives other derivatives than the backward pass"),
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
    model, batch = setting("mlp")
    trunk = model[0]
    model[0] = Through(nn.Identity(), lambda inputs: checkpoint(trunk, inputs, use_reentrant=False))
    model[0].checkpointed = trunk
    direction = random_direction(trunk, 1)
    expected = by_loops(model, batch, direction, list(trunk.parameters()))[1]
    with pytest.warns(UserWarning, match="checkpoint cannot go back"):
        losses, _, found = alignments(squared_errors, model, batch, direction, shared=trunk)
    torch.testing.assert_close(found[batch[2]], expected[batch[2]])
    losses.sum().backward()
    assert trunk[0].weight.grad.any()


def test_what_else_is_not_implemented_is_not_taken_for_a_missing_formula():
    model, batch = setting("mlp")

    def losses(model, batch):
        raise NotImplementedError("later")

    with pytest.raises(NotImplementedError, match=r"^later$"):
        engine_for(losses, model, batch, shared=model[0])
