"""How few checked labels make a gate, and what else the same labels, or none, would do.

    python benchmarks/gate.py FOLDER [--seeds 5] [--jobs 2] [--problems digits,cifar10] [--curve]

Labels of the main task are made wrong in the training part. Of the right ones a few of each class
are a judge: drawn anew with each seed, and held out from training unless it says so. Printed is the
main task's figure on clean test labels at the last step, at the step that is best on clean labels,
and at the one that seems best on labels as wrong as those that are trained on: means over the
seeds, and half the width of a 95% interval. ``--curve`` is the main part: 40% wrong labels of the
main task, every size of judge, and none wrong; without it 20%, 60% and wrong labels of all tasks
follow.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
)
from torch.utils.data import TensorDataset

from equipoise.errors import UserError
from equipoise.problems.images.cifar10 import cifar10
from equipoise.problems.images.digits import digits
from equipoise.problems.images.multimnist import multimnist
from equipoise.problems.problem import Problem
from equipoise.problems.synthetic.toynoise import OUTLIER, toynoise
from equipoise.problems.table.table import table
from equipoise.study.loop import Loop
from equipoise.study.measure import measure
from equipoise.study.methods import find_methods

GATE = "slgate(shared='border')"
SIZES = (1, 2, 5, 10, 20, 50, 100)
"""Checked labels of each class; of numbers, five times as many altogether."""
USUAL = 10
BATCH = 64
"""Held-out samples of a step, or all there are."""
Q = 0.7
"""Of the generalised cross-entropy, Zhang and Sabuncu, 2018, arXiv 1805.07836."""
SMOOTHING = 0.2
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """A problem with wrong labels, right ones to judge by, and losses that no judge needs."""

    problem: Problem
    losses: Mapping[str, Callable[[Any, Any], Any]]


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    method: str = "constant"
    judge: int | None = None
    """Checked labels of each class."""
    batch: int = BATCH
    trained_on: bool = False
    alone: bool = False
    losses: str | None = None


def settings(folder: Path) -> dict[str, Callable[[float, str], Setting]]:
    """By name, the setting of a share of wrong labels of the main task or of all."""
    return {
        "toy-noise": lambda noise, noisy: Setting(toynoise(noise, noisy), OF_NUMBERS),
        "digits": lambda noise, noisy: Setting(
            digits(main="left", held_out=0.25, noise=noise, noisy=noisy), OF_CLASSES
        ),
        "cifar10": lambda noise, noisy: Setting(
            cifar10(folder / "cifar10_jpeg_6000.npz", noise=noise, noisy=noisy, held_out=1_100),
            OF_ANSWERS,
        ),
        "adult": lambda noise, noisy: adult(folder / "adult.csv.gz", noise, noisy),
        "multimnist": lambda noise, noisy: Setting(
            multimnist(folder / "mnist", noise=noise, noisy=noisy, pairs=6_000), OF_CLASSES
        ),
    }


def adult(file: Path, noise: float, noisy: str) -> Setting:
    """Income, and sex beside it, of 4,000 people to train on."""
    problem = table(file, targets=("income", "sex"), main="income", held_out=0.2)
    some = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(0))[:4_000]
    train = TensorDataset(*problem.train[some])
    wrong = drawn(train, 0, noise)
    if noisy == "main":
        wrong[:, 1:] = False
    inputs, labels, mask = train.tensors
    labels = torch.where(wrong, 1 - labels, labels)
    return Setting(
        replace(problem, train=TensorDataset(inputs, labels, mask), corrupted=wrong, classes=None),
        {
            name: lambda outputs, batch, loss=loss: (loss(outputs["binary"], batch), batch[2])
            for name, loss in OF_ANSWERS.items()
        },
    )


def drawn(data: TensorDataset, seed: int, noise: float) -> Tensor:
    """Which labels are wrong, boolean of their shape."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(data.tensors[1].shape, generator=generator) < noise


