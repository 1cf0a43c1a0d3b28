"""What every weighting must do: a name added to ``equipoise.task.__all__`` is tested here too."""

import copy
import io
import pickle
from contextlib import contextmanager

import pytest
import torch
from tiny import (
    GRADIENT_METHODS,
    LOSS_METHODS,
    METHODS,
    PROBING_METHODS,
    Tiny,
    by_name,
    call,
    copied_state,
    run,
    same_state,
)
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from equipoise.step import Step

NAMES = ("a", "b", "c")
INITIAL = (1.0, 2.0, 0.5)

every_method = pytest.mark.parametrize("method", METHODS)


def trained(method, steps=5, **options):
    weighting = method(NAMES, initial=INITIAL, **options)
    if steps:
        run(weighting, range(steps))
    return weighting


def test_every_weighting_is_of_one_kind():
    kinds = [*LOSS_METHODS, *GRADIENT_METHODS, *PROBING_METHODS]
    assert sorted(kinds, key=id) == sorted(METHODS, key=id)


# Value and gradient


@every_method
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_gradient_is_that_of_the_weighted_sum(method, steps):
    weighting, network = trained(method, steps), Tiny()
    losses = network.losses(steps)
    total = call(weighting, losses, network=network)

    parameters = list(network.parameters())
    found = torch.autograd.grad(total, parameters, retain_graph=True)
    each = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    for index, gradient in enumerate(found):
        parts = zip(weighting.weights.tolist(), each, strict=True)
        torch.testing.assert_close(gradient, sum(weight * part[index] for weight, part in parts))


@every_method
def test_step_is_the_call_with_its_losses_and_counts(method):
    network = Tiny()
    mask = torch.tensor([[True, True, True], [False, True, True], [False, False, True]])
    step = Step(
        lambda model, time: (model.sample_losses(time, samples=3), mask),
        network,
        7,
        network.trunk.parameters(),
    )
    samples = network.sample_losses(7, samples=3)
    by_hand = torch.stack([samples[:1, 0].mean(), samples[:2, 1].mean(), samples[:, 2].mean()])

    total = trained(method).weigh(step)

    torch.testing.assert_close(total, call(trained(method), by_hand, network=network))


@every_method
def test_two_calls_before_one_backward(method):
    network = Tiny()
    one_by_one, together = trained(method), trained(method)

    network.zero_grad()
    for time in (5, 6):
        call(one_by_one, network.losses(time), network=network).backward()
    expected = network.trunk.weight.grad.clone()

    network.zero_grad()
    totals = [call(together, network.losses(time), network=network) for time in (5, 6)]
    sum(totals).backward()
    torch.testing.assert_close(network.trunk.weight.grad, expected)


# Names and order


@every_method
def test_weights_by_task(method):
    weighting = trained(method)
    assert weighting.tasks == NAMES
    assert weighting.weights_by_task() == dict(zip(NAMES, weighting.weights.tolist(), strict=True))


@every_method
def test_mapping_in_any_order_is_the_tensor_in_the_order_of_the_tasks(method):
    expected = run(trained(method, 0), range(5))

    weighting = trained(method, 0)
    found = run(
        weighting,
        range(5),
        edit=lambda losses, _: (dict(reversed(by_name(weighting, losses).items())), None),
    )

    assert torch.equal(found, expected)


@every_method
def test_permuted_tasks_have_permuted_weights(method):
    order = [2, 0, 1]
    permuted = method([NAMES[i] for i in order], initial=[INITIAL[i] for i in order])
    found = run(permuted, range(6), edit=lambda losses, _: (losses[order], None))
    torch.testing.assert_close(found, run(trained(method, 0), range(6))[:, order])


# Absent tasks

