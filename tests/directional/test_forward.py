import copy
from functools import partial

import pytest
import torch
from settings import TRUNKS, by_loops, setting, squared_errors
from torch import nn

from equipoise.directional import alignments, gradient_norms, parameters_of, random_direction
from equipoise.losses import task_losses

forward = partial(alignments, engine="forward")


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize(
    "options",
    [{}, {"missing": False}, {"samples": 1, "missing": False}, {"tasks": 1}],
    ids=["missing labels", "all labels", "one sample", "one task"],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_derivatives_are_those_of_loops_over_the_samples(trunk, options, dtype):
    model, batch = setting(trunk, dtype=dtype, **options)
    twin = copy.deepcopy(model)
    direction = random_direction(model[0], 1)
    losses, expected = by_loops(twin, batch, direction, list(twin[0].parameters()))
    task_losses(losses, batch[2])[0].sum().backward()

    found = forward(squared_errors, model, batch, direction, shared=model[0])
    task_losses(*found[:2])[0].sum().backward()

    assert found[1] is batch[2]
    assert not found[2].requires_grad
    # The fused kernels round otherwise.
    tolerance = {} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found[0], losses, **tolerance)
    torch.testing.assert_close(found[2], expected, **tolerance)
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, **tolerance)
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other)


def test_second_pass_leaves_the_buffers():
    model, batch = setting("batchnorm")
    before = [buffer.clone() for buffer in model.buffers()]
    direction = random_direction(model[0], 1)
    first = forward(squared_errors, model, batch, direction, shared=model[0], update_buffers=False)
    for buffer, old in zip(model.buffers(), before, strict=True):
        assert torch.equal(buffer, old)
    second = forward(squared_errors, model, batch, direction, shared=model[0])
    torch.testing.assert_close(first[2], second[2])


def test_part_of_the_parameters():
    model, batch = setting("mlp")
    shared = [model[0][0].weight, model[0][2].bias]
    direction = random_direction(shared, 1)
    found = forward(squared_errors, model, batch, direction, shared=shared)
    torch.testing.assert_close(found[2], by_loops(model, batch, direction, shared)[1])


def test_frozen_parameters_have_no_direction():
    model, batch = setting("mlp")
    model[0][0].requires_grad_(False)
    direction = random_direction(model[0], 1)
    assert [part.shape for part in direction] == [(5, 5), (5,)]
    found = forward(squared_errors, model, batch, direction, shared=model[0])
    expected = by_loops(model, batch, direction, parameters_of(model[0]))
    torch.testing.assert_close(found[2], expected[1])


def test_tied_parameters():
    model, batch = setting("mlp")
    model[0].append(model[0][2])
    direction = random_direction(model[0], 1)
    found = forward(squared_errors, model, batch, direction, shared=model[0])
    expected = by_loops(model, batch, direction, list(model[0].parameters()))
    torch.testing.assert_close(found[2], expected[1])


def test_dropout_draws_once_for_losses_and_derivatives():
    model, batch = setting("mlp")
    model[0].append(nn.Dropout(0.5))
    direction = random_direction(model[0], 1)
    torch.manual_seed(3)
    losses, _, derivatives = forward(squared_errors, model, batch, direction, shared=model[0])
    after = torch.get_rng_state()

    def moved(size):
        torch.manual_seed(3)
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for parameter, part in zip(twin[0].parameters(), direction, strict=True):
                parameter += size * part
            return squared_errors(twin, batch)[0]

    torch.testing.assert_close(losses, moved(0))
    assert torch.equal(torch.get_rng_state(), after)
    torch.testing.assert_close(
        derivatives, (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-7
    )


def test_kernels_are_as_before():
    model, batch = setting("lstm", dtype=torch.float32)
    direction = random_direction(model[0], 1)
    attention = [
        torch.backends.cuda.flash_sdp_enabled,
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.math_sdp_enabled,
    ]
    seen = []

    def look(model, batch):
        seen.append((torch.backends.mkldnn.enabled, [enabled() for enabled in attention]))
        return squared_errors(model, batch)

    look(model, batch)
    forward(look, model, batch, direction, shared=model[0], check=False)
    look(model, batch)
    before, during, after = seen
    assert during == (False, [False, False, True])
    assert before == after
    with pytest.raises(ZeroDivisionError):
        forward(lambda *_: 1 / 0, model, batch, direction, shared=model[0])
    look(model, batch)
    assert seen[-1] == before


def test_compiled_module():
    torch.compiler.reset()
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)
    expected = by_loops(model, batch, direction, list(model[0].parameters()))[1]
    compiled = torch.compile(model, backend="aot_eager")
    found = forward(squared_errors, compiled, batch, direction, shared=model[0])
    torch.testing.assert_close(found[2], expected)
    found[0].sum().backward()
    assert model[0][0].weight.grad.any()


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs):
        return 2 * inputs

    @staticmethod
    def backward(context, gradient):
        return 2 * gradient


