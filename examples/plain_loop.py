"""Balance three losses in a training loop of one's own, stop, and go on from a checkpoint.

Run it: python examples/plain_loop.py
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import equipoise

TASKS = ["position", "speed", "contact"]
SCALES = torch.tensor([100.0, 1.0, 0.01])  # three units of measurement, far apart


class Network(nn.Module):
    """A trunk and a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 64), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(64, 1) for task in TASKS})

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predictions ``(samples,)`` by task."""
        features = self.trunk(inputs)
        return {task: head(features).squeeze(1) for task, head in self.heads.items()}


def main() -> None:
    """Train, save, load into fresh objects, and train on."""
    torch.manual_seed(0)
    truth = torch.randn(8, len(TASKS))
    network, weighting = Network(), equipoise.SLAW(TASKS)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def train(steps: int) -> None:
        for step in range(steps):
            inputs = torch.randn(32, 8)
            targets = torch.tanh(inputs @ truth) * SCALES
            outputs = network(inputs)
            losses = {
                task: nn.functional.mse_loss(outputs[task], targets[:, k])
                for k, task in enumerate(TASKS)
            }
            if step % 5 == 0:
                del losses["contact"]  # a batch without labels of one task: leave it out
            loss = weighting(losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    train(200)
    print("after 200 steps:", {k: f"{w:.3g}" for k, w in weighting.weights_by_task().items()})

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        parts = {"network": network, "weighting": weighting, "optimizer": optimizer}
        torch.save({name: part.state_dict() for name, part in parts.items()}, path)

        network, weighting = Network(), equipoise.SLAW(TASKS)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        saved = torch.load(path, weights_only=True)
        network.load_state_dict(saved["network"])
        weighting.load_state_dict(saved["weighting"])
        optimizer.load_state_dict(saved["optimizer"])

    train(200)
    print("after 400 steps:", {k: f"{w:.3g}" for k, w in weighting.weights_by_task().items()})


if __name__ == "__main__":
    main()
