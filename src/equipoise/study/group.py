"""Several processes that train one run together, by DistributedDataParallel."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias

import cloudpickle
import torch
import torch.distributed as dist

Work: TypeAlias = Callable[[torch.device], Any]

LONGEST_SILENCE = timedelta(minutes=30)


def together(number: int, device: str, ours: Work, theirs: Work) -> Any:
    """What ``ours(device)`` returns, while so many processes, this one the first, do it together.

    Args:
        number: of processes.
        device: the kind of device; of CUDA each process has one of its own.
        ours: what this process does.
        theirs: what the others do, which are sent it.

    Raises:
        RuntimeError: if another process dies.
    """
    if number == 1:
        return ours(torch.device(device))
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder, "rendezvous"))
        context = multiprocessing.get_context("spawn")
        content = cloudpickle.dumps(theirs)
        others = [
            context.Process(target=_join, args=(rank, number, device, meeting, content))
            for rank in range(1, number)
        ]
        for each in others:
            start(each)
        try:
            with _member(0, number, device, meeting) as own:
                return ours(own)
        finally:
            for each in others:
                each.join(1)
                each.kill()


def start(process: BaseProcess) -> None:
    """Start a process that Ctrl-C does not reach, which goes to all processes of a terminal.

    The first one says what is to be done, and hears of Ctrl-C when the other is started.
    """
    resource_tracker.ensure_running()  # or it is started below, and lets signals through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _join(rank: int, number: int, device: str, meeting: str, content: bytes) -> None:
    with _member(rank, number, device, meeting) as own:
        cloudpickle.loads(content)(own)


@contextmanager
def _member(rank: int, number: int, device: str, meeting: str) -> Iterator[torch.device]:
    own = torch.device(f"cuda:{rank}" if device == "cuda" else device)
    dist.init_process_group(
        "nccl" if own.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=number,
        timeout=LONGEST_SILENCE,
    )
    try:
        yield own
        # PyTorch may abort on leaving while a model of DistributedDataParallel is still there.
        gc.collect()
        dist.barrier()
    finally:
        dist.destroy_process_group()
