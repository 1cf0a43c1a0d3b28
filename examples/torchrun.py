"""Balance two losses on several processes: their weights are those of the whole batch.

Run it: torchrun --nproc-per-node 2 examples/torchrun.py
"""

import gc

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import equipoise

BATCH = 32
SCALES = torch.tensor([10.0, 1.0])  # in two units of measurement


def train(rank: int, processes: int) -> dict[str, float]:
    """Train on a part of each batch; the weights at the end."""
    torch.manual_seed(0)
    truth = torch.randn(8, 2)
    network = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 2))
    model = DistributedDataParallel(network)
    weighting = equipoise.SLAW(["position", "contact"])  # do not wrap it
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for _ in range(100):
        batch = torch.randn(BATCH, 8).tensor_split(processes)[rank]
        losses = (model(batch) - torch.tanh(batch @ truth) * SCALES).square().mean(0)
        optimizer.zero_grad()
        weighting(losses, torch.full((2,), len(batch))).backward()
        optimizer.step()
    return weighting.weights_by_task()


def main() -> None:
    """Train, and say what each process has at the end."""
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    everywhere = [{} for _ in range(processes)]
    dist.all_gather_object(everywhere, train(rank, processes))
    if rank == 0:
        for process, weights in enumerate(everywhere):
            found = ", ".join(f"{task} {weight:.5g}" for task, weight in weights.items())
            print(f"process {process} of {processes}: {found}")
    # PyTorch may abort on leaving while a model of DistributedDataParallel is still there.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