def as_wrong(data: TensorDataset, noise: float, main: int) -> TensorDataset:
    """A part to choose the step on, with the main task's labels as wrong as those trained on."""
    inputs, labels, *rest = data.tensors
    wrong = drawn(data, 1, noise)
    if labels.dtype == torch.int64:
        generator = torch.Generator().manual_seed(2)
        others = (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10
    else:
        numbers = len(labels[:, main].unique()) > 2
        others = torch.full_like(labels, OUTLIER) if numbers else 1 - labels
    changed = labels.clone()
    changed[:, main] = torch.where(wrong, others, labels)[:, main]
    return TensorDataset(inputs, changed, *rest)


def judge(problem: Problem, each: int, seed: int) -> TensorDataset:
    """So many samples of each class of the main task; of numbers, five times as many in all."""
    pool = problem.held_out
    assert isinstance(pool, TensorDataset)
    labels = pool.tensors[1][:, list(problem.tasks).index(problem.main or "")].numpy()
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    if len(classes) > 10:  # numbers
        rows = rng.permutation(len(labels))[: 5 * each]
    else:
        rows = np.concatenate(
            [rng.permutation(np.flatnonzero(labels == k))[:each] for k in classes]
        )
    return TensorDataset(*pool[torch.from_numpy(np.sort(rows))])


def together(one: TensorDataset, other: TensorDataset) -> TensorDataset:
    """The samples of both."""
    return TensorDataset(
        *(torch.cat(pair) for pair in zip(one.tensors, other.tensors, strict=True))
    )


def ways(losses: Sequence[str], full: bool) -> list[Way]:
    """What is tried."""
    gate = partial(Way, method=GATE)
    if not full:
        return [
            Way("equal weights"),
            *(gate(f"judged by {each}", judge=each) for each in (2, USUAL, 50)),
            Way(f"{USUAL} trained on too", judge=USUAL, trained_on=True),
            *(Way(name, losses=name) for name in losses),
        ]
    return [
        Way("equal weights"),
        *(gate(f"judged by {each}", judge=each) for each in SIZES),
        *(gate(f"judged by 100, {batch} a step", judge=100, batch=batch) for batch in (8, 16, 32)),
        gate(f"judged by {USUAL}, whole trunk", method="slgate", judge=USUAL),
        *(Way(f"{each} trained on too", judge=each, trained_on=True) for each in (USUAL, 100)),
        *(Way(f"{each} trained on alone", judge=each, alone=True) for each in (USUAL, 100)),
        *(Way(name, losses=name) for name in losses),
    ]


def trained(setting: Setting, way: Way, noise: float, seed: int) -> tuple[float, float, float]:
    """The main task's figure at the last step, and at those chosen on right and wrong labels."""
    torch.set_num_threads(1)
    problem = setting.problem
    assert problem.main is not None
    recipe = replace(problem.recipe, held_out_batch_size=way.batch)
    if way.judge is not None:
        own = judge(problem, way.judge, seed)
        train = own if way.alone else problem.train
        if way.trained_on:
            assert isinstance(problem.train, TensorDataset)
            train = together(problem.train, own)
        problem = replace(problem, held_out=own, train=train)
    if way.losses is not None:
        problem = replace(problem, losses=setting.losses[way.losses])
    (method,) = find_methods(way.method)
    wrong = as_wrong(problem.validation, noise, list(problem.tasks).index(problem.main))
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop = Loop(
            problem, partial(method.make, problem, seed), seed=seed, recipe=recipe, device=CPU
        )
        loop.record.samples = None
        seeming = []
        while not loop.done:
            loop.step()
            if loop.record.done in loop.record.points:
                seeming.append(_measured(problem, loop.network, wrong))
    tests = [each[problem.objective][problem.main] for each in loop.record.test]
    sign = 1 if problem.goals[problem.objective] == "max" else -1
    best, seems = (
        max(range(len(values)), key=lambda k: sign * np.nan_to_num(values[k], nan=-sign * np.inf))
        for values in (loop.record.validation, seeming)
    )
    return tests[-1], tests[best], tests[seems]


def _measured(problem: Problem, network: torch.nn.Module, data: TensorDataset) -> float:
    network.eval()
    with torch.no_grad():
        found = measure(problem, network, data, device=CPU, batch_size=1_000)
    network.train()
    return float(found[problem.objective][problem.main or ""])


def _generalised(likelihood: Tensor) -> Tensor:
    return (1 - likelihood.clamp(min=1e-6) ** Q) / Q


def _softened(labels: Tensor) -> Tensor:
    return labels * (1 - SMOOTHING) + SMOOTHING / 2


def _of_digits(logits: Tensor, batch: Any, **options: Any) -> Tensor:
    flat = cross_entropy(logits.flatten(0, 1), batch[1].flatten(), reduction="none", **options)
    return flat.view_as(batch[1])


_binary = partial(binary_cross_entropy_with_logits, reduction="none")

OF_CLASSES = {
    "generalised cross-entropy": lambda logits, batch: _generalised(
        (-_of_digits(logits, batch)).exp()
    ),
    "label smoothing": partial(_of_digits, label_smoothing=SMOOTHING),
}
OF_ANSWERS = {
    "generalised cross-entropy": lambda logits, batch: _generalised(
        (-_binary(logits, batch[1])).exp()
    ),
    "label smoothing": lambda logits, batch: _binary(logits, _softened(batch[1])),
}
OF_NUMBERS = {
    "Huber": lambda outputs, batch: huber_loss(outputs, batch[1], reduction="none", delta=0.1),
    "absolute error": lambda outputs, batch: l1_loss(outputs, batch[1], reduction="none"),
}


def rows(
    name: str,
    make: Callable[[float, str], Setting],
    asked: argparse.Namespace,
    pool: ProcessPoolExecutor,
) -> Iterator[tuple[str, list[str]]]:
    """What is printed of a problem, line by line."""
    corruptions = [(0.4, "main"), (0.0, "main")]
    if not asked.curve:
        corruptions += [(0.2, "main"), (0.6, "main"), (0.4, "all")]
    for noise, noisy in corruptions:
        setting = make(noise, noisy)
        full = (noise, noisy) == corruptions[0]
        for way in ways(list(setting.losses), full):
            run = partial(_by_name, asked.folder, name, noise, noisy, way)
            found = list(pool.map(run, range(asked.seeds)))
            yield f"{noise:.0%} of {noisy}", [way.name, *map(_told, zip(*found, strict=True))]


def _by_name(
    folder: Path, name: str, noise: float, noisy: str, way: Way, seed: int
) -> tuple[float, float, float]:
    """In another process, to which functions do not travel."""
    return trained(settings(folder)[name](noise, noisy), way, noise, seed)


def _told(values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.4g}"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.4f} ± {half:.4f}"


def main() -> None:
    """Train, and print a table a problem."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--problems", help="some of them, with commas between")
    parser.add_argument("--curve", action="store_true", help="its main part only")
    asked = parser.parse_args()
    console = Console(width=120, highlight=False)
    known = settings(asked.folder)
    with ProcessPoolExecutor(asked.jobs) as pool:
        for name in asked.problems.split(",") if asked.problems else known:
            table = Table(
                "wrong", "way", "last step", "chosen on right labels", "on wrong ones", title=name
            )
            try:
                for wrong, cells in rows(name, known[name], asked, pool):
                    console.print(name, wrong, *cells, sep=" | ")
                    table.add_row(wrong, *cells)
            except UserError as error:  # such as a file that is not there
                console.print(f"left out: {name}: {error}")
                continue
            console.print(table)


if __name__ == "__main__":
    main()
