"""What every weighting of samples does, whatever its weights."""

import pytest
import torch
from settings import setting, squared_errors
from torch import nn
from torch.nn.functional import one_hot

import equipoise
from equipoise import Step, sample
from equipoise.sample.heldout import HeldOutWeighting
from equipoise.testing import saved_and_loaded, tolerance

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
def test_missing_labels_weigh_nothing(method):
    model, _ = setting("mlp")
    weighting = made(method, model)
    for batch, held_out in batches(3):
        mask = batch[2]
        call(weighting, batch, held_out)
        weights = weighting.weights
        assert weights.shape == weighting.alignments.shape == (12, 3)
        assert (weights >= 0).all()
        assert not weights[~mask].any()
        assert not weighting.alignments[~mask].any()
        torch.testing.assert_close(weighting.task_weights, weights.sum(0))
        torch.testing.assert_close(weighting.sample_weights, weights.sum(1))
        assert all(parameter.grad is None for parameter in model.parameters())


@every_method
def test_weights_sum_to_the_number_of_tasks_at_most(method):
    """Of equal ones the sum is that; OLAUX learns larger ones."""
    model, _ = setting("mlp")
    weighting = made(method, model)
    sums = []
    for batch, held_out in batches(5):
        call(weighting, batch, held_out)
        sums.append(weighting.weights.sum().item())
    assert max(sums) > 1
    if method is not equipoise.OLAUX:
        assert max(sums) <= 3 * (1 + tolerance(torch.float32, 36)["rtol"])


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
    assert weighting.tasks == ()
    ((batch, held_out),) = batches(1)
    call(weighting, batch, held_out)
    assert weighting.tasks == NAMES
    assert weighting.main == "b"
    # The heads are one matrix here, which all tasks reach, each its own entries.
    named = method(losses, model, main="b", tasks=NAMES, shared=model[0])
    call(named, batch, held_out)
    close = tolerance(torch.float32, 1000)
    torch.testing.assert_close(weighting.weights, named.weights, **close)


@every_method
@pytest.mark.parametrize("shared", ["all", "border"])
@pytest.mark.parametrize("lacking", ["main", "others"])
def test_shared_parameters_are_looked_for_until_a_batch_tells(method, shared, lacking):
    """Until then weights are uniform."""
    model, _ = setting("mlp")
    weighting = made(method, model, shared=shared)
    batch, held_out = batches(1)[0]
    without = batch[2].clone()
    without[:, [0] if lacking == "main" else [1, 2]] = False
    for _ in range(2):
        call(weighting, (*batch[:2], without), held_out)
        uniform = without / without.sum(0).clamp(min=1)
        torch.testing.assert_close(weighting.weights, uniform, **tolerance(torch.float32))
    call(weighting, batch, held_out)
    again = made(method, model, shared=shared)
    again.load_state_dict(made(method, model, shared=shared).state_dict())
    call(again, batch, held_out)
    if method is not equipoise.OLAUX:  # which counts steps
        assert torch.equal(weighting.weights, again.weights)
    assert weighting.alignments.any()


@every_method
def test_first_batch_without_a_task(method):
    """Its name is not known then, which is said when it comes, unless the names are given."""
    model, _ = setting("mlp")
    lacking = []

    def losses(model, batch):
        values, _ = squared_errors(model, batch)
        return {
            name: column
            for name, column in zip(NAMES, values.T, strict=True)
            if name not in lacking
        }

    for tasks in (None, NAMES):
        weighting = method(losses, model, main="a", shared=model[0], tasks=tasks)
        (first, second) = batches(2)
        lacking[:] = ["b"]
        call(weighting, *first)
        lacking.clear()
        if tasks is None:
            with pytest.raises(ValueError, match=r"no task 'b': .* name them all: tasks=\[…\]"):
                call(weighting, *second)
        else:
            call(weighting, *second)
            assert weighting.weights.shape == (12, 3)
    lacking[:] = ["a"]
    with pytest.raises(ValueError, match=r"main: there is no task 'a': .* all tasks: tasks=\[…\]"):
        call(method(losses, model, main="a", shared=model[0]), *first)


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


