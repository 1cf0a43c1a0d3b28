"""Training loops that README promises: wrapped, in mixed precision, in micro-batches."""

import pytest
import torch
import torch.distributed as dist
from gloo import on_two_processes
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from equipoise import SLAW, task_losses
from equipoise.testing import tolerance

STEPS, BATCH = 6, 8


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def batch(step, rows=slice(None)):
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(BATCH, 4, generator=generator)
    targets = torch.randn(BATCH, 3, generator=generator) * torch.tensor([10.0, 1.0, 0.1])
    return inputs[rows], targets[rows]


def loop(model, rows=slice(None)):
    """Weights of each step of the loop in README."""
    dtype = next(model.parameters()).dtype
    weighting = SLAW(["a", "b", "c"]).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = []
    for step in range(STEPS):
        inputs, targets = (each.to(dtype) for each in batch(step, rows))
        loss = weighting(*task_losses((model(inputs) - targets).square()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(weighting.weights)
    return torch.stack(history)


def wrap(wrapper, model):
    if wrapper == "ddp":
        return DistributedDataParallel(model)
    mesh = dist.init_device_mesh("cpu", (2,))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def work(rank, wrapper):
    half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    return loop(wrap(wrapper, network().double()), half)


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_two_processes_train_as_one(wrapper, tmp_path):
    first, second = on_two_processes(work, tmp_path, wrapper)
    assert torch.equal(first, second)
    whole = loop(network().double())
    torch.testing.assert_close(first, whole, **tolerance(torch.float64, 10_000))


def test_mixed_precision_with_a_scaler():
    model, weighting = network(), SLAW(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    history = []
    for step in range(STEPS):
        inputs, targets = batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            errors = (model(inputs) - targets).square().mean(0)
            if step == 3:
                errors = errors * torch.inf
            loss = weighting(errors)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        moved = any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
        assert moved == (step != 3)
        history.append(weighting.weights)
    assert weighting.weights.dtype == torch.float32
    assert weighting.moments.updates.tolist() == [STEPS - 1] * 3
    # A loss in bfloat16 has three digits, its change from step to step two.
    torch.testing.assert_close(torch.stack(history)[:3], loop(network())[:3], rtol=0.05, atol=0)


def test_micro_batches_in_one_backward_each():
    model, weighting = network(), SLAW(3)
    for step in range(STEPS):
        model.zero_grad()
        expected = [torch.zeros_like(parameter) for parameter in model.parameters()]
        for part in (slice(0, 4), slice(4, 8)):
            inputs, targets = batch(step, part)
            losses = (model(inputs) - targets).square().mean(0)
            (weighting(losses) / 2).backward(retain_graph=True)
            gradients = torch.autograd.grad(
                (weighting.weights * losses).sum() / 2, model.parameters()
            )
            expected = [total + own for total, own in zip(expected, gradients, strict=True)]
        for parameter, total in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, total, **tolerance(torch.float32, 100))


def test_lbfgs_counts_once_a_step():
    model, weighting = network(), SLAW(3)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)
    steps = []

    def losses():
        inputs, targets = batch(0)
        return (model(inputs) - targets).square().mean(0)

    def closure():
        optimizer.zero_grad()
        loss = weighting(losses())
        loss.backward()
        steps[-1].append(weighting.weights)
        return loss

    for _ in range(3):
        steps.append([])
        weighting.train()
        weighting(losses())
        weighting.eval()
        optimizer.step(closure)
    assert weighting.moments.updates.tolist() == [3] * 3
    assert all(len(calls) > 1 for calls in steps)
    assert all(torch.equal(each, calls[0]) for calls in steps for each in calls)
