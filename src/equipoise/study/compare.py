"""Methods side by side on a problem: which serves it best."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd
from rich.console import Console

from equipoise.errors import UserError
from equipoise.problems.parameters import check_whole
from equipoise.study.asked import MOST_SEEDS, Where, ask
from equipoise.study.confirm import FIRST
from equipoise.study.methods import Method, MethodLike, check_methods
from equipoise.study.names import REFERENCE
from equipoise.study.results import Results, open_study
from equipoise.study.running import run
from equipoise.study.sources import ProblemLike

PathLike: TypeAlias = "str | os.PathLike[str]"


def compare(
    problem: ProblemLike | pd.DataFrame,
    *,
    options: Mapping[str, Any] | None = None,
    methods: str | Sequence[MethodLike] | None = None,
    seeds: int = 5,
    steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    single_task: bool = False,
    confirm: int = 0,
    confirm_top: int = 1,
    device: str = "cpu",
    threads: int = 1,
    processes: int = 1,
    jobs: int = 1,
    on: Literal["processes", "ray"] = "processes",
    address: str | None = None,
    checkpoint: float = 60.0,
    out: PathLike | None = None,
    progress: bool | Console = True,
) -> Results:
    """Train methods side by side on a problem, and say which serves it best.

    What is finished is kept in a folder, and so is, every minute, how far the others are: stopped,
    killed or interrupted, the same call goes on from there, and ends as if it had never stopped.
    A run that fails does not stop the others; see :attr:`Results.failures`.

    Args:
        problem: the name of a built-in problem, ``module:attribute``, a
            :class:`~equipoise.problems.Problem`, a function that makes one, or a data frame, whose
            columns ``options={"targets": [...]}`` are learned from the others.
        options: what the problem is made with.
        methods: texts as in ``"slaw(beta=0.9)"``, classes, or functions of the problem that return
            one of these or a weighting; by default equal weights, and those that cost nothing.
        seeds: runs of each method.
        steps: optimizer steps of a run; by default the problem's, as are the next two.
        batch_size: samples in a batch, of all processes together.
        lr: learning rate.
        single_task: also learn each task alone, and measure the methods against that (Δm).
        confirm: fresh seeds by which the leading method is then compared with equal weights, by
            one paired test: whoever is picked among many by few seeds looks better than it is.
        confirm_top: how many leading methods are.
        device: where to train.
        threads: of each process that trains. Sums in another order have other last digits, so this
            is a part of what a study is; more pay for large networks only.
        processes: that train a run together, by DistributedDataParallel.
        jobs: runs at once on this machine, each in a process of its own. A script that asks for
            more than one calls this below ``if __name__ == "__main__":``.
        on: ``"processes"`` of this machine, or ``"ray"``, the extra of that name.
        address: of a Ray cluster; without it Ray starts workers of its own on this machine.
        checkpoint: seconds from one time that a run on its way is kept to the next.
        out: the folder of the results; by default ``results/PROBLEM``.
        progress: whether to show how it goes, or the console on which to.

    Raises:
        UserError: in a sentence, for what cannot be; before anything is trained where that can be
            known before.
    """
    where = Where(jobs=jobs, on=on, address=address, checkpoint=checkpoint, progress=progress)
    asked = ask(
        problem,
        options,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        device=device,
        threads=threads,
        processes=processes,
    )
    chosen = check_methods(methods, asked.problem)
    _check_confirm(confirm, confirm_top, chosen)
    folder = asked.usual_folder if out is None else Path(out)
    _, failures = run(asked, chosen, seeds, folder, where, single_task=single_task)
    if confirm:
        leading = _leading(open_study(folder), chosen, confirm_top)
        _, more = run(asked, leading, confirm, folder, where, first_seed=FIRST)
        failures = {**failures, **more}
    results = open_study(folder, failures)
    results.write()
    return results


def _check_confirm(confirm: int, top: int, methods: Sequence[Method]) -> None:
    check_whole("confirm", confirm, 0, MOST_SEEDS)
    check_whole("confirm_top", top, 1, MOST_SEEDS)
    if confirm and REFERENCE not in {method.label for method in methods}:
        raise UserError(f"`confirm` compares with equal weights: add {REFERENCE} to `methods`")
    if confirm == 1:
        raise UserError("`confirm` must be 0 or at least 2 seeds: one has no spread")


def _leading(results: Results, methods: Sequence[Method], top: int) -> list[Method]:
    """The best methods, as far as they are finished, and equal weights."""
    rows = [row.method for row in results.comparison.eligible if row.method != REFERENCE]
    return [method for method in methods if method.label in {REFERENCE, *rows[:top]}]
