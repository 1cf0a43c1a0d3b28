"""The questions, one for each clause of the contract."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.step import Step
from equipoise.task import Constant
from equipoise.testing.case import (
    SAMPLES,
    TASKS,
    Batch,
    Case,
    Network,
    batch_of,
    copied,
    fresh,
    run,
    saved_and_loaded,
    spoilt,
    squared_errors,
    tolerance,
    weigh,
    without_labels,
)
from equipoise.weighting import Needs, Weighting


def assert_close_gradients(total: Tensor, expected: Tensor, module: nn.Module) -> None:
    """Two scalars have the same gradients, to rounding, in the parameters of a module."""
    parameters = list(module.parameters())
    found_all, wanted_all = (
        torch.autograd.grad(scalar, parameters, retain_graph=True, materialize_grads=True)
        for scalar in (total, expected)
    )
    size = max(float(each.abs().max()) for each in wanted_all)
    close = tolerance(torch.float32, SAMPLES * len(TASKS))
    for found, wanted in zip(found_all, wanted_all, strict=True):
        torch.testing.assert_close(found / size, wanted / size, **close)


def assert_same_state(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Bit for bit."""
    assert list(one) == list(other), f"states have {list(one)} and {list(other)}"
    for name, value in one.items():
        assert torch.equal(value.nan_to_num(), other[name].nan_to_num()), f"{name} has changed"


def assert_refused(weighting: Weighting, state: Mapping[str, Any], reason: str) -> None:
    """A state is not loaded, not even in part."""
    before = copied(weighting)
    try:
        weighting.load_state_dict(dict(state))
    except (ValueError, RuntimeError):
        assert_same_state(weighting.state_dict(), before)
    else:
        raise AssertionError(f"a state {reason} was loaded")


def check_declaration(case: Case) -> None:
    """It says what it is, needs, costs and where it comes from."""
    kind = case.kind
    assert (kind.__doc__ or "").strip(), "it has no docstring"
    assert isinstance(kind.needs, Needs), f"needs must be Needs, found {kind.needs!r}"
    assert kind.passes, "passes says what a step costs"
    assert kind.source, "source says where it comes from"


def check_scalar(case: Case) -> None:
    """What comes back is a scalar with a graph."""
    network, weighting = case.pair()
    for time in range(3):
        total = weigh(weighting, network, time)
        assert total.shape == (), f"found {total!r}"
        assert total.is_floating_point(), f"found {total!r}"
        assert total.isfinite(), f"found {total!r}"
        total.backward()  # type: ignore[no-untyped-call]
    assert any(each.grad.any() for each in network.parameters() if each.grad is not None)


def check_gradient(case: Case) -> None:
    """The gradient is that of the weighted sum, the weights being constants."""
    for steps in (0, 1, 5):
        network, weighting = case.pair(steps)
        total = weigh(weighting, network, steps)
        losses, _ = squared_errors(network, batch_of(steps, len(TASKS)))
        weights = weighting.weights
        expected = (weights * (losses if weights.ndim == 2 else losses.mean(0))).sum()
        assert not weights.requires_grad, "weights must be detached"
        shared_only = getattr(weighting, "shared_only", False)
        assert_close_gradients(total, expected, network.trunk if shared_only else network)


def check_scale(case: Case) -> None:
    """Of equal weights the scalar is the sum over the tasks of their mean losses."""
    network, weighting = case.pair()
    weighting.eval()
    losses, _ = squared_errors(network, batch_of(0, len(TASKS)))
    assert_close_gradients(weigh(weighting, network, 0), losses.mean(0).sum(), network)


def check_names(case: Case) -> None:
    """Weights have the names of the tasks, in their order."""
    _, weighting = case.pair(2)
    assert weighting.tasks == TASKS, f"found {weighting.tasks}"
    expected = dict(zip(TASKS, weighting.task_weights.tolist(), strict=True))
    assert weighting.weights_by_task() == expected, f"found {weighting.weights_by_task()}"


def check_two_calls_before_backward(case: Case) -> None:
    """A second call does not disturb the backward pass of the first."""
    (one, first), (other, second) = case.pair(1), case.pair(1)
    for time in (1, 2):
        weigh(first, one, time).backward()  # type: ignore[no-untyped-call]
    (weigh(second, other, 1) + weigh(second, other, 2)).backward()  # type: ignore[no-untyped-call]
    for parameter, twin in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad)


