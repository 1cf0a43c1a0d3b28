"""What every weighting of samples does, whatever its weights."""

import copy
import io

import pytest
import torch
from settings import setting, squared_errors
from torch import nn
from torch.nn.functional import one_hot

import equipoise
from equipoise import Step, sample
from equipoise.sample.heldout import HeldOutWeighting

METHODS = [getattr(sample, name) for name in sample.__all__]
HELD_OUT = [method for method in METHODS if issubclass(method, HeldOutWeighting)]
NAMES = ("a", "b", "c")

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
held_out_method = pytest.mark.parametrize("method", HELD_OUT, ids=lambda method: method.__name__)


def batches(number, samples=12, tasks=3, dtype=torch.float64):
    """Pairs of a batch and a held-out batch; labels are missing, of the main task (a) too."""
    found = []
    for seed in range(number):
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for size in (samples, 7):
            inputs = torch.randn(size, 4, generator=generator, dtype=dtype)
            targets = torch.randn(size, tasks, generator=generator, dtype=dtype)
            mask = torch.rand(size, tasks, generator=generator) < 0.8
            mask[0] = True
            parts.append((inputs, targets, mask))
        found.append(parts)
    return found


def made(method, model, **options):
    options = {"main": "a", "shared": model[0], "tasks": NAMES} | options
    return method(squared_errors, model, **options)


def call(weighting, batch, held_out):
    return (
        weighting(batch, held_out) if isinstance(weighting, HeldOutWeighting) else weighting(batch)
    )


