"""Which training labels are suspicious: training on them makes the main task worse elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from equipoise.errors import UserError
from equipoise.problems.problem import Problem
from equipoise.study.asked import ask
from equipoise.study.csv import csv_text
from equipoise.study.files import write_text
from equipoise.study.jobs import Candidate, RunError, jobs_of
from equipoise.study.methods import Method, MethodLike, check_methods
from equipoise.study.running import run
from equipoise.study.runs import Run
from equipoise.study.settings import Settings, with_defaults
from equipoise.study.sources import ProblemLike
from equipoise.weighting import Needs

if TYPE_CHECKING:
    from typing_extensions import Unpack

FIRST = 10
"""Of the most suspicious labels, how many are said."""

LABELS = "labels.csv"
"""In the folder of a study: the labels of its audit."""

ASKED = Needs.DERIVATIVES | Needs.HELD_OUT
"""What a method asks for that aligns samples with held-out ones."""


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    folder: Path
    """Of its runs, as of a study; the labels are in ``labels.csv`` there."""
    labels: pd.DataFrame
    """Every label that was trained on, see :func:`audit`."""

    @property
    def findings(self) -> list[str]:
        """Lines that say what was found, and how well where wrong labels are known."""
        return findings(self.labels)

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.findings)
        return lines + self.labels.head(FIRST).to_html(index=False)


@with_defaults
def audit(
    problem: ProblemLike | pd.DataFrame,
    *,
    method: MethodLike = "slgate",
    **settings: Unpack[Settings],
) -> Audit:
    """Find training labels that are likely to be wrong, the most suspicious first.

    Suspicious is a label on which training makes the main task worse on held-out samples. Labels of
    another task can be right and yet harm the main one, so tasks are ranked apart: to find wrong
    labels of a task, make it the main one. The runs are those of a study of the same folder, which
    :func:`~equipoise.compare` of this problem goes on with, and the other way round.

    Args:
        problem: with a main task and samples held out; see :func:`~equipoise.compare` for this
            and all that is not said here.
        method: a weighting of samples that asks for held-out ones.
        settings: as there; alignments are means over the seeds, and ``out`` is the folder of
            ``labels.csv`` too.

    Returns:
        Its ``labels`` are the main task's first, of a task the most suspicious first. Columns
        ``sample`` (in the training part, from 0), ``task``, ``alignment`` (mean over steps and
        seeds, in units of the root mean square of batch and task; negative where the label harms)
        and ``rank`` (within the task, 1 for the most negative); ``row`` if the problem knows that
        of the user's file, and ``corrupted``, 0 or 1, if it knows which labels are wrong.

    Raises:
        UserError: for what cannot be, or if a run fails or diverges.
    """
    asked = ask(problem, settings)
    chosen = check_audit(method, asked.problem)
    jobs = jobs_of([Candidate(chosen, asked.training)], range(asked.seeds))
    runs, failures = run(asked, jobs)
    if failures:
        raise RunError(failures)
    labels = label_table(asked.problem, list(runs.values()))
    write_text(asked.out / LABELS, csv_text(labels))
    return Audit(asked.out, labels)


def check_audit(given: MethodLike, problem: Problem) -> Method:
    """The method that is given.

    Raises:
        UserError: if it is none that an audit can train with, or not on this problem.
    """
    method, *others = check_methods([given], problem)
    if others:
        raise UserError("`method` is one method, such as slgate; leave out the others")
    if ASKED not in method.needs:
        raise UserError(
            f"`method`: {method.label} does not align samples with held-out ones; use slgate or "
            "slgrad"
        )
    return method


def label_table(problem: Problem, runs: Sequence[Run]) -> pd.DataFrame:
    """Every label that the runs trained on, see :func:`audit`.

    Raises:
        UserError: if one diverged.
    """
    alignment = _mean_alignments(problem, runs)
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
    """Lines that say what :func:`audit` found, and how well where wrong labels are known.

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


def _mean_alignments(problem: Problem, runs: Sequence[Run]) -> NDArray[np.float64]:
    """Means over the runs, ``(samples, tasks)``; NaN where none had a label."""
    total, number = np.zeros((2, len(problem.train), len(problem.tasks)))
    for each in runs:
        if each.facts.diverged_at is not None:
            raise UserError(
                f"training diverged at step {each.facts.diverged_at:,}, so it does not tell which "
                "labels are wrong: give a smaller `lr`"
            )
        alignments = each.samples_part("alignments")
        seen = ~np.isnan(alignments)
        total += np.where(seen, alignments, 0)
        number += seen
    return total / np.where(number, number, np.nan)
