"""Two processes must weigh as one process does on the whole batch."""

import pytest
import torch
from gloo import on_two_processes
from tiny import METHODS, Tiny, learn

from equipoise import Step
from equipoise.processes import whole_batch
from equipoise.testing import tolerance

NAMES = ("a", "b", "c")
# A hundred operations one after another, of which some take differences.
CLOSE = tolerance(torch.float64, 10**6)
TIMES, UNLABELLED, EMPTY, SPOILT = range(9), 2, 3, 5
WHOLE, SHARES = slice(0, 8), (slice(0, 5), slice(5, 8))

# Losses and counts of two processes, and of both: the counts are beyond float16, and where one
# has no label it does not matter what its loss is.
PARTS = (
    (torch.tensor([1.0, 2.0, 3.0, torch.nan], dtype=torch.float16), torch.tensor([90000, 5, 0, 0])),
    (
        torch.tensor([2.0, torch.inf, torch.nan, 1.0], dtype=torch.float16),
        torch.tensor([10000, 1, 0, 2]),
    ),
)
SUM = torch.tensor([[1.1, torch.inf, 0.0, 1.0], [100000, 6, 0, 2]])


def losses(network, batch):
    """Losses of some rows of a batch, and the labels present, of which the numbers are uneven."""
    time, rows = batch
    found = network.sample_losses(time)
    mask = torch.rand(found.shape, generator=torch.Generator().manual_seed(time)) < 0.7
    mask[0] = True
    if time == UNLABELLED:
        mask[SHARES[1], 1] = False
    if time == EMPTY:
        mask[SHARES[1]] = False
    if time == SPOILT:
        mask[6, 0] = True
        spoilt = torch.zeros_like(mask)
        spoilt[6, 0] = True  # on one process, and with a gradient that is finite
        found = torch.where(spoilt, found + torch.nan, found)
    return found[rows], mask[rows]


def histories(rows):
    weights = {}
    for method in METHODS:
        network = Tiny().double()
        options = {"shared": network.trunk, "initial": (1.0, 2.0, 0.5)}
        weighting = method.made_for(NAMES, losses, network, **options).double()
        found = []
        for time in TIMES:
            learn(weighting, weighting.weigh(Step(losses, network, (time, rows))))
            found.append(weighting.weights)
        weights[method.__name__] = torch.stack(found)
    return weights


def work(rank):
    results = histories(SHARES[rank])
    results["whole batch"] = torch.stack(whole_batch(*PARTS[rank]))
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_two_processes(work, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def whole():
    return histories(WHOLE)


@pytest.mark.parametrize("name", [method.__name__ for method in METHODS])
def test_two_processes_are_one(name, ranks, whole):
    assert torch.equal(ranks[0][name], ranks[1][name])
    torch.testing.assert_close(ranks[0][name], whole[name], **CLOSE)
    assert ranks[0][name].isfinite().all()


def test_whole_batch(ranks):
    for results in ranks:
        torch.testing.assert_close(results["whole batch"], SUM, **tolerance(torch.float32, 2))


def test_whole_batch_of_one_process_is_its_own():
    losses, counts = PARTS[0]
    found = whole_batch(losses, counts)
    assert found[0] is losses
    assert found[1] is counts