@every_method
def test_the_scalar_is_the_weighted_sum_and_the_weights_are_constants(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    for batch, held_out in batches(3):
        losses, mask = squared_errors(model, batch)
        total = call(weighting, batch, held_out)

        weights = weighting.weights
        assert weights.shape == weighting.alignments.shape == (12, 3)
        assert not weights.requires_grad
        assert (weights >= 0).all()
        assert not weights[~mask].any()
        torch.testing.assert_close(total, (weights * losses).sum())
        torch.testing.assert_close(weighting.task_weights, weights.sum(0))
        torch.testing.assert_close(weighting.sample_weights, weights.sum(1))
        found = torch.autograd.grad(total, list(model.parameters()))
        expected = torch.autograd.grad((weights * losses).sum(), list(model.parameters()))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
        assert all(parameter.grad is None for parameter in model.parameters())


@every_method
def test_weights_sum_to_one_at_most(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    for batch, held_out in batches(5):
        call(weighting, batch, held_out)
        if method is not equipoise.OLAUX:
            assert weighting.weights.sum() <= 1 + 1e-6


FORMS = {
    "tensor": lambda losses, mask: (losses, mask),
    "mappings": lambda losses, mask: (
        dict(zip(NAMES, losses.T, strict=True)),
        dict(zip(NAMES, mask.T, strict=True)),
    ),
    "mapping in another order": lambda losses, mask: (
        {name: losses[:, NAMES.index(name)] for name in "cab"},
        {name: mask[:, NAMES.index(name)] for name in "bca"},
    ),
}


@every_method
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("main", ["a", 0])
def test_forms_of_losses(method, form, main):
    model, _ = setting("mlp")
    expected = made(method, model)
    weighting = method(
        lambda model, batch: form(*squared_errors(model, batch)),
        model,
        main=main,
        shared=model[0],
        tasks=NAMES,
    )
    for batch, held_out in batches(2):
        total = call(weighting, batch, held_out)
        assert torch.equal(total, call(expected, batch, held_out))
        assert torch.equal(weighting.weights, expected.weights)


@every_method
def test_names_and_shared_parameters_are_found(method):
    model, _ = setting("mlp")

    def losses(model, batch):
        inputs, targets, _ = batch
        features = model[0](inputs)
        heads = zip(model[1].weight, model[1].bias, targets.T, strict=True)
        return {
            name: (features @ weight + bias - target) ** 2
            for name, (weight, bias, target) in zip(NAMES, heads, strict=True)
        }

    weighting = method(losses, model, main="b")
    assert weighting.tasks is None
    ((batch, held_out),) = batches(1)
    call(weighting, batch, held_out)
    assert weighting.tasks == NAMES
    assert weighting.main == "b"
    # The heads are one matrix here, which all tasks reach.
    named = method(losses, model, main="b", tasks=NAMES, shared=model)
    call(named, batch, held_out)
    torch.testing.assert_close(weighting.weights, named.weights)


@every_method
def test_a_task_without_any_label(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    for batch, held_out in batches(3):
        batch[2][:, 1] = False
        batch[1][:, 1] = 1e6
        total = call(weighting, batch, held_out)
        assert total < 1e6
        assert not weighting.weights[:, 1].any()


@every_method
@pytest.mark.parametrize(
    ("samples", "tasks"), [(1, 3), (5, 1), (2, 200)], ids=["sample", "task", "many"]
)
def test_numbers_of_samples_and_tasks(method, samples, tasks):
    model, _ = setting("mlp", tasks=tasks)
    weighting = made(method, model, main=0, tasks=tasks)
    ((batch, held_out),) = batches(1, samples, tasks)
    assert call(weighting, batch, held_out).isfinite()
    assert weighting.weights.shape == (samples, tasks)


@every_method
def test_batches_of_different_sizes(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    for samples in (12, 5, 12):
        ((batch, held_out),) = batches(1, samples)
        call(weighting, batch, held_out)
        assert weighting.weights.shape == (samples, 3)


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_mixed_precision(method, dtype):
    model, _ = setting("mlp", dtype=torch.float32)
    weighting = made(method, model)
    ((batch, held_out),) = batches(1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        total = call(weighting, batch, held_out)
    assert total.dtype == weighting.weights.dtype == torch.float32
    total.backward()
    assert model[0][0].weight.grad.isfinite().all()


@every_method
def test_buffers_are_updated_once_and_random_numbers_drawn_once_for_the_losses(method):
    model, _ = setting("batchnorm", samples=12)
    twin = copy.deepcopy(model)
    inputs, targets = torch.randn(12, 2, 6, 6, dtype=torch.float64), torch.randn(12, 3).double()
    weighting = made(method, model, shared=None)
    call(weighting, (inputs, targets, None), (inputs[:7] + 1, targets[:7], None))
    twin(inputs)
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other)


# Losses that are not finite


@every_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_loss_shows_and_is_forgotten(method, bad):
    model, _ = setting("mlp")
    weighting = made(method, model)
    (batch, held_out), second = batches(2)
    call(weighting, batch, held_out)
    before = weighting.task_weights
    spoilt = (batch[0], batch[1].clone(), batch[2])
    spoilt[1][0, 1] = bad
    assert not call(weighting, spoilt, held_out).isfinite()
    assert weighting.task_weights.isfinite().all()
    if not weighting.weights.isfinite().all():
        assert torch.equal(weighting.task_weights, before)
    assert call(weighting, *second).isfinite()


@held_out_method
def test_a_bad_held_out_loss_shows(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    ((batch, held_out),) = batches(1)
    spoilt = (held_out[0], held_out[1] * torch.nan, held_out[2])
    call(weighting, batch, held_out)
    assert call(weighting, batch, spoilt).isnan()
    assert weighting.task_weights.isfinite().all()


# State


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_method
@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("named", [True, False])
def test_state_continues_bit_for_bit_in_a_new_object(method, steps, named):
    model, _ = setting("mlp")
    options = {"every": 3} if method in HELD_OUT else {}
    interrupted = made(method, model, **options)
    for batch, held_out in batches(steps):
        call(interrupted, batch, held_out)
    resumed = made(method, model, **options, **({} if named else {"tasks": None}))
    if not named:
        resumed._of = (lambda *of: tuple(FORMS["mappings"](*squared_errors(*of))), model)
    resumed.load_state_dict(saved_and_loaded(interrupted.state_dict()))

    for batch, held_out in batches(10)[5:]:
        expected = call(interrupted, batch, held_out)
        assert torch.equal(call(resumed, batch, held_out), expected)
        assert torch.equal(resumed.weights, interrupted.weights)


@every_method
@pytest.mark.parametrize(
    "other", [{"tasks": ("a", "c", "b")}, {"main": "b"}, {"tasks": ("a", "b", "d")}]
)
def test_state_of_other_tasks_is_refused(method, other):
    model, _ = setting("mlp")
    with pytest.raises((ValueError, RuntimeError), match="this state is for the tasks"):
        made(method, model).load_state_dict(made(method, model, **other).state_dict())


@every_method
def test_the_model_is_no_part_of_the_weighting(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    assert list(weighting.modules()) == [weighting]
    assert list(weighting.parameters()) == []
    assert set(weighting.state_dict()) == {"_extra_state"}


@every_method
def test_evaluation_weighs_by_the_last_task_weights_and_changes_nothing(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    first, second = batches(2)
    call(weighting, *first)
    expected = weighting.task_weights
    before = saved_and_loaded(weighting.state_dict())
    weighting.eval()
    total = weighting(second[0])
    losses, _ = equipoise.task_losses(*squared_errors(model, second[0]))
    torch.testing.assert_close(total, (expected * losses).sum())
    after = weighting.state_dict()
    assert str(after) == str(before)


@every_method
def test_reset_is_as_new(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    expected = []
    for _ in range(2):
        found = []
        for batch, held_out in batches(4):
            call(weighting, batch, held_out)
            found.append(weighting.weights)
        expected.append(torch.stack(found))
        weighting.reset()
    assert torch.equal(*expected)


# Speed: what a step may not do


@every_method
def test_step_reads_nothing_from_the_device(method):
    model, _ = setting("mlp", dtype=torch.float32)
    model.to("meta")
    weighting = made(method, model, engine="forward")
    weighting.steps = 1  # the first step looks whether anything is lost
    batch = (torch.ones(5, 4, device="meta"), torch.ones(5, 3, device="meta"), None)
    for _ in range(2):
        total = call(weighting, batch, batch)
        total.backward()
    assert weighting.weights.is_meta


@every_method
def test_one_forward_pass_in_the_mode_of_the_step(method):
    model, _ = setting("mlp")
    seen = []

    def losses(model, batch):
        seen.append(len(batch[0]))
        return squared_errors(model, batch)

    weighting = made(method, model)
    ((batch, held_out),) = batches(1)
    function = Step(losses, model, batch, model[0].parameters(), held_out)
    weighting.weigh(function)  # the first looks for the engine
    seen.clear()
    weighting.weigh(Step(losses, model, batch, model[0].parameters(), held_out))
    assert sorted(seen) == sorted([12, 7 if method in HELD_OUT else 12])


# Wrong input


@every_method
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"main": "A"}, ValueError, "there is no task 'A': did you mean|main: there is no task"),
        ({"main": 3}, ValueError, "main must be below the number of tasks, 3"),
        ({"main": True}, ValueError, "no task True"),
        ({"engine": "jvp"}, ValueError, "engine must be one of auto, forward"),
        ({"shared": []}, ValueError, "shared holds no parameter"),
        ({"tasks": ["a", "a"]}, ValueError, "occur twice"),
    ],
)
def test_wrong_options(method, options, error, message):
    model, _ = setting("mlp")
    with pytest.raises(error, match=message):
        made(method, model, **options)


@every_method
def test_model_that_is_none(method):
    with pytest.raises(TypeError, match="model must be a module, found str"):
        method(squared_errors, "model", main=0)


@every_method
@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (lambda losses: losses.mean(0), r"take no mean over the samples"),
        (lambda losses: losses[:, :2], r"losses must be \(samples, 3\)"),
        (lambda losses: (losses, losses > losses), None),
        (lambda losses: (losses, torch.ones(12)), "mask must be boolean"),
        (lambda losses: {"a": losses[:, 0].mean()}, r"losses of task 'a' must be .*\(samples,\)"),
        (lambda losses: {"a": losses[:, 0], "B": losses[:, 1]}, "no task 'B'"),
        (lambda losses: {"a": losses[:, 0], "b": losses[:5, 1]}, "a loss for each sample"),
        (lambda losses: {}, "there are no losses"),
        (lambda losses: losses.detach(), "no graph|no loss depends"),
        (lambda losses: one_hot(torch.ones(12, dtype=int), 3), "must be floating"),
    ],
)
def test_wrong_losses(method, losses, message):
    model, _ = setting("mlp")
    weighting = made(method, model)
    weighting._of = (lambda model, batch: losses(squared_errors(model, batch)[0]), model)
    ((batch, held_out),) = batches(1)
    with pytest.raises((ValueError, TypeError), match=message or "no label"):
        call(weighting, batch, held_out)


@every_method
def test_losses_that_are_means_where_no_names_are_given(method):
    model, _ = setting("mlp")
    weighting = method(lambda *of: squared_errors(*of)[0].mean(0), model, main="a")
    ((batch, held_out),) = batches(1)
    with pytest.raises(ValueError, match="take no mean over the samples"):
        call(weighting, batch, held_out)


@held_out_method
def test_held_out_batch_is_needed(method):
    model, _ = setting("mlp")
    ((batch, _),) = batches(1)
    with pytest.raises(ValueError, match="a held-out batch is needed"):
        made(method, model)(batch)


@every_method
def test_held_out_batch_without_a_label_of_the_main_task(method):
    model, _ = setting("mlp")
    ((batch, held_out),) = batches(1)
    for part in (batch, held_out):
        part[2][:, 0] = False
    with pytest.raises(ValueError, match="has no label of task 'a'"):
        call(made(method, model), batch, held_out)


@held_out_method
def test_held_out_batch_that_is_the_training_batch(method):
    model, _ = setting("mlp")
    ((batch, _),) = batches(1)
    for held_out in (batch, tuple(part.clone() for part in batch)):
        with pytest.warns(UserWarning, match="the held-out batch is the training batch"):
            made(method, model)(batch, held_out)


@every_method
def test_step_without_gradients(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    ((batch, held_out),) = batches(1)
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"under no_grad\(\): call .eval\(\)"):
        call(weighting, batch, held_out)
    with torch.no_grad():
        assert not weighting.eval()(batch).requires_grad


@every_method
def test_compiled_model(method):
    torch.compiler.reset()
    model, _ = setting("mlp")
    expected = made(method, model)
    weighting = method(
        squared_errors,
        torch.compile(model, backend="aot_eager"),
        main="a",
        shared=model[0],
        tasks=NAMES,
    )
    for batch, held_out in batches(2):
        total = call(weighting, batch, held_out)
        torch.testing.assert_close(total, call(expected, batch, held_out))
        torch.testing.assert_close(weighting.weights, expected.weights)
    total.backward()
    assert model[0][0].weight.grad.any()


@every_method
def test_weights_before_the_first_step(method):
    weighting = method(squared_errors, nn.Linear(2, 2), main=0)
    with pytest.raises(RuntimeError, match="there are no weights yet"):
        _ = weighting.weights
    with pytest.raises(RuntimeError, match="the tasks are not known yet"):
        _ = weighting.task_weights