def sampled(outputs):
    image = outputs[:, None, None, :]
    grid = torch.zeros(len(outputs), 1, outputs.shape[1], 2, dtype=outputs.dtype)
    return nn.functional.grid_sample(image, grid, align_corners=False).flatten(1)


@pytest.mark.parametrize(
    ("operation", "name"), [(sampled, "grid_sampler_2d"), (OwnFunction.apply, "OwnFunction")]
)
def test_operator_without_formula_is_named(operation, name):
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)

    def losses(model, batch):
        return operation(model(batch[0])) ** 2, None

    with pytest.raises(NotImplementedError, match=f"{name} has no forward-mode formula"):
        forward(losses, model, batch, direction, shared=model[0])
    losses(model, batch)[0].sum().backward()  # the model is as it was


def test_what_else_is_not_implemented_stays_as_it_is():
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)

    def losses(model, batch):
        raise NotImplementedError("later")

    with pytest.raises(NotImplementedError, match=r"^later$"):
        forward(losses, model, batch, direction, shared=model[0])


@pytest.mark.parametrize(
    "lost",
    [
        lambda model, inputs: model[1](model[0](inputs).detach()),
        lambda model, inputs: torch.ones(len(inputs), 3, requires_grad=True),
    ],
    ids=["detached", "elsewhere"],
)
def test_missing_derivative(lost):
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)
    with pytest.raises(ValueError, match="no loss depends on a shared parameter"):
        forward(
            lambda model, batch: (lost(model, batch[0]), None),
            model,
            batch,
            direction,
            shared=model[0],
        )


def test_derivatives_that_are_all_zero():
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)

    def losses(model, batch):
        return torch.relu(-1 - model(batch[0]) ** 2), None

    arguments = (losses, model, batch, direction)
    with pytest.raises(ValueError, match="the derivatives of all losses along the direction are 0"):
        forward(*arguments, shared=model[0])
    assert not forward(*arguments, shared=model[0], check=False)[2].any()


def test_batch_without_labels_has_nothing_to_check():
    model, (inputs, targets, _) = setting("mlp")
    direction = random_direction(model[0], 1)
    for batch in ((inputs, targets, torch.zeros(4, 3) > 0), (inputs[:0], targets[:0], None)):
        forward(squared_errors, model, batch, direction, shared=model[0])


def test_wrong_direction_and_shared():
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)
    with pytest.raises(ValueError, match="direction must have the shapes of the 4 shared"):
        forward(squared_errors, model, batch, direction[:3], shared=model[0])
    other = nn.Linear(2, 2)
    arguments = (squared_errors, model, batch, random_direction(other, 1))
    with pytest.raises(ValueError, match="no loss depends on a shared parameter"):
        forward(*arguments, shared=other.parameters())
    with pytest.raises(ValueError, match="none of the model's"):
        forward(*arguments, shared=other.parameters(), check=False)


def test_square_of_a_random_derivative_is_the_squared_norm_on_average():
    model, batch = setting("mlp")
    squares = []
    for number in range(2000):
        _, mask, derivatives = forward(
            squared_errors,
            model,
            batch,
            random_direction(model[0], 0, number),
            shared=model[0],
        )
        squares.append(task_losses(derivatives, mask)[0].square())
    norms = gradient_norms(task_losses(*squared_errors(model, batch))[0], model[0])
    mean = torch.stack(squares).mean(0)
    # The variance of the square is twice its squared mean.
    error = (mean / norms**2 - 1) / (2 / 2000) ** 0.5
    assert (error.abs() < 3.5).all()


def test_random_direction_is_a_function_of_its_key():
    shared = nn.Linear(50, 40)
    state = torch.get_rng_state()
    one, again, other = (random_direction(shared, 0, number) for number in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, one, again))
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(random_direction(shared, 1, 0)[0], random_direction(shared, 0, 1)[0])
    assert one[0].mean().abs() < 0.1
    assert one[0].var() == pytest.approx(1, abs=0.1)
    assert torch.corrcoef(torch.stack([one[0].flatten(), other[0].flatten()]))[0, 1].abs() < 0.1
    assert random_direction(shared.bfloat16(), 0)[0].dtype == torch.bfloat16


def test_checkpointed_activations_have_derivatives_and_no_backward_pass():
    model, batch = setting("mlp")
    direction = random_direction(model[0], 1)

    def losses(model, batch):
        inputs, targets, mask = batch
        outputs = torch.utils.checkpoint.checkpoint(model, inputs, use_reentrant=False)
        return (outputs - targets) ** 2, mask

    found = forward(losses, model, batch, direction, shared=model[0], check=False)
    expected = by_loops(model, batch, direction, list(model[0].parameters()))
    torch.testing.assert_close(found[2], expected[1])
    with pytest.raises(torch.utils.checkpoint.CheckpointError):
        found[0].sum().backward()
    with pytest.raises(ValueError, match="checkpoint cannot go back through a pass of the engine"):
        forward(losses, model, batch, direction, shared=model[0])