@every_method
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_state_brings_the_names_to_a_weighting_that_has_none(method, steps):
    model, _ = setting("mlp")

    def losses(model, batch):
        return FORMS["mappings"](*squared_errors(model, batch))

    options = {"main": "a", "shared": model[0]}
    interrupted = method(losses, model, tasks=NAMES, **options)
    for batch, held_out in batches(steps):
        call(interrupted, batch, held_out)
    resumed = method(losses, model, **options)
    resumed.load_state_dict(saved_and_loaded(interrupted.state_dict()))
    assert resumed.tasks == NAMES

    for batch, held_out in batches(10)[5:]:
        expected = call(interrupted, batch, held_out)
        assert torch.equal(call(resumed, batch, held_out), expected)
        assert torch.equal(resumed.weights, interrupted.weights)


@every_method
def test_state_of_another_main_task_is_refused(method):
    model, _ = setting("mlp")
    with pytest.raises(ValueError, match="this state is for the main task b, not a"):
        made(method, model).load_state_dict(made(method, model, main="b").state_dict())


@pytest.mark.parametrize("method", [equipoise.SLGate, equipoise.SLAW])
def test_state_of_another_method_is_refused(method):
    """All that SLGate and SLGrad keep has the same names and shapes."""
    model, _ = setting("mlp")
    slgrad = made(equipoise.SLGrad, model)
    other = method(NAMES) if method is equipoise.SLAW else made(method, model)
    with pytest.raises(ValueError, match=f"this state is of {method.__name__}, not of SLGrad"):
        slgrad.load_state_dict(other.state_dict())


# Speed: what a step may not do


@every_method
def test_step_reads_nothing_from_the_device(method):
    model, _ = setting("mlp", dtype=torch.float32)
    model.to("meta")
    weighting = made(method, model, engine="forward")
    # The first step looks whether anything is lost, and whether the batches are one.
    weighting._checked = True
    if method in HELD_OUT:
        weighting._kept = [torch.zeros_like(each) for each in model[0].parameters()]
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
    function = Step(losses, model, batch, held_out)
    weighting.weigh(function)  # the first looks for the engine
    seen.clear()
    weighting.weigh(Step(losses, model, batch, held_out))
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
        (lambda losses: (losses, torch.ones(12)), "mask must be boolean"),
        (
            lambda losses: {"a": losses[:, 0].mean()},
            r"loss of task 'a' must be a tensor \(samples,\)",
        ),
        (lambda losses: {"a": losses[:, 0], "B": losses[:, 1]}, "no task 'B'"),
        (lambda losses: {"a": losses[:, 0], "b": losses[:5, 1]}, "a loss for each sample"),
        (lambda losses: {}, "there are no losses"),
        (lambda losses: losses.detach(), "no graph|no loss depends"),
        (lambda losses: one_hot(torch.ones(12, dtype=int), 3), "must be a floating tensor"),
    ],
)
def test_wrong_losses(method, losses, message):
    model, _ = setting("mlp")
    weighting = made(method, model)
    weighting._of = (lambda model, batch: losses(squared_errors(model, batch)[0]), model)
    ((batch, held_out),) = batches(1)
    with pytest.raises((ValueError, TypeError), match=message):
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


@held_out_method
def test_held_out_batch_without_a_label_of_the_main_task(method):
    """At first that is an error; later it leaves the direction what it was, and is said once."""
    model, _ = setting("mlp")
    (batch, held_out), (_, other) = batches(2)
    without = held_out[2].clone()
    without[:, 0] = False
    unlabelled = (*held_out[:2], without)
    with pytest.raises(ValueError, match="the held-out batch has no label of task 'a'"):
        made(method, model)(batch, unlabelled)

    weighting, again = made(method, model), made(method, model)
    for each in (weighting, again):
        each(batch, held_out)
    with pytest.warns(UserWarning, match="no label of task 'a': the direction stays"):
        weighting(batch, unlabelled)
    weighting(batch, unlabelled)  # in silence: a warning is an error here
    again(batch, held_out)
    assert torch.equal(weighting.alignments, again.alignments)
    # With a label there is a new one.
    for each in (weighting, again):
        each(batch, other)
    assert torch.equal(weighting.alignments, again.alignments)
    again(batch, held_out)
    assert not torch.equal(weighting.alignments, again.alignments)


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
    call(weighting, batch, held_out)
    before = saved_and_loaded(weighting.state_dict())
    with torch.no_grad():
        looked = call(weighting, batch, held_out)
    assert torch.equal(looked, weighting.eval()(batch))
    assert not looked.requires_grad
    after = weighting.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


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
