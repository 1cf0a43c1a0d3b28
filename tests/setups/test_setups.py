"""Whatever trains a model: weights and gradients of a plain loop in float64, or one sentence."""

import functools
import warnings

import pytest
import torch
import torch.distributed as dist
from gloo import on_two_processes
from setups import table
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import equipoise
from equipoise import Step
from equipoise.study.methods import torchjd_methods

BATCH, STEPS, TASKS = 8, 3, 3
SCALE = torch.tensor([3.0, 1.0, 0.3])
METHODS = table.EVERYTHING
ALONE = [
    "plain loop",
    "gradient accumulation",
    "bfloat16 autocast",
    "float16 autocast, GradScaler",
    "torch.compile",
    "checkpointed activations",
    "checkpointed, reentrant",
]
TOGETHER = [setup for setup in table.REFUSALS if setup not in ALONE]
LOW = ("bfloat16 autocast", "float16 autocast, GradScaler", "FSDP2, bfloat16 policy")
DIFFERENCE = ("FSDP2", "checkpointed, reentrant")
"""Where derivatives may be approximate."""


class Network(nn.Module):
    """Two layers that are shared, and a head; the second may be checkpointed."""

    def __init__(self, reentrant=None):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, TASKS)
        self.reentrant = reentrant

    @property
    def shared(self):
        return [*self.first.parameters(), *self.second.parameters()]

    def block(self, features):
        return torch.tanh(self.second(features))

    def forward(self, inputs):
        features = torch.tanh(self.first(inputs))
        if self.reentrant is None:
            features = self.block(features)
        else:
            features = checkpoint(self.block, features, use_reentrant=self.reentrant)
        return self.head(features)


def losses(model, batch):
    inputs, targets = batch
    return (model(inputs) - targets) ** 2, None


def batch(step, rows, dtype):
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(BATCH, 4, generator=generator)
    targets = torch.randn(BATCH, TASKS, generator=generator) * SCALE
    return inputs[rows].to(dtype), targets[rows].to(dtype)


def made(method, model, shared):
    options = {"losses": losses, "model": model, "shared": shared, "main": "0"}
    kind = torchjd_methods()[method] if "/" in method else getattr(equipoise, method)
    return kind.made_for(["0", "1", "2"], **options)


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def trained(method, wrap, *, rows=slice(None), low=None, dtype=torch.float64, reentrant=None):
    """Task weights and the gradients of all parameters, step by step."""
    network = Network(reentrant).to(dtype)
    model = wrap(network)
    # Now: FSDP2 has put others in their place.
    weighting = made(method, model, network.shared)
    if low is None:
        weighting = weighting.to(dtype)
    optimizer = torch.optim.SGD([*network.parameters(), *weighting.parameters()], lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=low is torch.float16, init_scale=2.0**8)
    found = []
    for number in range(STEPS):
        step = Step(losses, model, batch(number, rows, dtype), batch(100 + number, rows, dtype))
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=low or torch.bfloat16, enabled=low is not None):
            total = weighting.weigh(step)
        scaler.scale(total).backward()
        scaler.unscale_(optimizer)
        weights = weighting.task_weights.detach().double()
        gradients = [whole(each.grad).flatten().double() for each in network.parameters()]
        found.append(torch.cat([weights, *gradients]))
        scaler.step(optimizer)
        scaler.update()
    return torch.stack(found)


@functools.cache
def plain(method):
    return trained(method, lambda network: network)


def unwrapped(network):
    return network


def compiled(network):
    torch.compiler.reset()
    return torch.compile(network, backend="aot_eager")


def ddp(network):
    return DistributedDataParallel(network)


def unused(network):
    return DistributedDataParallel(network, find_unused_parameters=True)


def static(network):
    return DistributedDataParallel(network, static_graph=True)


def sharded(network, policy=None):
    mesh = dist.init_device_mesh("cpu", (2,))
    policy = policy or MixedPrecisionPolicy()
    for part in (network.first, network.second, network):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    return network


