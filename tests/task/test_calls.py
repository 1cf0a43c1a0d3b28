"""What a user's call may look like, and what is said where it is wrong."""

from contextlib import contextmanager

import pytest
import torch
from tiny import (
    CALLED,
    GRADIENT_METHODS,
    LOSS_METHODS,
    METHODS,
    Tiny,
    by_name,
    copied_state,
    made,
    run,
    same_state,
)
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import equipoise.losses
from equipoise import Constant, task_losses
from equipoise.testing import tolerance

NAMES = ("a", "b", "c")
INITIAL = (1.0, 2.0, 0.5)
PRESENT = torch.tensor([True, False, True])

every_method = pytest.mark.parametrize("method", CALLED)


def pair(method, steps=0, **options):
    """A network, and a weighting of it that has seen so many steps."""
    network = Tiny()
    weighting = made(method, network, initial=INITIAL, **options)
    if steps:
        run(weighting, network, range(steps))
    return network, weighting


# Forms

FORMS = {
    "mapping in another order": lambda losses: (dict(reversed(by_name(NAMES, losses).items())), {}),
    "counts": lambda losses: (losses, {"counts": torch.tensor([3, 1, 70000])}),
    "counts in floats": lambda losses: (losses, {"counts": torch.tensor([3.0, 0.5, 1.0])}),
    "mask": lambda losses: (losses, {"mask": torch.tensor([True] * 3)}),
    "mapping and mask by name": lambda losses: (
        by_name(NAMES, losses),
        {"mask": {"b": torch.tensor(True)}},
    ),
    "mapping, mask and counts": lambda losses: (
        by_name(NAMES, losses),
        {"mask": torch.tensor([True] * 3), "counts": torch.tensor([3, 1, 2])},
    ),
}


@every_method
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_other_forms_are_the_tensor_in_the_order_of_the_tasks(method, form):
    network, weighting = pair(method)
    twin_network, twin = pair(method)
    found = run(weighting, network, range(5), lambda losses, _: form(losses))
    assert torch.equal(found, run(twin, twin_network, range(5)))


SAMPLES = {
    "tensor": lambda samples, mask: (samples, {"mask": mask}),
    "by name": lambda samples, mask: (by_name(NAMES, samples), {"mask": by_name(NAMES, mask)}),
    "by name, mask together": lambda samples, mask: (by_name(NAMES, samples), {"mask": mask}),
}


