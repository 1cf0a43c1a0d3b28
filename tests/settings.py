"""Models, batches and derivatives by loops over single samples."""

import torch
from torch import nn


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent = recurrent

    def forward(self, inputs):
        return self.recurrent(inputs)[0][:, -1]


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0, batch_first=True)

    def forward(self, inputs):
        return self.layer(inputs).flatten(1)


TRUNKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5)), (4,)),
    "batchnorm": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.SiLU(), nn.MaxPool2d(2), nn.Flatten()
        ),
        (2, 6, 6),
    ),
    "attention": (Attentive, (3, 4)),
    "lstm": (lambda: Last(nn.LSTM(4, 5, batch_first=True)), (3, 4)),
    "gru": (lambda: Last(nn.GRU(4, 5, batch_first=True)), (3, 4)),
}


def squared_errors(model, batch):
    inputs, targets, mask = batch
    return (model(inputs) - targets) ** 2, mask


def setting(trunk, *, samples=4, tasks=3, missing=True, dtype=torch.float64):
    """A model of a trunk and heads, and a batch."""
    make, shape = TRUNKS[trunk]
    model = nn.Sequential(make(), nn.LazyLinear(tasks))
    inputs = torch.randn(samples, *shape)
    model(inputs)
    targets = torch.randn(samples, tasks)
    mask = torch.rand(samples, tasks) < 0.7 if missing else None
    return model.to(dtype), (inputs.to(dtype), targets.to(dtype), mask)


def by_loops(model, batch, direction, shared):
    """A backward pass for every sample of every task."""
    losses, _ = squared_errors(model, batch)
    derivatives = torch.zeros_like(losses)
    for index in [divmod(number, losses.shape[1]) for number in range(losses.numel())]:
        gradients = torch.autograd.grad(losses[index], shared, retain_graph=True)
        pairs = zip(gradients, direction, strict=True)
        derivatives[index] = sum((gradient * part).sum() for gradient, part in pairs)
    return losses, derivatives
