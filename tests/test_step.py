import pytest
import torch
from torch import nn

from equipoise.directional import random_direction
from equipoise.step import Step


def test_losses_and_counts_come_from_one_forward_pass():
    calls = []

    def losses(model, batch):
        calls.append(batch)
        return model(batch) ** 2, batch > 0

    model, batch = nn.Linear(2, 2, bias=False), torch.tensor([[1.0, -1.0], [2.0, -2.0]])
    step = Step(losses, model, batch, model.parameters())
    assert not calls

    squares = (batch @ model.weight.T) ** 2
    torch.testing.assert_close(step.losses, torch.stack([squares[:, 0].mean(), torch.tensor(0.0)]))
    assert step.counts.tolist() == [2, 0]
    torch.testing.assert_close(step.sample_losses[0], squares)
    assert len(calls) == 1
    assert list(step.shared) == [model.weight]
    assert step.losses.requires_grad


@pytest.mark.parametrize("losses_first", [False, True])
def test_derivatives_and_losses_come_from_one_pass_unless_losses_were_there(losses_first):
    calls = []

    def losses(model, batch):
        calls.append(batch)
        return model(batch) ** 2, batch[:, :2] > -1

    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    batch = torch.randn(5, 3)
    step = Step(losses, model, batch, model[1].parameters())
    direction = random_direction(step.shared, 1)
    if losses_first:
        before = step.losses
    derivatives = step.derivatives(direction)
    if losses_first:
        assert step.losses is before
    assert len(calls) == 1 + losses_first
    assert model[0].num_batches_tracked == 1

    for loss, derivative in zip(step.losses, derivatives, strict=True):
        gradients = torch.autograd.grad(loss, step.shared, retain_graph=True)
        expected = sum((g * u).sum() for g, u in zip(gradients, direction, strict=True))
        torch.testing.assert_close(derivative, expected)
    torch.testing.assert_close(step.derivatives([2 * part for part in direction]), 2 * derivatives)
    assert len(calls) == 2 + losses_first
    assert model[0].num_batches_tracked == 1
    step.losses.sum().backward()
    assert model[1].weight.grad.any()