ABSENT = torch.tensor([False, True, False])
MISSING = {
    "key": lambda weighting, losses: (by_name(weighting, losses, absent="b"), None),
    "none": lambda weighting, losses: (by_name(weighting, losses, absent="b") | {"b": None}, None),
    "mask": lambda weighting, losses: (losses.masked_fill(ABSENT, torch.nan), ~ABSENT),
    "key, with counts": lambda weighting, losses: (
        by_name(weighting, losses, absent="b"),
        torch.full_like(losses, 2),
    ),
    "counts": lambda weighting, losses: (losses.masked_fill(ABSENT, torch.inf), 1 - 1 * ABSENT),
}


@every_method
@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test_absent_task(method, missing):
    weighting, network = trained(method), Tiny()
    losses = network.losses(5)
    before = copied_state(weighting)
    total = call(weighting, *missing(weighting, losses), network=network)

    # It contributes nothing to the value: the total is what the method says of zero.
    other = trained(method)
    assert total == call(other, losses * ~ABSENT, ~ABSENT, network=network)
    assert total.isfinite()
    # Nor to the gradient, although its weight is not 0.
    gradient = torch.autograd.grad(total, losses)[0]
    torch.testing.assert_close(gradient, weighting.weights * ~ABSENT)
    assert weighting.weights[1] > 0
    # What is known of it stays as it was.
    for name, value in weighting.state_dict().items():
        if value.shape == (3,) and name not in ("_weights", "_extra_state"):
            assert torch.equal(value[1], before[name][1]), name


@every_method
@pytest.mark.parametrize("absent", [{}, dict.fromkeys(NAMES)], ids=["empty", "none"])
def test_step_without_any_task(method, absent):
    weighting, network = trained(method), Tiny()
    before = copied_state(weighting)
    total = call(weighting, absent, network=network)
    total.backward()
    assert total == 0
    after = copied_state(weighting)
    if method in PROBING_METHODS:  # the host counts the steps, and knows of no labels
        del before["_extra_state"], after["_extra_state"]
    assert same_state(after, before)


# Losses that are not finite


@every_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("first", [0, 3])
def test_nonfinite_loss_shows_and_leaves_no_trace(method, bad, first):
    network = Tiny()
    weighting, without = trained(method, 0), trained(method, 0)
    times = (first, first + 2)

    def spoil(losses, time):
        return torch.where(ABSENT, losses + bad, losses) if time in times else losses, None

    def remove(losses, time):
        return losses, ~ABSENT if time in times else None

    spoilt = run(weighting, range(8), edit=spoil)
    assert torch.equal(spoilt, run(without, range(8), edit=remove))
    assert spoilt.isfinite().all()
    total = call(weighting, *spoil(network.losses(first), first), network=network)
    assert not total.isfinite()


@every_method
def test_nonfinite_loss_is_named_where_asked(method):
    weighting = trained(method, nonfinite="raise")
    before = copied_state(weighting)
    losses, network = Tiny().losses(5), Tiny()
    with pytest.raises(FloatingPointError, match="loss of task 'b' is nan"):
        call(weighting, torch.where(ABSENT, torch.nan, losses), network=network)
    assert same_state(weighting.state_dict(), before)


# Sizes and dtypes


@every_method
@pytest.mark.parametrize("tasks", [1, 1000])
def test_number_of_tasks(method, tasks):
    weighting, network = method(tasks), Tiny(tasks)
    weights = run(weighting, range(3), network=network)
    total = call(weighting, network.losses(3), network=network)
    assert weights.shape == (3, tasks)
    assert weights.isfinite().all()
    assert total.isfinite()


@every_method
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 0.02), (torch.bfloat16, 0.1), (torch.float64, 1e-5)],
    ids=str,
)
def test_dtype_of_losses(method, dtype, tolerance):
    weighting, network = trained(method, 0), Tiny()
    weights = run(weighting, range(12), edit=lambda losses, _: (losses.to(dtype), None))
    total = call(weighting, network.losses(12).to(dtype), network=network)

    assert weights.dtype == torch.float32
    assert total.dtype == torch.promote_types(dtype, torch.float32)
    assert total.isfinite()
    expected = run(trained(method, 0), range(12))
    torch.testing.assert_close(weights[-1], expected[-1], rtol=tolerance, atol=0)


