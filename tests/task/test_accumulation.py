"""Micro-batches of a step, on one process or two, leave the weights of the whole batch."""

import pytest
import torch
from gloo import on_two_processes
from tiny import METHODS

import equipoise
from equipoise.task.of_losses import LossWeighting

NAMES = ("a", "b", "c")
STEPS, BATCH, TASKS = 30, 8, len(NAMES)
OF_LOSSES = [method for method in METHODS if issubclass(method, LossWeighting)]
CLOSE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    # Sums in another order differ in the last digit, and statistics are of differences of losses:
    # where these move by a twentieth of their size a digit and a half is lost.
    torch.float32: {"rtol": 3e-5, "atol": 3e-6},
}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SPLITS = {"even": (2, 2, 2, 2), "uneven": (3, 3, 2), "one": (8,)}


def batch(step, missing):
    """Losses of samples, and the labels present."""
    generator = torch.Generator().manual_seed(step)
    losses = torch.rand(BATCH, TASKS, generator=generator) * torch.tensor([10.0, 1.0, 0.1]) + 1
    there = torch.rand(BATCH, TASKS, generator=generator) < 0.6
    there[0] = True
    if step == 5:
        there[:, 1] = False  # no label at all
    return losses, there if missing else torch.ones_like(there)


def history(method, sizes, missing, rows=slice(None), dtype=torch.float64):
    """The weights after each step, of a process that has some rows of each micro-batch."""
    weighting = method(NAMES).to(dtype)
    found = []
    for step in range(STEPS):
        parts = zip(*(torch.split(each, sizes) for each in batch(step, missing)), strict=True)
        for number, (losses, mask) in enumerate(parts, start=1):
            with weighting.accumulate(closing=number == len(sizes)):
                weighting(losses[rows].to(dtype), mask=mask[rows])
        found.append(weighting.task_weights)
    return torch.stack(found)


def whole(method, missing, dtype=torch.float64):
    weighting = method(NAMES).to(dtype)
    found = []
    for step in range(STEPS):
        losses, mask = batch(step, missing)
        weighting(losses.to(dtype), mask=mask)
        found.append(weighting.task_weights)
    return torch.stack(found)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("sizes", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("method", OF_LOSSES, ids=lambda method: method.__name__)
@DTYPES
def test_micro_batches_are_the_whole_batch(method, sizes, missing, dtype):
    expected = whole(method, missing, dtype)
    found = history(method, sizes, missing, dtype=dtype)
    torch.testing.assert_close(found, expected, **CLOSE[dtype])
    if method is equipoise.SLAW:
        assert expected.std(0).min() > 1e-3


def work(rank):
    own = slice(rank, None, 2)
    return {
        method.__name__: torch.stack([history(method, (4, 4), missing, own) for missing in (0, 1)])
        for method in OF_LOSSES
    }


def test_micro_batches_of_two_processes_are_the_whole_batch(tmp_path):
    first, second = on_two_processes(work, tmp_path)
    for method in OF_LOSSES:
        name = method.__name__
        assert torch.equal(first[name], second[name])
        expected = torch.stack([whole(method, missing) for missing in (False, True)])
        torch.testing.assert_close(first[name], expected, **CLOSE[torch.float64])


def test_all_micro_batches_of_a_step_have_the_weights_of_the_step_before():
    weighting = equipoise.SLAW(NAMES)
    for step in range(4):
        before = weighting.task_weights
        losses, _ = batch(step, False)
        for number, part in enumerate(torch.split(losses, 2)):
            part = part.mean(0).requires_grad_()
            with weighting.accumulate(closing=number == 3):
                total = weighting(part)
            (gradient,) = torch.autograd.grad(total, part)
            torch.testing.assert_close(gradient, before)
        assert step == 0 or not torch.equal(weighting.task_weights, before)


def test_a_loss_that_is_not_finite_makes_its_task_absent_from_the_step():
    weighting, expected = equipoise.SLAW(NAMES), equipoise.SLAW(NAMES)
    for step in range(6):
        losses, _ = batch(step, False)
        parts = [part.mean(0) for part in torch.split(losses, 2)]
        if step == 3:
            parts[1][0] = torch.nan
        for number, part in enumerate(parts):
            with weighting.accumulate(closing=number == 3):
                total = weighting(part)
            assert total.isnan() == (step == 3 and number == 1)
        expected(torch.stack(parts).mean(0))
    close = CLOSE[torch.float32]
    torch.testing.assert_close(weighting.task_weights, expected.task_weights, **close)


def test_what_looks_at_more_than_losses_refuses():
    model = torch.nn.Linear(2, 2)
    weighting = equipoise.GradNorm(2, shared=model.weight)
    with pytest.raises(TypeError, match="GradNorm looks at more than losses"):
        weighting.accumulate(closing=True)


@pytest.mark.parametrize("method", OF_LOSSES, ids=lambda method: method.__name__)
def test_nothing_is_learned_under_no_grad(method):
    weighting, twin = method(NAMES), method(NAMES)
    for step in range(8):
        losses = batch(step, False)[0].mean(0)
        weighting(losses)
        twin(losses)
        with torch.no_grad():
            looked = twin(batch(100 + step, False)[0].mean(0))
        assert not looked.requires_grad
        assert torch.equal(twin.task_weights, weighting.task_weights)


def alone(rank):
    """One process has no loss; the other has."""
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 2))
    weighting = equipoise.SLAW(2)
    inputs = torch.ones(4, 3)
    for _ in range(3):
        outputs = model(inputs * (rank + 1))
        model.zero_grad()
        given = {} if rank else {"0": outputs[:, 0].mean(), "1": outputs[:, 1].square().mean()}
        weighting(given, outputs=outputs).backward()
    gradient = next(model.parameters()).grad
    with torch.no_grad():
        assert weighting({}) == 0  # to look at there need be no loss
    message = ""
    try:
        weighting({} if rank else given)
    except ValueError as error:
        message = str(error)
    assert ("outputs=" in message) == bool(rank)
    return gradient, weighting.task_weights


def test_a_process_without_any_loss_neither_hangs_nor_crashes(tmp_path):
    (first, weights), (second, others) = on_two_processes(alone, tmp_path)
    assert torch.equal(first, second)
    assert first.any()
    assert torch.equal(weights, others)


@pytest.mark.parametrize("method", OF_LOSSES, ids=lambda method: method.__name__)
def test_frozen_weights_are_the_average(method):
    weighting = method(NAMES)
    average = weighting.task_weights
    for step in range(20):
        weighting(batch(step, False)[0].mean(0))
        average = 0.99 * average + 0.01 * weighting.task_weights
    frozen = weighting.freeze()
    assert isinstance(frozen, equipoise.Constant)
    assert frozen.tasks == NAMES
    torch.testing.assert_close(frozen.task_weights, average, rtol=1e-5, atol=1e-6)


def test_metrics_are_floats_by_name():
    weighting = equipoise.SLAW(NAMES)
    assert weighting.metrics() == {"weight/a": 1.0, "weight/b": 1.0, "weight/c": 1.0}
    weighting({"a": torch.tensor(2.0), "b": torch.tensor(0.5), "c": None})
    found = weighting.metrics()
    assert {name: found[name] for name in found if "loss" in name} == {"loss/a": 2.0, "loss/b": 0.5}
    assert {name for name in found if "weight" in name} == {f"weight/{name}" for name in NAMES}
    assert all(isinstance(value, float) for value in found.values())
