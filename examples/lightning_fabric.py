"""Balance two losses with Lightning Fabric, which needs nothing of its own for a weighting.

Run it: python examples/lightning_fabric.py (needs lightning)
"""

import tempfile

import torch
from lightning.fabric import Fabric
from torch import nn

import equipoise

SCALES = torch.tensor([10.0, 1.0])  # in two units of measurement


def main() -> None:
    """Train, save, load into a fresh weighting, and train on."""
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.seed_everything(0, verbose=False)
    truth = torch.randn(8, 2)
    network = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 2))
    model, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=1e-3))
    weighting = equipoise.SLAW(["position", "contact"])  # do not set it up: it goes as it is

    def train(steps: int) -> None:
        for _ in range(steps):
            inputs = torch.randn(32, 8, device=fabric.device)
            losses = (model(inputs) - torch.tanh(inputs @ truth) * SCALES).square().mean(0)
            optimizer.zero_grad()
            fabric.backward(weighting(losses))
            optimizer.step()
        weights = {task: f"{each:.3g}" for task, each in weighting.weights_by_task().items()}
        print(f"after {steps} more steps:", weights)

    train(200)
    with tempfile.TemporaryDirectory() as folder:
        state = {"model": model, "optimizer": optimizer, "weighting": weighting}
        fabric.save(f"{folder}/state.ckpt", state)
        weighting = state["weighting"] = equipoise.SLAW(weighting.tasks)
        fabric.load(f"{folder}/state.ckpt", state)
    train(200)


if __name__ == "__main__":
    main()
