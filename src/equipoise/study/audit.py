"""Which training labels are suspicious: training on them makes the main task worse elsewhere."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from equipoise.errors import UserError
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.jobs import Job, Watcher
from equipoise.study.loop import train
from equipoise.study.methods import Method, check_methods
from equipoise.weighting import Needs

FIRST = 10
"""Of the most suspicious labels, how many are said."""


ASKED = Needs.DERIVATIVES | Needs.HELD_OUT
"""What a method asks for that aligns samples with held-out ones."""


def check_audit(text: str, problem: Problem) -> Method:
    """The method that a text names.

    Raises:
        UserError: if it is none that an audit can train with, or not on this problem.
    """
    method, *others = check_methods(text, problem)
    if others:
        raise UserError("--method is one method, such as slgate; leave out the others")
    if ASKED not in method.needs:
        raise UserError(
            f"--method: {method.label} does not align samples with held-out ones; use slgate or "
            "slgrad"
        )
    return method


def audit_table(
    problem: Problem,
    method: Method,
    recipe: Recipe,
    seeds: int,
    device: torch.device,
    watcher: Watcher,
) -> pd.DataFrame:
    """Every label that was trained on: the main task's first, of a task the most suspicious first.

    Labels of another task can be right and yet harm the main one, so tasks are ranked apart.

    Args:
        problem: whose training labels are looked at.
        method: a weighting of samples that asks for held-out ones.
        recipe: how to train.
        seeds: number of runs.
        device: where to train.
        watcher: who is told how it goes.

    Returns:
        Columns ``sample`` (in the training part, from 0), ``task``, ``alignment`` (mean over steps
        and seeds, in units of the root mean square of batch and task; negative where the label
        harms) and ``rank`` (within the task, 1 for the most negative); ``row`` if the problem knows
        that of the user's file, and ``corrupted``, 0 or 1, if it knows which labels are wrong.

    Raises:
        UserError: if a run diverges.
    """
    alignment = _mean_alignments(problem, method, recipe, seeds, device, watcher)
    samples, tasks = np.nonzero(~np.isnan(alignment))
    table = pd.DataFrame(
        {
            "sample": samples,
            "task": np.array(problem.tasks, object)[tasks],
            "alignment": alignment[samples, tasks],
        }
    )
    table["rank"] = table.groupby("task")["alignment"].rank(method="first").astype(int)
    if problem.rows is not None:
        table["row"] = np.asarray(problem.rows)[samples]
    if problem.corrupted is not None:
        table["corrupted"] = problem.corrupted.numpy()[samples, tasks].astype(int)
    order = [problem.main, *(task for task in problem.tasks if task != problem.main)]
    place = table["task"].map({task: number for number, task in enumerate(order)})
    return table.iloc[np.lexsort((table["rank"], place))].reset_index(drop=True)


def findings(table: pd.DataFrame) -> list[str]:
    """Lines that say what :func:`audit_table` found, and how well where wrong labels are known.

    They are of the main task, and of those others that have labels known to be wrong.
    """
    counted = (
        f"{len(table):,} labels of {table['sample'].nunique():,} training samples, of which "
        f"{(table['alignment'] < 0).sum():,} have a negative alignment"
    )
    main, *others = table["task"].unique()
    wrong = set(table["task"][table["corrupted"] > 0]) if "corrupted" in table else set()
    shown = [main, *(task for task in others if task in wrong)]
    parts = ((name, table[table["task"] == name]) for name in shown)
    return [counted, *(line for name, part in parts for line in _found(name, part))]


def _found(name: str, table: pd.DataFrame) -> list[str]:
    place = "row" if "row" in table else "sample"
    first = [
        f"{each[place]} ({each['alignment']:.2f})" for each in table.head(FIRST).to_dict("records")
    ]
    suspicious = f"{name}: most suspicious, by {place} and alignment: {', '.join(first)}"
    if "corrupted" not in table or table["corrupted"].nunique() < 2:
        return [suspicious]
    wrong = table["corrupted"]
    number = int(wrong.sum())
    area = roc_auc_score(wrong, -table["alignment"])
    return [
        suspicious,
        f"{name}: of the {number:,} most suspicious labels {wrong.head(number).mean():.1%} are "
        f"among the {number:,} known to be wrong, {wrong.mean():.1%} by chance; area under the ROC "
        f"curve of the alignment {area:.3f}, 0.5 by chance",
    ]


def _mean_alignments(
    problem: Problem,
    method: Method,
    recipe: Recipe,
    seeds: int,
    device: torch.device,
    watcher: Watcher,
) -> NDArray[np.float64]:
    """Means over the seeds, ``(samples, tasks)``; NaN where no run had a label."""
    total, runs = np.zeros((2, len(problem.train), len(problem.tasks)))
    for seed in range(seeds):
        job = Job(method, seed)
        run = train(
            problem,
            partial(method.make, problem, seed),
            seed=seed,
            recipe=recipe,
            device=device,
            method=method.label,
            on_step=watcher.started(job, method.label),
        )
        watcher.finished(job, method.label, run, trained=True)
        if run.diverged_at is not None:
            raise UserError(
                f"training diverged at step {run.diverged_at:,}, so it does not tell which labels "
                "are wrong: give a smaller --lr"
            )
        assert run.samples is not None
        seen = ~np.isnan(run.samples.alignments)
        total += np.where(seen, run.samples.alignments, 0)
        runs += seen
    return total / np.where(runs, runs, np.nan)
