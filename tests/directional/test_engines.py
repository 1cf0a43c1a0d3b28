import copy

import pytest
import torch
from settings import TRUNKS, by_loops, setting, squared_errors
from torch import nn

from equipoise import alignments
from equipoise.directional import random_direction
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