@every_method
@pytest.mark.parametrize(
    ("cast", "state"),
    [("half", torch.float32), ("bfloat16", torch.float32), ("double", torch.float64)],
)
def test_cast_of_a_parent(method, cast, state):
    weighting = trained(method)
    before = weighting.weights
    parent = getattr(nn.ModuleDict({"weighting": weighting}), cast)()

    tensors = [*parent.parameters(), *parent.buffers()]
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {state}
    torch.testing.assert_close(weighting.weights, before.to(state), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        run(weighting, range(5, 8)), run(trained(method), range(5, 8)).to(state)
    )


# State


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_method
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("through", [copy.deepcopy, saved_and_loaded])
def test_state_continues_bit_for_bit_in_a_new_object(method, steps, through):
    interrupted = trained(method, steps)
    resumed = trained(method, 0)
    resumed.load_state_dict(through(interrupted.state_dict()))

    assert torch.equal(resumed.weights, interrupted.weights)
    times = range(steps, steps + 4)
    assert torch.equal(run(resumed, times), run(interrupted, times))


@every_method
@pytest.mark.parametrize("names", [("a", "b", "d"), ("b", "a", "c"), ("a", "b")])
def test_state_of_other_tasks_is_refused(method, names):
    weighting = trained(method)
    before = copied_state(weighting)
    with pytest.raises((ValueError, RuntimeError)) as error:
        weighting.load_state_dict(method(names).state_dict())
    assert str(list(names)) in str(error.value)
    assert str(list(NAMES)) in str(error.value)
    assert same_state(weighting.state_dict(), before)


@every_method
def test_state_is_restored_whatever_the_names(method):
    names = ["two\nlines", "π"]
    fresh = method(names)
    fresh.load_state_dict(method(names, initial=[1.5, 0.5]).state_dict())
    assert fresh.weights.tolist() == pytest.approx([1.5, 0.5])


@every_method
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda weighting: pickle.loads(pickle.dumps(weighting))]
)
def test_copy_goes_its_own_way(method, copied):
    weighting = trained(method)
    twin = copied(weighting)
    expected = run(trained(method), range(5, 9))
    assert torch.equal(run(twin, range(5, 9)), expected)
    assert torch.equal(run(weighting, range(5, 9)), expected)


@every_method
def test_evaluation_uses_the_weights_and_changes_nothing(method):
    weighting, network = trained(method, 1).eval(), Tiny()
    before = copied_state(weighting)
    losses = network.losses(9)
    total = call(weighting, losses, network=network)
    gradient = torch.autograd.grad(total, losses)[0]
    torch.testing.assert_close(gradient, weighting.weights)
    assert same_state(weighting.state_dict(), before)


@every_method
def test_reset_is_as_new(method):
    weighting = trained(method)
    weighting.reset()
    new = trained(method, 0)
    assert same_state(weighting.state_dict(), new.state_dict())
    assert torch.equal(run(weighting, range(3)), run(new, range(3)))


# Speed: what a step may not do


# torch.compile itself looks at the .grad of the losses.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("method", LOSS_METHODS)
@pytest.mark.parametrize("form", ["tensor", "mapping", "mask"])
def test_compiles_once_into_the_same_weighting(method, form):
    torch.compiler.reset()

    def edit(losses, time):
        mask = torch.tensor([True, time % 2 == 0, True]) if form == "mask" else None
        return (by_name(weighting, losses) if form == "mapping" else losses), mask

    weighting = trained(method, 0)
    expected = run(weighting, range(6), edit=edit)

    counter = CompileCounterWithBackend("aot_eager")
    weighting = trained(method, 0)
    weighting.compile(fullgraph=True, backend=counter)
    found = run(weighting, range(2), edit=edit)
    compiled = counter.frame_count
    found = torch.cat([found, run(weighting, range(2, 6), edit=edit)])

    assert compiled > 0
    assert counter.frame_count == compiled
    torch.testing.assert_close(found, expected)