def rounded(network):
    return sharded(network, MixedPrecisionPolicy(param_dtype=torch.bfloat16))


WRAPPERS = {
    "torch.compile": compiled,
    "DDP": ddp,
    "DDP, find_unused_parameters": unused,
    "DDP, static_graph": static,
    "FSDP2": sharded,
    "FSDP2, bfloat16 policy": rounded,
}
OPTIONS = {
    "bfloat16 autocast": {"low": torch.bfloat16, "dtype": torch.float32},
    "float16 autocast, GradScaler": {"low": torch.float16, "dtype": torch.float32},
    "checkpointed activations": {"reentrant": False},
    "checkpointed, reentrant": {"reentrant": True},
}


def accumulated(method):
    """Weights after the steps of micro-batches, of the losses that a plain loop has seen."""
    network = Network().double()
    weighting, whole_batches = (made(method, network, network.shared).double() for _ in range(2))
    found = []
    for number in range(STEPS):
        values, _ = losses(network, batch(number, slice(None), torch.float64))
        for part in range(2):
            with weighting.accumulate(closing=part == 1):
                weighting(values[4 * part : 4 * part + 4])
        whole_batches(values)
        found.append(torch.stack([weighting.task_weights, whole_batches.task_weights]))
    return torch.stack(found, 1)


def close(setup):
    if setup in LOW:
        return {"rtol": 0.1, "atol": 0.1}
    if setup in DIFFERENCE:
        return {"rtol": 1e-4, "atol": 1e-5}
    return {"rtol": 1e-9, "atol": 1e-9}


def in_setup(setup, method, rows=slice(None)):
    """What comes of it: numbers, or the sentence of a refusal."""
    try:
        with warnings.catch_warnings():
            # Engines that cannot serve are named; what is tested is whether one does.
            warnings.simplefilter("ignore")
            if setup == "gradient accumulation":
                return accumulated(method)
            wrap = WRAPPERS.get(setup, unwrapped)
            return trained(method, wrap, rows=rows, **OPTIONS.get(setup, {}))
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error)
    except RuntimeError as error:
        if "use_reentrant=False" not in str(error):  # PyTorch's sentence, which says what to do
            raise
        return str(error)


def check(setup, method, found):
    if table.expected(setup, method) == table.REFUSED:
        assert isinstance(found, str), "it trains where the table says that it does not"
        assert len(found.split()) > 8
        return
    assert not isinstance(found, str), found
    if setup == "gradient accumulation":
        torch.testing.assert_close(*found, **close(setup))
    else:
        torch.testing.assert_close(found, plain(method), **close(setup))


@pytest.mark.parametrize("setup", ALONE)
@pytest.mark.parametrize("method", METHODS)
def test_one_process(setup, method):
    check(setup, method, in_setup(setup, method))


def together(rank, setup):
    rows = slice(rank, None, 2)
    found = {method: in_setup(setup, method, rows) for method in METHODS}
    return {
        name: torch.tensor(list(each.encode())) if isinstance(each, str) else each
        for name, each in found.items()
    }


@pytest.mark.parametrize("setup", TOGETHER)
def test_two_processes(setup, tmp_path):
    first, second = on_two_processes(together, tmp_path, setup)
    for method in METHODS:
        one, other = (
            bytes(each[method].tolist()).decode() if each[method].ndim == 1 else each[method]
            for each in (first, second)
        )
        if not isinstance(one, str):
            assert torch.equal(one, other), method
        try:
            check(setup, method, one)
        except AssertionError as error:
            raise AssertionError(f"{method}: {error}") from error


def test_the_document_has_this_table():
    text = table.PLACE.read_text()
    assert table.inserted(text) == text, "python tests/setups/table.py writes it"


def test_every_setup_is_tried():
    assert {*ALONE, *TOGETHER} == set(table.REFUSALS)
