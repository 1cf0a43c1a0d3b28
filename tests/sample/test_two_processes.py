"""Two processes, each with half of the samples, weigh and train as one."""

import pytest
import torch
import torch.distributed as dist
from gloo import on_two_processes
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from equipoise import sample
from equipoise.sample.heldout import HeldOutWeighting
from equipoise.testing import tolerance

CLOSE = tolerance(torch.float64, 10_000)
"""Some steps of sums over samples and parameters."""

STEPS, BATCH = 4, 12


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Linear(8, 3)).double()


def losses(model, batch):
    inputs, targets, mask = batch
    return (model(inputs) - targets) ** 2, mask


def batch(step, size, rows):
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(size, 4, generator=generator)
    targets = torch.randn(size, 3, generator=generator)
    mask = torch.rand(size, 3, generator=generator) < 0.7  # not the same number on each half
    mask[:, 0] = True
    if step == 2:
        mask[7:, 1] = False  # the other process alone has labels of this task
    return inputs[rows].double(), targets[rows].double(), mask[rows]


def loop(name, model, trunk, rows, held_rows, **options):
    """Weights of all samples and the model's gradients, step by step."""
    options = {"main": 0, "shared": trunk, "tasks": 3, **options}
    weighting = getattr(sample, name)(losses, model, **options).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    history = []
    for step in range(STEPS):
        parts = [batch(step, BATCH, rows), batch(step + 100, 8, held_rows)]
        total = weighting(*parts[: 1 + isinstance(weighting, HeldOutWeighting)])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        gradients = [
            each.grad.full_tensor() if hasattr(each.grad, "full_tensor") else each.grad
            for each in model.parameters()
        ]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        history.append((weighting.weights, weighting.task_weights, total.detach(), flat))
    return history


def work(rank, name, wrapper, options):
    rows, held_rows = slice(7 * rank, 7 + 5 * rank), slice(3 * rank, 3 + 5 * rank)
    model = network()
    trunk = model[0]
    if wrapper == "ddp":
        wrapped = DistributedDataParallel(model)
    else:
        mesh = dist.init_device_mesh("cpu", (2,))
        fully_shard(model[0], mesh=mesh)
        wrapped = fully_shard(model, mesh=mesh)
    return loop(name, wrapped, trunk, rows, held_rows, **options)


def assert_as_one(first, second, whole, **tolerance):
    for one, two, (weights, task_weights, total, flat) in zip(first, second, whole, strict=True):
        torch.testing.assert_close(torch.cat([one[0], two[0]]), weights, **tolerance)
        assert torch.equal(one[1], two[1])
        torch.testing.assert_close(one[1], task_weights, **tolerance)
        torch.testing.assert_close((one[2] + two[2]) / 2, total, **tolerance)
        torch.testing.assert_close(one[3], flat, **tolerance)


@pytest.mark.parametrize("name", sample.__all__)
def test_distributed_data_parallel(name, tmp_path):
    everything = slice(None)
    model = network()
    whole = loop(name, model, model[0], everything, everything)
    first, second = on_two_processes(work, tmp_path, name, "ddp", {})
    assert_as_one(first, second, whole, **CLOSE)


@pytest.mark.parametrize("options", [{"engine": "reverse"}, {"lookahead": 0.1}], ids=str)
def test_options_in_distributed_data_parallel(options, tmp_path):
    everything = slice(None)
    model = network()
    whole = loop("SLGrad", model, model[0], everything, everything, **options)
    first, second = on_two_processes(work, tmp_path, "SLGrad", "ddp", options)
    assert_as_one(first, second, whole, **CLOSE)


@pytest.mark.parametrize("name", ["SLGrad", "HydaLearn"])
def test_sharded_parameters_take_the_difference(name, tmp_path):
    everything = slice(None)
    model = network()
    whole = loop(name, model, model[0], everything, everything)
    first, second = on_two_processes(work, tmp_path, name, "fsdp", {})
    assert_as_one(first, second, whole, rtol=2e-2, atol=2e-3)


def of_fsdp1(rank):
    model = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"FSDP1.* shard the model by fully_shard \(FSDP2\)"):
        sample.SLGate(losses, model, main=0, shared="border", tasks=3)
    return torch.ones(1)


def test_fsdp1_is_refused(tmp_path):
    assert all(on_two_processes(of_fsdp1, tmp_path))