class NothingFromLists(TorchFunctionMode):
    """Refuses tensors made of Python numbers, whose way to a device no dispatch mode sees."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)
        return function(*args, **(kwargs or {}))


class NothingOnTheHost(TorchDispatchMode):
    """Refuses tensors on the CPU but for single numbers, which travel with the kernel."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" and leaf.ndim:
                raise AssertionError(f"{function} has a tensor on the host")
        return result


@contextmanager
def no_transfer():
    """What reads from a device fails by itself on the meta device."""
    with NothingFromLists(), NothingOnTheHost():
        yield


@pytest.mark.parametrize(
    "reads",
    [
        lambda losses: losses.sum().item(),
        lambda losses: bool(losses.sum() > 0),
        lambda losses: losses + losses.new_tensor([1.0, 2.0, 3.0]),
        lambda losses: losses.cpu(),
        lambda losses: losses[losses > 0],
    ],
)
def test_host_transfers_are_noticed(reads):
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)), no_transfer():
        reads(torch.ones(3, device="meta"))


@every_method
@pytest.mark.parametrize("missing", [None, *MISSING], ids=str)
def test_step_stays_on_the_device(method, missing):
    weighting, network = trained(method).to("meta"), Tiny().to("meta")
    losses, mask = network.losses(0), None
    if missing == "counts" or missing == "mask":
        mask = torch.ones(3, device="meta", dtype=torch.int64 if missing == "counts" else bool)
    elif missing:
        losses, mask = MISSING[missing](weighting, losses)
    with no_transfer():
        for _ in range(2):
            call(weighting, losses, mask, network=network).backward(retain_graph=True)
    assert weighting.weights.is_meta


# Wrong input


@every_method
@pytest.mark.parametrize(
    ("losses", "mask", "message"),
    [
        (torch.ones(2), None, r"losses must be \(3,\)"),
        (torch.ones(3, 1), None, r"losses must be \(3,\)"),
        (torch.ones(3, dtype=torch.int64), None, "losses must be a floating tensor"),
        ([1.0, 1.0, 1.0], None, "losses must be a floating tensor or a mapping, found list"),
        (torch.ones(3), torch.ones(2), r"mask must be a tensor \(3,\)"),
        (torch.ones(3), [True, False, True], r"mask must be a tensor \(3,\), found \[True"),
        ({"a": torch.ones(()), "B": torch.ones(())}, None, "no task 'B'"),
        ({"a": 1.0}, None, "loss of task 'a' must be a tensor, found float"),
    ],
)
def test_wrong_losses(method, losses, mask, message):
    weighting = method(NAMES)
    before = copied_state(weighting)
    with pytest.raises((TypeError, ValueError), match=message):
        call(weighting, losses, mask, network=Tiny())
    assert same_state(weighting.state_dict(), before)


@every_method
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": [1.0, 2.0]}, r"initial must be \(3,\)"),
        ({"initial": [1.0, -1.0, 1.0]}, "initial"),
        ({"initial": [1.0, torch.nan, 1.0]}, "initial"),
        ({"initial": [0.0, 0.0, 0.0]}, "initial"),
        ({"initial": {"a": 1.0, "b": 1.0}}, "initial must name each task"),
        ({"initial": "equal"}, "initial"),
        ({"nonfinite": "ignore"}, "nonfinite must be"),
    ],
)
def test_wrong_options(method, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        method(NAMES, **options)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_shared_parameters_that_no_loss_reaches(method):
    with pytest.raises(ValueError, match="no loss depends on a shared parameter"):
        method(NAMES)(Tiny().losses(0), shared=nn.Linear(2, 2))
