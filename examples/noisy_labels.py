"""Learn prices from a main task with many wrong labels, with a second task to help.

Run it: python examples/noisy_labels.py
"""

import torch
from torch import nn

import equipoise

SAMPLES, HELD_OUT, WRONG = 1_000, 100, 0.4


class Network(nn.Module):
    """A trunk, and a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.price, self.rent = nn.Linear(64, 1), nn.Linear(64, 1)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predictions ``(samples,)`` by task."""
        features = self.trunk(inputs)
        return {"price": self.price(features)[:, 0], "rent": self.rent(features)[:, 0]}


def losses(model: nn.Module, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The loss of each sample: no mean is taken."""
    inputs, price, rent = batch
    outputs = model(inputs)
    return {"price": (outputs["price"] - price) ** 2, "rent": (outputs["rent"] - rent) ** 2}


def main() -> None:
    """Train with uniform weights and with SLGate, and compare them on clean labels."""
    torch.manual_seed(0)
    inputs = torch.randn(2 * SAMPLES, 20)
    price = torch.tanh(inputs @ torch.randn(20) / 3)
    rent = torch.tanh(2 * price) + 0.1 * torch.randn(len(price))
    test = [part[SAMPLES:] for part in (inputs, price, rent)]
    wrong = (torch.rand(SAMPLES) < WRONG) & (torch.arange(SAMPLES) >= HELD_OUT)
    labels = torch.where(wrong, -2.0, price[:SAMPLES])
    data = [inputs[:SAMPLES], labels, rent[:SAMPLES]]
    held_out = [part[:HELD_OUT] for part in data]  # few samples, whose labels somebody has checked

    for name in ("uniform weights", "SLGate"):
        torch.manual_seed(1)
        network = Network()
        # The same learning rate for both: uniform weights of SLGate's are the sum of the means.
        optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9)
        slgate = equipoise.SLGate(losses, network, main="price", shared=network.trunk)
        kept = torch.zeros(SAMPLES)  # in the last epoch
        for _ in range(30):
            for rows in (HELD_OUT + torch.randperm(SAMPLES - HELD_OUT)).split(64):
                batch = [part[rows] for part in data]
                if name == "SLGate":
                    loss = slgate(batch, held_out)
                    kept[rows] = (slgate.weights[:, 0] > 0).float()
                else:
                    loss = sum(each.mean() for each in losses(network, batch).values())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            error = losses(network, test)["price"].mean()
        print(f"{name}: squared error of the price on clean labels {error:.3f}")
    clean, spoilt = kept[HELD_OUT:][~wrong[HELD_OUT:]].mean(), kept[wrong].mean()
    print(f"kept at the end: {clean:.0%} of the right labels, {spoilt:.0%} of the wrong ones")


if __name__ == "__main__":
    main()
