"""Accelerate needs nothing of its own: its state, its micro-batches, on one and two processes."""

import os

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from gloo import on_two_processes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from equipoise import SLAW
from equipoise.testing import tolerance

BATCH, PARTS, EPOCHS = 4, 3, 2


@pytest.fixture(autouse=True)
def _own_states():
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def dataset():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, targets * torch.tensor([10.0, 1.0]))


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def prepared(size=BATCH):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=PARTS)
    model, weighting = network(), SLAW(2).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    parts = accelerator.prepare(model, optimizer, DataLoader(dataset(), size))
    accelerator.register_for_checkpointing(weighting)
    return accelerator, weighting, *parts


def train(accelerator, weighting, model, optimizer, loader, epochs=EPOCHS):
    history = []
    for _ in range(epochs):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                losses = (model(inputs) - targets).square().mean(0)
                with weighting.accumulate(closing=accelerator.sync_gradients):
                    accelerator.backward(weighting(losses))
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                history.append(weighting.weights)
    return torch.stack(history)


def by_hand():
    """The same without Accelerate, a step at a time."""
    model, weighting = network(), SLAW(2).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    history = []
    for _ in range(EPOCHS):
        batches = list(DataLoader(dataset(), BATCH))
        for start in range(0, len(batches), PARTS):
            step = batches[start : start + PARTS]
            inputs, targets = (torch.cat(each) for each in zip(*step, strict=True))
            losses = (model(inputs) - targets).square().mean(0)
            optimizer.zero_grad()
            # Accelerate divides by the number of parts, also where an epoch ends with fewer.
            (weighting.weights.dot(losses) * len(step) / PARTS).backward()
            optimizer.step()
            weighting(losses.detach())
            history.append(weighting.weights)
    return torch.stack(history)


def test_micro_batches_make_a_step_together():
    torch.testing.assert_close(train(*prepared()), by_hand(), **tolerance(torch.float64, 10_000))


def work(rank):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    parts = prepared(BATCH // 2)
    assert parts[0].num_processes == 2
    return train(*parts)


def test_two_processes_train_as_one(tmp_path):
    first, second = on_two_processes(work, tmp_path)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, by_hand(), **tolerance(torch.float64, 10_000))


def test_stopped_and_resumed_is_as_never_stopped(tmp_path):
    straight = prepared()
    expected = train(*straight)
    stopped = prepared()
    train(*stopped, epochs=1)
    stopped[0].save_state(tmp_path)
    resumed = prepared()
    resumed[0].load_state(tmp_path)
    found = train(*resumed, epochs=1)
    assert torch.equal(found, expected[-len(found) :])
    for name, each in straight[1].state_dict().items():
        assert torch.equal(each, resumed[1].state_dict()[name])