def check_absent_task(case: Case) -> None:
    """What stands where there is no label has no influence, and its head does not move."""
    found = []
    for filling in (2.0, 1e6):
        network, weighting = case.pair(2)
        total = weigh(weighting, network, 2, without_labels(1, filling=filling))
        total.backward()  # type: ignore[no-untyped-call]
        heads: Any = network.heads
        assert not heads.weight.grad[1].any(), "the head of the absent task has a gradient"
        assert weighting.task_weights.isfinite().all()
        found.append((total.detach(), weighting.task_weights, run(weighting, network, (3, 4))))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other), f"found {one} and {other}"


def check_no_label_at_all(case: Case) -> None:
    """A batch without any label is worth 0 and teaches nothing."""
    network, weighting = case.pair(2)
    kept = weighting.state_dict()
    before = {name: value.clone() for name, value in kept.items() if value.shape == (len(TASKS),)}
    total = weigh(weighting, network, 2, without_labels(0, 1, 2))
    assert total.isfinite(), f"found {total!r}"
    total.backward()  # type: ignore[no-untyped-call]
    after = weighting.state_dict()
    if weighting.weights.ndim == 1:
        assert total == 0, f"found {total!r}"
        for name, value in before.items():
            assert torch.equal(after[name], value), f"{name} has changed"


def check_nonfinite_loss(case: Case) -> None:
    """A loss that is not finite shows in the scalar, and is forgotten."""
    for value in (torch.nan, torch.inf):
        for steps in (0, 3):
            network, weighting = case.pair(steps)
            total = weigh(weighting, network, steps, spoilt(value))
            assert not total.isfinite(), f"the scalar hides it: {total!r}"
            assert weighting.task_weights.isfinite().all(), f"kept: {weighting.task_weights}"
            weights = run(weighting, network, range(steps + 1, steps + 4))
            assert weights.isfinite().all(), f"it stays: {weights}"
            assert weigh(weighting, network, steps + 4).isfinite()


def check_extreme_losses(case: Case) -> None:
    """Weights are finite whatever finite losses there are."""
    sizes = (1e-38, 1e-20, 1.0, 1e18)
    for first, second in ((a, b) for a in sizes for b in sizes):
        network, weighting = case.pair()
        for size in (first, second, first, second):

            def losses(model: nn.Module, batch: Batch, size: float = size) -> tuple[Tensor, Tensor]:
                values, mask = squared_errors(model, batch)
                factors = torch.tensor([1.0, size, 1.0])
                return values / values.detach().mean() * factors, mask

            batch = batch_of(0, len(TASKS))
            torch.manual_seed(0)
            weighting.weigh(Step(losses, network, batch, batch_of(1000, len(TASKS))))
            weights = weighting.task_weights
            assert weights.isfinite().all(), f"weights {weights} after losses of {first}, {second}"


def check_number_of_tasks(case: Case) -> None:
    """Any number of tasks will do."""
    for size in (1, 2, 40):
        names = [f"task {number}" for number in range(size)]
        network = Network(size)
        weighting = case.make(network, names)
        weights = run(weighting, network, range(3))
        assert weights.shape == (3, size), f"found {tuple(weights.shape)}"
        assert weights.isfinite().all(), f"found {weights}"


def check_precision(case: Case) -> None:
    """Its floats are float32 or better, and a double-precision parent makes them float64."""
    for cast, expected in (("half", torch.float32), ("double", torch.float64)):
        network, weighting = case.pair(3)
        parent = getattr(nn.ModuleDict({"weighting": weighting}), cast)()
        found = {each.dtype for each in parent.state_dict().values() if each.is_floating_point()}
        assert found <= {expected, torch.float64}, f".{cast}() gives {found}"
        weights = run(weighting, getattr(network, cast if cast == "double" else "float")(), (3, 4))
        plain_network, plain = case.pair(3)
        torch.testing.assert_close(
            weights.double(), run(plain, plain_network, (3, 4)).double(), rtol=1e-3, atol=1e-5
        )


def check_resume(case: Case) -> None:
    """What is restored continues bit for bit, from a file that nobody has to trust."""
    for steps in (0, 1, 2, 5):
        network, interrupted = case.pair(steps)
        twin = Network(len(TASKS))
        resumed = case.make(twin)
        resumed.load_state_dict(saved_and_loaded(interrupted.state_dict()))
        assert_same_state(resumed.state_dict(), interrupted.state_dict())
        times = range(steps, steps + 4)
        one, other = run(interrupted, network, times), run(resumed, twin, times)
        assert torch.equal(one, other), f"after {steps} steps: {one} and {other}"


