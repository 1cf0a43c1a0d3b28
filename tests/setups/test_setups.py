"""Whatever trains a model: weights and gradients of a plain loop in float64, or one sentence."""

import warnings

import pytest
import torch
import torch.distributed as dist
from gloo import on_two_processes
from setups import table
from setups.hosts import HOSTS
from setups.loop import STEPS, Network, batch, losses, made, plain, trained
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

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
TOGETHER = [setup for setup in table.REFUSALS if setup not in {*ALONE, *HOSTS}]
LOW = ("bfloat16 autocast", "float16 autocast, GradScaler", "FSDP2, bfloat16 policy")
DIFFERENCE = ("FSDP2", "checkpointed, reentrant")
"""Where derivatives may be approximate."""


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
    loops = {*WRAPPERS, *OPTIONS, "plain loop", "gradient accumulation"}
    assert {*ALONE, *TOGETHER} == loops
    assert {*loops, *HOSTS} == set(table.REFUSALS)
