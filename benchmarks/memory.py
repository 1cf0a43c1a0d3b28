"""What a weighting needs of memory: the highest of a step over what was there before it.

    python benchmarks/memory.py

Counted is every block that PyTorch takes from its allocator and gives back during one step, as
the profiler records them, tensors inside operators too: what was there before the step (the
network, its optimizer's state, the batch) is not, nor is the memory of other libraries (solvers of
TorchJD's methods) and of Python. Gradients are dropped before the step, so that they are counted in
it. Once more in units of a gradient of every task in the shared parameters, ``tasks × shared``.
"""

from __future__ import annotations

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # before PyTorch is there: it speaks of each use

import json
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path

from rich.console import Console
from rich.table import Table
from settings import AGAIN, EVERY, METHODS, TOO_LONG, made, patience, virtual_screening
from torch import nn
from torch.profiler import ProfilerActivity, profile

from equipoise.task import Constant

SKIPPED = {AGAIN, EVERY}
"""What differs in time only."""


def peak_of(step: Callable[[], None], network: nn.Module) -> int:
    """Bytes of all blocks that live at once during a step, at most."""
    network.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    blocks = (event["args"]["Bytes"] for event in events if event["name"] == "[memory]")
    return max(accumulate(blocks))


def main() -> None:
    """Measure, and print the table."""
    found = {}
    for setting in map(virtual_screening, (10, 128, 617)):
        setting.take_step(Constant(setting.tasks))  # makes the optimizer's state
        weightings, cells = made(setting)
        peaks = {}
        for name in weightings.keys() - SKIPPED:
            try:
                with patience():
                    step = partial(setting.take_step, weightings[name])
                    peaks[name] = peak_of(step, setting.network)
            except TimeoutError:
                cells[name] = TOO_LONG
        for name, most in peaks.items():
            ratio, share = most / peaks["constant"], most / setting.jacobian
            cells[name] = f"{most / 1e6:,.0f} MB, {ratio:.2f}, {share:.3f}"
        found[setting.name] = cells
    table = Table(
        "", *found, title="Peak of a step; over that with constant weights; over tasks × shared"
    )
    for name in METHODS:
        if name not in SKIPPED:
            table.add_row(name, *(cells[name] for cells in found.values()))
    Console(highlight=False, width=130).print(table)


if __name__ == "__main__":
    main()
