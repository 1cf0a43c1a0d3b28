"""Balance two losses in a LightningModule, in micro-batches, stop, and go on from a checkpoint.

Run it: python examples/lightning_module.py (needs lightning)
"""

import tempfile

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import equipoise
from equipoise.integrations.lightning import WeightingCallback, closing

TASKS = ["position", "contact"]
SCALES = torch.tensor([10.0, 1.0])  # in two units of measurement


class Network(LightningModule):
    """A trunk, a head for each task, and the weighting as a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 64), nn.Tanh())
        self.heads = nn.Linear(64, len(TASKS))
        self.weighting = equipoise.SLAW(TASKS)

    def losses(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The mean loss of each task, ``(tasks,)``."""
        inputs, targets = batch
        return (self.heads(self.trunk(inputs)) - targets).square().mean(0)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The weighted sum of the losses."""
        with self.weighting.accumulate(closing=closing(self.trainer, batch_idx)):
            return self.weighting(self.losses(batch))

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """The weights are used, and learn nothing."""
        self.log("val_loss", self.weighting(self.losses(batch)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    """Train, and train on from the checkpoint."""
    seed_everything(0, verbose=False)
    inputs = torch.randn(512, 8)
    data = TensorDataset(inputs, torch.tanh(inputs @ torch.randn(8, len(TASKS))) * SCALES)
    with tempfile.TemporaryDirectory() as folder:
        for epochs in (2, 4):
            network = Network()
            trainer = Trainer(
                max_epochs=epochs,
                accumulate_grad_batches=2,
                log_every_n_steps=4,
                accelerator="cpu",
                callbacks=[WeightingCallback("weighting")],
                default_root_dir=folder,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            last = f"{folder}/last.ckpt" if epochs > 2 else None
            trainer.fit(network, DataLoader(data, 16), DataLoader(data, 256), ckpt_path=last)
            trainer.save_checkpoint(f"{folder}/last.ckpt")
            weights = network.weighting.weights_by_task()
            print(f"after epoch {epochs}:", {task: f"{each:.3g}" for task, each in weights.items()})


if __name__ == "__main__":
    main()
