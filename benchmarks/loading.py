"""What loading costs: the time of a step over that of loading its batch, for each way of loading.

    python benchmarks/loading.py [FOLDER]

Scenes of NYUv2's size are made up, 40 of them, and rooms are loaded in the same way; the other
files are those of a folder, by the names below, and what is not there is left out and said. A step
is a plain one with the problem's own network and batch. Both are CPU seconds of one thread, the
least of four, with the files in the system's memory; of problems that keep what they have read, the
first time. Data are never what a run waits for: a step takes at least five times its batch's
loading.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from equipoise.losses import loss_function, task_losses
from equipoise.problems.problem import Problem
from equipoise.problems.vision.layout import CLASSES
from equipoise.study.sources import Source

TIMES = 4
SCENES, HEIGHT, WIDTH = 40, 288, 384
FILES = {
    "cifar10": ("cifar10_jpeg_6000.npz", {}),
    "multimnist": ("mnist", {}),
    "molecules": ("tox21.csv.gz", {}),
    "table": ("adult.csv.gz", {"targets": ("income", "sex")}),
}
"""Problem → file or folder, and other options."""
EMBEDDED = ("mtregression", "toy-noise", "digits")


def made_up(folder: Path) -> None:
    """Scenes of random numbers in the layout of NYUv2, float32."""
    rng = np.random.default_rng(0)
    size = (HEIGHT, WIDTH)
    for part in ("train", "val"):
        for scene in range(SCENES):
            arrays = {
                "image": rng.random((*size, 3)),
                "label": rng.integers(-1, len(CLASSES), size),
                "depth": rng.uniform(0.5, 8, (*size, 1)),
                "normal": rng.normal(size=(*size, 3)),
            }
            for kind, array in arrays.items():
                path = folder / part / kind / f"{scene}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array.astype(np.float32))


def seconds(action: Callable[[], object]) -> float:
    """CPU seconds."""
    began = time.process_time()
    action()
    return time.process_time() - began


def costs(make: Callable[[], Problem]) -> tuple[float, float]:
    """CPU seconds to load a batch that was never loaded, and of a step on it."""
    made = [make() for _ in range(TIMES)]
    rows = torch.randperm(len(made[0].train))[: made[0].recipe.batch_size]
    load = min(seconds(partial(problem.train.__getitem__, rows)) for problem in made)
    problem = made[0]
    batch, network = problem.train[rows], problem.network()
    losses = loss_function(problem.loss_function, tuple(problem.tasks))
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)

    def step() -> None:
        optimizer.zero_grad()
        found, _ = task_losses(*losses(network, batch))
        found.sum().backward()
        optimizer.step()

    return load, min(seconds(step) for _ in range(TIMES))


def problems(folder: Path, scenes: Path) -> Iterator[tuple[str, Callable[[], Problem]]]:
    """Name → what makes the problem."""
    for name in EMBEDDED:
        yield name, partial(_made, name)
    for name, (file, options) in FILES.items():
        if (folder / file).exists():
            yield name, partial(_made, name, data=folder / file, **options)
        else:
            Console().print(f"{name} is left out: there is no {folder / file}")
    for protocol in ("slaw", "mtan"):
        for augment in (False, True):
            label = f"nyuv2 {protocol}{', augmented' * augment}"
            yield label, partial(_made, "nyuv2", data=scenes, protocol=protocol, augment=augment)


def _made(name: str, **options: object) -> Problem:
    source = Source.find(name)
    return source.make(source.options(options))


def main() -> None:
    """Measure, and print the table."""
    torch.set_num_threads(1)
    files = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    table = Table("problem", "load a batch, ms", "step, ms", "ratio")
    with tempfile.TemporaryDirectory() as folder:
        made_up(Path(folder))
        for name, make in problems(files, Path(folder)):
            load, step = costs(make)
            table.add_row(name, f"{1000 * load:.2f}", f"{1000 * step:.1f}", f"{step / load:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
