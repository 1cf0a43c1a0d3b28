"""Where SLAW by differences leads over SLAW, and both over equal weights, on problem after problem.

    python benchmarks/differences.py FOLDER [--seeds 5]

The data files are those of a folder, by the names below; what is not there is left out and said.
The restarts set the learning rate back to its start three times, after a cosine to nothing:
whenever it jumps, losses move in a way that says nothing of the tasks. Leads are paired by seed,
positive where better, with 95% intervals of each by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from equipoise import compare
from equipoise.problems.problem import Problem
from equipoise.problems.synthetic.mtregression import RECIPE, mtregression
from equipoise.study.claims import lead_over
from equipoise.study.sources import Source

DIFFERENCES = "slaw(spread='differences')"
METHODS = ("constant", "slaw", DIFFERENCES)
PAIRS = ((DIFFERENCES, "slaw"), ("slaw", "constant"), (DIFFERENCES, "constant"))
FILES = {
    "adult": ("table", "adult.csv.gz", {"targets": ("income", "sex")}),
    "enb": ("table", "enb.csv", {"targets": ("Y1", "Y2")}),
    "sarcos": (
        "table",
        "sarcos_inv_test.csv.gz",
        {"targets": tuple(f"tau{joint}" for joint in range(1, 8))},
    ),
    "Tox21": ("molecules", "tox21.csv.gz", {}),
    "MUV, rare": ("molecules", "muv.csv.gz", {}),
    "ChEMBL, rare": ("molecules", "chembl_5thresh.csv.gz", {}),
}
"""What is printed → problem, file and other options."""
STEPS = 400
RESTARTS = 3


def restarting(optimizer: Optimizer, steps: int) -> CosineAnnealingWarmRestarts:
    """Cosines of equal length, one after another."""
    return CosineAnnealingWarmRestarts(optimizer, max(steps // (RESTARTS + 1), 1))


def problems(folder: Path) -> Iterator[tuple[str, Problem]]:
    """What is printed, and the problem."""
    for tasks in (2, 10):
        yield f"regression, {tasks} tasks", mtregression(tasks)
        recipe = replace(RECIPE, schedule=restarting)
        yield f"regression, {tasks} tasks, restarts", mtregression(tasks, recipe=recipe)
    yield "digits", _made("digits")
    yield "digits, restarts", _restarted(_made("digits"))
    for label, (name, file, options) in FILES.items():
        if (folder / file).exists():
            yield label, _made(name, data=folder / file, **options)
        else:
            Console().print(f"{label} is left out: there is no {folder / file}")


def _made(name: str, **options: object) -> Problem:
    source = Source.find(name)
    return source.make(source.options(options))


def _restarted(problem: Problem) -> Problem:
    return replace(problem, recipe=replace(problem.recipe, schedule=restarting))


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    table = Table("problem", "objective", "equal weights", *(" over ".join(pair) for pair in PAIRS))
    with TemporaryDirectory() as out:
        study = partial(compare, methods=METHODS, seeds=asked.seeds, steps=STEPS, jobs=2)
        for number, (label, problem) in enumerate(problems(asked.folder)):
            found = study(problem, out=Path(out) / str(number))
            equal = {row.method: row for row in found.comparison.methods}["constant"].metrics[
                problem.objective
            ]
            leads = (lead_over(found, *pair).signed for pair in PAIRS)
            table.add_row(label, problem.objective, str(equal), *leads)
            Console().print(f"{label}: {table.row_count} done")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
