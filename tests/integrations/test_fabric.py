"""Lightning Fabric needs nothing of its own: a weighting goes through its checkpoints."""

import torch
from lightning.fabric import Fabric
from torch import nn

from equipoise import SLAW


def prepared():
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    model, optimizer = fabric.setup(layers, torch.optim.Adam(layers.parameters(), lr=0.01))
    return fabric, {"model": model, "optimizer": optimizer, "weighting": SLAW(2)}


def train(fabric, state, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        inputs, targets = torch.randn(2, 8, 4, generator=generator)
        losses = (state["model"](inputs) - 10 * targets[:, :2]).square().mean(0)
        state["optimizer"].zero_grad()
        fabric.backward(state["weighting"](losses))
        state["optimizer"].step()


def test_stopped_and_resumed_is_as_never_stopped(tmp_path):
    straight, stopped, resumed = prepared(), prepared(), prepared()
    train(*straight, range(10))
    train(*stopped, range(5))
    stopped[0].save(tmp_path / "state.ckpt", stopped[1])
    resumed[0].load(tmp_path / "state.ckpt", resumed[1], weights_only=True)
    train(*resumed, range(5, 10))
    for name in ("model", "weighting"):
        found, expected = (each[1][name].state_dict() for each in (resumed, straight))
        assert all(torch.equal(found[key], expected[key]) for key in expected)
