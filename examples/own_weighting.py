"""A weighting of one's own: losses in units of their first values.

Run it: python examples/own_weighting.py
Compare it, in this folder: equipoise compare mtregression --methods slaw,own_weighting:FirstLoss
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

import equipoise
from equipoise.testing import conformance


class FirstLoss(equipoise.LossWeighting):
    """Each loss in units of what it was at first.

    ``equipoise methods own_weighting:FirstLoss`` shows the line above and the options below.

    Args:
        tasks: number of tasks, or their names.
        power: how much of the difference is taken out: 1 all of it, 0 none.
    """

    source = "this example"
    first: Tensor

    def __init__(self, tasks: int | Iterable[str], *, power: float = 1.0) -> None:
        super().__init__(tasks)
        self.power = power
        # Declared once: it is saved, restored, moved, cast and reset from now on.
        self.add_state("first", 0.0)

    def update(self, losses: Tensor, counts: Tensor) -> Tensor:
        """Weights ``(tasks,)`` from the losses of all processes, 0 where a task is absent."""
        new = (self.first == 0) & (counts > 0)
        self.first.copy_(torch.where(new, losses, self.first))
        known = self.first > 0
        inverse = torch.where(known, self.first, 1) ** -self.power
        # The tasks that are known share out as much as there are of them; the others keep 1.
        share = known.sum() / torch.where(known, inverse, 0).sum()
        return torch.where(known, share * inverse, 1)


def main() -> None:
    """Ask it what every weighting is asked, and balance two losses with it."""
    conformance(FirstLoss)
    conformance(FirstLoss, power=0.5)

    torch.manual_seed(0)
    network = nn.Linear(8, 2)
    weighting = FirstLoss(["depth", "normals"])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    truth, scales = torch.randn(8, 2), torch.tensor([100.0, 0.1])
    for _ in range(200):
        inputs = torch.randn(32, 8)
        errors = (network(inputs) - inputs @ truth * scales).square()
        loss = weighting(errors)  # (samples, tasks): the means are taken
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print({name: f"{weight:.3g}" for name, weight in weighting.weights_by_task().items()})


if __name__ == "__main__":
    main()