@every_method
@pytest.mark.parametrize("form", SAMPLES.values(), ids=SAMPLES)
def test_losses_of_samples_are_their_masked_means(method, form):
    mask = torch.rand(8, 3) < 0.6
    mask[0] = True

    def means(losses, time):
        losses, counts = task_losses(network.sample_losses(time), mask)
        return losses, {"counts": counts}

    network, weighting = pair(method)
    expected = run(weighting, network, range(5), means)
    network, weighting = pair(method)
    found = run(
        weighting, network, range(5), lambda _, time: form(network.sample_losses(time), mask)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("samples", [False, True])
def test_a_sum_by_hand(samples):
    losses = torch.tensor([[1.0, 5.0, 7.0], [3.0, 9.0, 7.0]])
    mask = torch.tensor([[True, False, True], [True, True, False]])
    if not samples:
        losses, mask = losses[0], mask[0]
    total = Constant(NAMES, initial=[1.0, 10.0, 100.0])(losses, mask=mask)
    assert total == (2 + 90 + 700 if samples else 1 + 700)


@every_method
def test_permuted_tasks_have_permuted_weights(method):
    order = [2, 0, 1]
    found = []
    for places in (order, range(3)):
        network = Tiny().double()
        weighting = made(
            method,
            network,
            [NAMES[place] for place in places],
            initial=[INITIAL[place] for place in places],
        ).double()
        found.append(
            run(weighting, network, range(6), lambda losses, _, to=list(places): (losses[to], {}))
        )
    # Some hundred operations, and spreads that are small differences.
    close = tolerance(torch.float64, 10**6)
    torch.testing.assert_close(found[0], found[1][:, order], **close)


# Absent tasks

ABSENT = {
    "key": lambda losses: (by_name(NAMES, losses, absent="b"), {}),
    "none": lambda losses: (by_name(NAMES, losses) | {"b": None}, {}),
    "mask": lambda losses: (losses.masked_fill(~PRESENT, torch.nan), {"mask": PRESENT}),
    "mask by name": lambda losses: (
        by_name(NAMES, losses.masked_fill(~PRESENT, torch.inf)),
        {"mask": {"b": torch.tensor(False)}},
    ),
    "counts": lambda losses: (
        losses.masked_fill(~PRESENT, torch.inf),
        {"counts": torch.tensor([1, 0, 1])},
    ),
    "key, with counts": lambda losses: (
        by_name(NAMES, losses, absent="b"),
        {"counts": torch.full((3,), 2)},
    ),
    "key, with a mask": lambda losses: (
        by_name(NAMES, losses, absent="b"),
        {"mask": torch.ones(3, dtype=torch.bool)},
    ),
    "mask, with counts": lambda losses: (losses, {"mask": PRESENT, "counts": torch.ones(3)}),
    "of samples": lambda losses: (
        torch.stack([losses, losses.detach()]),
        {"mask": torch.stack([PRESENT, ~PRESENT & PRESENT])},
    ),
}


@every_method
@pytest.mark.parametrize("form", ABSENT.values(), ids=ABSENT)
def test_absent_task(method, form):
    network, weighting = pair(method, 5)
    losses = network.losses(5)
    before = copied_state(weighting)
    given, options = form(losses)
    total = weighting(given, **options)

    # It contributes nothing to the gradient, although its weight is not 0.
    weights = weighting.weights
    assert weights[1] > 0
    gradient = torch.autograd.grad(total, losses, retain_graph=True)[0]
    torch.testing.assert_close(gradient, weights * PRESENT)
    # Nor to the value, but for what the method adds.
    other_network, other = pair(method, 5)
    expected = other(other_network.losses(5) * PRESENT, torch.tensor([1.0, 0.0, 1.0]))
    assert torch.equal(total, expected)
    assert torch.equal(weights, other.weights)
    # What is known of it stays as it was.
    for name, value in weighting.state_dict().items():
        if value.shape == (3,) and name not in ("_task_weights", "_average"):
            assert torch.equal(value[1], before[name][1]), name


@every_method
@pytest.mark.parametrize(
    ("losses", "options"),
    [
        ({}, {}),
        (dict.fromkeys(NAMES), {}),
        ({}, {"counts": torch.ones(3)}),
        (torch.full((3,), torch.nan, requires_grad=True), {"mask": torch.zeros(3) > 0}),
        (torch.full((3,), torch.nan, requires_grad=True), {"counts": torch.zeros(3)}),
    ],
    ids=["empty", "none", "empty with counts", "mask", "counts"],
)
def test_step_without_any_task(method, losses, options):
    _, weighting = pair(method, 5)
    before = copied_state(weighting)
    total = weighting(losses, **options)
    total.backward()
    assert total == 0
    assert same_state(weighting.state_dict(), before)


# Losses that are not finite


@every_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("first", [0, 3])
def test_nonfinite_loss_leaves_no_trace(method, bad, first):
    times = (first, first + 2)

    def spoil(losses, time):
        return torch.where(PRESENT, losses, losses + bad) if time in times else losses, {}

    def remove(losses, time):
        return losses, {"mask": PRESENT} if time in times else {}

    network, weighting = pair(method)
    spoilt = run(weighting, network, range(8), spoil)
    network, weighting = pair(method)
    assert torch.equal(spoilt, run(weighting, network, range(8), remove))
    assert spoilt.isfinite().all()


@every_method
def test_nonfinite_loss_is_named_where_asked(method):
    network, weighting = pair(method, 5, nonfinite="raise")
    before = copied_state(weighting)
    losses = torch.where(PRESENT, network.losses(5), torch.nan)
    with pytest.raises(FloatingPointError, match=r"^not finite: loss of task 'b' is nan$"):
        weighting(losses)
    assert same_state(weighting.state_dict(), before)
    assert weighting(losses, mask=PRESENT).isfinite()


# Precision and place


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_losses_of_low_precision_are_weighed_in_float32(method, dtype):
    # Each moves by more than such a dtype resolves, or SLAW would take it to stand still.
    def lowered(losses, time):
        return (losses * (1 + time % 3)).to(dtype)

    found, totals = [], []
    for widen in (False, True):
        network, weighting = pair(method)

        def edit(losses, time, widen=widen):
            low = lowered(losses, time)
            return low.double() if widen else low, {}

        found.append(run(weighting, network, range(12), edit))
        totals.append(weighting(edit(network.losses(12), 12)[0]))
    assert torch.equal(*found)
    assert found[0].dtype == torch.float32
    assert [total.dtype for total in totals] == [torch.float32, torch.float64]
    torch.testing.assert_close(totals[0].double(), totals[1], **tolerance(torch.float32, 3))


@every_method
def test_it_goes_where_the_losses_are(method):
    network = Tiny().to("meta")
    weighting = made(method, network)
    assert not weighting.weights.is_meta
    assert weighting(network.losses(2)).is_meta
    assert weighting.weights.is_meta


# Speed: what a step may not do

COMPILED = {
    "tensor": lambda losses, time: (losses, {}),
    "mapping": lambda losses, time: (by_name(NAMES, losses), {}),
    "mask": lambda losses, time: (losses, {"mask": torch.tensor([True, time % 2 == 0, True])}),
    "counts": lambda losses, time: (losses, {"counts": torch.tensor([3, time % 2, 1])}),
    "samples": lambda losses, time: (
        torch.stack([losses, 2 * losses]),
        {"mask": torch.tensor([[True, time % 2 == 0, True], [True, False, True]])},
    ),
}


# torch.compile itself looks at the .grad of the losses.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("method", LOSS_METHODS)
@pytest.mark.parametrize("form", COMPILED)
def test_compiles_once_into_the_same_weighting(method, form):
    torch.compiler.reset()
    network, weighting = pair(method)
    expected = run(weighting, network, range(6), COMPILED[form])

    counter = CompileCounterWithBackend("aot_eager")
    network, weighting = pair(method)
    weighting.compile(fullgraph=True, backend=counter)
    found = run(weighting, network, range(2), COMPILED[form])
    compiled = counter.frame_count
    found = torch.cat([found, run(weighting, network, range(2, 6), COMPILED[form])])

    assert compiled > 0
    assert counter.frame_count == compiled
    # Spreads of losses are differences that are a tenth of them.
    torch.testing.assert_close(found, expected, **tolerance(torch.float32, 100))


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
@pytest.mark.parametrize("looks", [False, True], ids=["later", "first calls"])
@pytest.mark.parametrize(
    "form", ["tensor", "key", "none", "mask", "counts", "key, with counts", "samples"]
)
def test_step_stays_on_the_device(method, form, looks, monkeypatch):
    monkeypatch.setattr(equipoise.losses, "_looks", 0 if looks else equipoise.losses.LOOKS)
    network = Tiny().to("meta")
    weighting = made(method, network).to("meta")
    losses, options = network.losses(0), {}
    if form in ("mask", "counts"):
        options = {form: torch.ones(3, device="meta", dtype=int if form == "counts" else bool)}
    elif form == "samples":
        losses = network.sample_losses(0)
        options = {"mask": torch.ones_like(losses, dtype=bool)}
    elif form == "key, with counts":
        losses, options = by_name(NAMES, losses, absent="b"), {"counts": losses.detach() > 0}
        options["counts"] = options["counts"].to(torch.int64)
    elif form != "tensor":
        losses, options = ABSENT[form](losses)
    with no_transfer():
        for _ in range(2):
            weighting(losses, **options).backward(retain_graph=True)
    assert weighting.weights.is_meta


# Wrong input


def scalars(*names):
    return {name: torch.ones((), requires_grad=True) for name in names}


ONES, YES = torch.ones(3, requires_grad=True), torch.ones(3, dtype=torch.bool)
ROWS = torch.ones(4, 3, requires_grad=True)
WRONG = [
    (torch.ones(2), {}, r"losses must be \(3,\), found \(2,\)$"),
    (torch.ones(()), {}, r"losses must be \(3,\), found \(\)$"),
    (torch.ones(1, 1, 3), {}, r"losses must be \(3,\), found \(1, 1, 3\)$"),
    (torch.ones(4, 2), {}, r"losses must be \(samples, 3\), found \(4, 2\)"),
    (torch.ones(3, dtype=int), {}, r"a floating tensor \(3,\) or a mapping .* found torch.int64$"),
    ([1.0, 1.0, 1.0], {}, r"a floating tensor \(3,\) or a mapping by task, found list$"),
    (scalars("a", "B"), {}, r"there is no task 'B': .* name them all: tasks=\[…\]$"),
    ({"a": 1.0}, {}, "the loss of task 'a' must be a tensor, found float$"),
    ({"a": torch.ones(2, 2)}, {}, r"loss of task 'a' must be a scalar, found shape \(2, 2\); take"),
    (
        scalars("b") | {"a": torch.ones(4)},
        {},
        r"loss of task 'b' must be a tensor \(samples,\), one loss a sample, found shape \(\)$",
    ),
    ({"a": torch.ones(4), "b": torch.ones(5)}, {}, "must have a loss for each sample, found {'a'"),
    (ONES, {"counts": YES}, "counts must be numbers of labels: give what is boolean as mask=…$"),
    (ONES, {"counts": torch.ones(2)}, r"counts must be a tensor \(3,\), found \(2,\)$"),
    (ONES, {"counts": [1, 1, 0]}, r"counts must be a tensor \(3,\), found \[1, 1, 0\]$"),
    (ROWS, {"counts": torch.ones(3)}, "losses of samples are counted by their mask: give mask"),
    (ONES, {"mask": YES[:2]}, r"mask must be boolean .*, \(3,\), found torch.bool \(2,\)$"),
    (ONES, {"mask": torch.ones(3)}, r"mask must be boolean .*, found torch.float32 \(3,\)$"),
    (ONES, {"mask": [True] * 3}, r"mask must be boolean .*, \(3,\), found list$"),
    (ONES, {"mask": {"a": YES[0]}}, "mask must be boolean .*, found dict$"),
    (scalars("a", "c"), {"mask": YES[:2]}, r"mask must be boolean .*, found torch.bool \(2,\)$"),
    (scalars("a", "c"), {"mask": YES[0]}, r"mask must be boolean .*, found torch.bool \(\)$"),
    ({}, {"mask": YES[:2]}, r"mask must be boolean .*, found torch.bool \(2,\)$"),
    (scalars("a"), {"mask": {"B": YES[0]}}, "there is no task 'B'"),
    (scalars("a"), {"mask": {"b": YES}}, r"mask of task 'b' must be boolean .* \(\), found"),
    (ROWS, {"mask": YES}, r"mask must be boolean .*, \(4, 3\), found torch.bool \(3,\)$"),
    (by_name(NAMES, ROWS), {"mask": {"b": YES}}, r"mask of task 'b' must be .* \(4,\), found"),
]


@every_method
@pytest.mark.parametrize(
    ("losses", "options", "message"), WRONG, ids=[message[:60] for *_, message in WRONG]
)
def test_wrong_call(method, losses, options, message):
    _, weighting = pair(method, 2)
    before = copied_state(weighting)
    with pytest.raises((TypeError, ValueError), match=message):
        weighting(losses, **options)
    assert same_state(weighting.state_dict(), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": [1.0, 2.0]}, r"initial must be \(3,\), found \(2,\)"),
        ({"initial": [1.0, -1.0, 1.0]}, "initial weights must be finite, not negative"),
        ({"initial": [1.0, torch.nan, 1.0]}, "initial weights must be finite, not negative"),
        ({"initial": [0.0, 0.0, 0.0]}, "initial weights must be .* not all 0"),
        ({"initial": {"a": 1.0, "b": 1.0}}, r"initial must name each task once: \['a', 'b', 'c'"),
        ({"initial": "equal"}, "initial must be numbers, one a task, found 'equal'"),
        ({"nonfinite": "ignore"}, "nonfinite must be 'propagate' or 'raise', found 'ignore'"),
    ],
)
def test_wrong_options(method, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        method(NAMES, **options)


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, equipoise.ProbedGradientNorm])
@pytest.mark.parametrize(
    ("shared", "message"),
    [
        (lambda layer: [layer.weight, layer.bias, layer.weight], "the same parameter twice: name"),
        (lambda layer: [], "shared holds no parameter that requires a gradient"),
        (lambda layer: layer.requires_grad_(False), "shared holds no parameter that requires"),
    ],
)
def test_wrong_shared(method, shared, message):
    with pytest.raises(ValueError, match=message):
        method(NAMES, shared=shared(nn.Linear(2, 2)))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("shared", [True, False])
def test_losses_without_a_graph(method, shared):
    weighting = made(method, Tiny(), **({} if shared else {"shared": None}))
    before = copied_state(weighting)
    for losses in (torch.ones(3), {"a": torch.ones(())}):
        with pytest.raises(ValueError, match=f"{method.__name__} takes gradients .* have no graph"):
            weighting(losses)
    with torch.no_grad(), pytest.raises(ValueError, match="have no graph: give them as"):
        weighting(Tiny().losses(0))
    assert same_state(weighting.state_dict(), before)
    assert weighting.eval()(torch.ones(3)) == 3


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_shared_parameters_that_no_loss_reaches(method):
    weighting = method(NAMES, shared=nn.Linear(2, 2))
    before = copied_state(weighting)
    with pytest.raises(ValueError, match="no loss depends on a shared parameter"):
        weighting(Tiny().losses(0))
    assert same_state(weighting.state_dict(), before)
