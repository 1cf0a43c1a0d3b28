"""Work that two processes do together."""

import datetime
import gc
import os

import torch
import torch.distributed as dist


def on_two_processes(work, folder, *arguments):
    """What ``work(rank, *arguments)`` returned on each of two processes."""
    torch.multiprocessing.spawn(_join, (work, str(folder), arguments), nprocs=2)
    return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(2)]


def _join(rank, work, folder, arguments):
    torch.set_num_threads(int(os.environ.get("EQUIPOISE_THREADS", "1")))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    torch.save(work(rank, *arguments), f"{folder}/{rank}.pt")
    # PyTorch may abort on leaving while a model of DistributedDataParallel is still there.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()