def check_refusal(case: Case) -> None:
    """The state of other tasks, of another method or of other shapes is refused as a whole."""
    _, weighting = case.pair(2)
    for names in (("a", "b", "d"), ("b", "a", "c"), ("a", "b")):
        other = case.make(Network(len(names)), names)
        assert_refused(weighting, other.state_dict(), f"of the tasks {names}")
    if case.kind is not Constant:
        assert_refused(weighting, Constant(TASKS).state_dict(), "of Constant")
    state = copied(weighting)
    for name, value in state.items():
        if value.shape == (len(TASKS),) and not name.endswith("_extra_state"):
            wrong = state | {name: torch.ones(len(TASKS) + 1, dtype=value.dtype)}
            assert_refused(weighting, wrong, f"with {name} too long")
            assert_refused(weighting, {key: state[key] for key in state if key != name}, "in part")


def check_copies(case: Case) -> None:
    """Copies go their own way."""

    def pickled(thing: Any) -> Any:
        return pickle.loads(pickle.dumps(thing))

    for through in (
        (copy.deepcopy, pickled) if case.kind.needs == Needs.LOSSES else (copy.deepcopy,)
    ):
        network, weighting = case.pair(3)
        twin_network, twin = through((network, weighting))
        expected = fresh(case, 3, range(3, 6))
        assert torch.equal(run(twin, twin_network, range(3, 6)), expected)
        assert torch.equal(run(weighting, network, range(3, 6)), expected)


def check_evaluation(case: Case) -> None:
    """After ``.eval()`` the mean losses have the last weights, and nothing changes."""
    network, weighting = case.pair(2)
    weighting.eval()
    before = copied(weighting)
    total = weigh(weighting, network, 9)
    losses, _ = squared_errors(network, batch_of(9, len(TASKS)))
    expected = (weighting.task_weights * losses.mean(0)).sum()
    assert_close_gradients(total, expected, network)
    assert_same_state(weighting.state_dict(), before)
    with torch.no_grad():
        weigh(weighting, network, 9)


def check_reset(case: Case) -> None:
    """``reset()`` makes it as new."""
    network, weighting = case.pair(4)
    weighting.reset()
    _, new = case.pair()
    assert_same_state(weighting.state_dict(), new.state_dict())
    assert torch.equal(run(weighting, network, range(3)), fresh(case, 0, range(3)))


def check_buffers_of_the_network(case: Case) -> None:
    """A step updates the network's own statistics once, whatever it asks for."""
    network = Network(len(TASKS), normalised=True)
    twin = copy.deepcopy(network)
    weighting = case.make(network)
    for time in range(3):
        weigh(weighting, network, time)
        squared_errors(twin, batch_of(time, len(TASKS)))
    for (name, buffer), other in zip(network.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(buffer, other), f"{name} is {buffer}, after plain steps {other}"


def check_parameters_of_the_network(case: Case) -> None:
    """The network's parameters stay the same objects with the same values, and no part of it."""
    network = Network(len(TASKS))
    network.alias = network.trunk[0]
    before = [(name, each, each.clone()) for name, each in network.named_parameters()]
    weighting = case.make(network)
    run(weighting, network, range(3))
    after = dict(network.named_parameters())
    for name, each, value in before:
        assert after[name] is each, f"{name} is another object"
        assert torch.equal(each, value), f"{name} has changed"
    mine = {id(each) for each in (*weighting.parameters(), *weighting.buffers())}
    assert not mine & {id(each) for each in network.parameters()}, "it holds the network"


def check_wrong_losses(case: Case) -> None:
    """Losses of another number of tasks are refused, and nothing changes."""
    _, weighting = case.pair(2)
    before = copied(weighting)
    other = Network(len(TASKS) + 1)
    batch, held_out = (batch_of(time, len(TASKS) + 1) for time in (0, 1000))
    try:
        weighting.weigh(Step(squared_errors, other, batch, held_out))
    except (TypeError, ValueError):
        assert_same_state(weighting.state_dict(), before)
    else:
        raise AssertionError("losses of four tasks were taken for three")


CHECKS: dict[str, Callable[[Case], None]] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}
"""The questions by name."""
