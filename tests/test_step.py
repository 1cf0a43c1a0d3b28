import torch
from torch import nn

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
