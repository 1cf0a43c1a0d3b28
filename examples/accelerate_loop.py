"""Balance two losses with Accelerate, in micro-batches, stop, and go on from its checkpoint.

Run it: python examples/accelerate_loop.py, or accelerate launch examples/accelerate_loop.py
"""

import tempfile

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import equipoise

TASKS = ["position", "contact"]
SCALES = torch.tensor([10.0, 1.0])  # in two units of measurement


def main() -> None:
    """Train, save, forget, load, and train on."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    set_seed(0)
    inputs = torch.randn(512, 8)
    targets = torch.tanh(inputs @ torch.randn(8, len(TASKS))) * SCALES
    network = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, len(TASKS)))
    model, optimizer, loader = accelerator.prepare(
        network,
        torch.optim.Adam(network.parameters(), lr=1e-3),
        DataLoader(TensorDataset(inputs, targets), batch_size=8, shuffle=True),
    )
    weighting = equipoise.SLAW(TASKS)  # do not prepare it
    accelerator.register_for_checkpointing(weighting)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            for batch, wanted in loader:
                with (
                    accelerator.accumulate(model),
                    weighting.accumulate(closing=accelerator.sync_gradients),
                ):
                    loss = weighting((model(batch) - wanted).square().mean(0))
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
        weights = {task: f"{each:.3g}" for task, each in weighting.weights_by_task().items()}
        accelerator.print(f"after {epochs} more epochs:", weights)

    train(4)
    with tempfile.TemporaryDirectory() as folder:
        accelerator.save_state(folder)
        weighting.reset()
        accelerator.load_state(folder)
    train(4)


if __name__ == "__main__":
    main()
