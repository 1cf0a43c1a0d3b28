"""Which labels are likely to be wrong: every label of every target, by models that never saw it."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from rich.console import Console

from equipoise.errors import UserError
from equipoise.problems.answers import Answers, read_answers
from equipoise.problems.labelled import Labelled
from equipoise.problems.parameters import check_seed, check_whole
from equipoise.problems.problem import Problem
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.checking import choose, estimates
from equipoise.study.auditing.folds import FOLDS, Fit, fits_of, out_of_fold
from equipoise.study.auditing.frames import frame_of
from equipoise.study.auditing.judged import Judged, judge
from equipoise.study.auditing.leaks import check_columns, copies
from equipoise.study.auditing.network import TRAININGS, by_network
from equipoise.study.csv import csv_text
from equipoise.study.files import write_text
from equipoise.study.page.audit import shown, write_audit
from equipoise.study.progress import Counted, console_of
from equipoise.study.settings import MOST_PROCESSES, PathLike
from equipoise.study.sources import ProblemLike, Source

Features: TypeAlias = "pd.DataFrame | NDArray[Any]"
Floats: TypeAlias = NDArray[np.float64]

DIRTY = 0.05
"""Share of wrong labels from which a judge is not believed."""
LOOKED = 2_000
"""Labels at most, beside those that are held out, that a quick look at these rests on."""
NETWORK = "network"
SLOW = ("boosting", "boosting, absolute error", "logistic regression", "ridge", NETWORK)
"""Models that it does without: trees alone take seconds."""
FIRST = 10
"""Of the labels that are likeliest to be wrong, how many are said."""
TABLE, PAGE, CHECK, CACHE = "audit.csv", "audit.html", "check.csv", "cache"
"""In the folder of an audit."""


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    folder: Path
    """With ``audit.csv``, ``audit.html``, and ``check.csv`` if labels are to be looked up."""
    labels: pd.DataFrame
    """Every label of every target, the likeliest to be wrong first; see :func:`audit`."""
    judged: Mapping[str, Judged]
    """By target."""
    findings: list[str]
    """Lines that say what was found."""

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.folder / PAGE

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.findings)
        return lines + self.labels.head(FIRST).to_html(index=False)


def audit(
    problem: ProblemLike | Features,
    labels: Features | pd.Series[Any] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    trusted: ArrayLike | None = None,
    check: int | None = None,
    checked: PathLike | pd.DataFrame | None = None,
    seed: int = 0,
    jobs: int = 1,
    out: PathLike | None = None,
    progress: bool | Console = True,
) -> Audit:
    """Find labels that are likely to be wrong, in every target, classes or numbers.

    Each label is judged by models that never saw it: five folds, each predicted from the others by
    logistic or ridge regression, extra trees and boosting (scikit-learn), and where there are
    several targets once more with the others as inputs; pictures and molecules also by a network
    that learns all targets at once. Of classes, a temperature and the rates at which one is taken
    for another are fitted by the likelihood of the given labels; of numbers, residuals are
    Student's t, and a wrong number may be anywhere. So a label has a probability of being wrong,
    and is flagged above one half.

    Args:
        problem: samples to learn from, ``(samples, features)`` in a data frame or an array, with
            ``labels``; or a problem as :func:`~equipoise.compare` takes it, with ``options``.
        labels: with samples, their labels ``(samples,)`` or ``(samples, targets)``, NaN or None
            where missing. The kind of each target is found, unless ``options`` has ``kinds``.
        options: of the problem; with samples, of the problem ``table``.
        trusted: with samples, which have labels that are known to be right, boolean
            ``(samples,)``: these are learned from and never flagged.
        check: how many labels to choose that a person should look up, into ``check.csv``: half
            are the likeliest to be wrong, half at random within targets and classes.
        checked: that file, with its column ``answer`` filled in as far as labels were looked up,
            the given label where it is right. The answers are learned from in its place.
        seed: of folds, models and the choice to look up.
        jobs: models that are fitted at once.
        out: the folder; by default ``results/audit-PROBLEM``. What is fitted is kept there, so an
            audit that was stopped goes on.
        progress: whether to show how it goes, or where.

    Returns:
        Its ``labels`` have a row for each label that is there. Columns ``row`` (in the user's file
        or of the samples, from 1), ``target``, ``given``, ``likely``, ``probability wrong``, and
        ``flagged``, 0 or 1; ``checked`` with the answers, if there are any; ``corrupted``, 0 or 1,
        if the problem knows which labels are wrong.

    Raises:
        UserError: for what cannot be, such as a class with fewer labels than folds, or a column
            that holds a target.
    """
    check_seed("seed", seed)
    check_whole("jobs", jobs, 1, MOST_PROCESSES)
    if check is not None:
        check_whole("check", check, 2, 1_000_000)
    name, labelled = _labelled(problem, labels, dict(options or {}), trusted)
    folder = Path(out) if out is not None else Path("results") / f"audit-{name}"
    if check is not None and (folder / CHECK).exists():
        raise UserError(
            f"there is {folder / CHECK} already, which somebody may have filled in: give it as "
            "`checked`, move it, or give another `out`"
        )
    _check_targets(labelled.targets)
    check_columns(labelled.shown, labelled.targets)
    answers = (
        Answers.none(labelled) if checked is None else read_answers(checked, labelled, "checked")
    )
    judged = _judged(labelled, answers, seed, jobs, folder / CACHE, console_of(progress))
    table = _table(labelled, judged)
    found = _findings(labelled, judged, table, answers)
    write_text(folder / TABLE, csv_text(table))
    write_audit(name, labelled, judged, found, folder / PAGE)
    if check is not None:
        write_text(folder / CHECK, csv_text(choose(labelled, judged, check, seed)))
    return Audit(folder, table, judged, found)


def _labelled(
    problem: ProblemLike | Features,
    labels: Features | pd.Series[Any] | None,
    options: dict[str, Any],
    trusted: ArrayLike | None,
) -> tuple[str, Labelled]:
    """What to audit, and what to call it."""
    if labels is not None:
        data, targets, column = frame_of(problem, labels, trusted)
        options = {"data": data, "targets": targets, "trusted": column, **options}
        problem = "table"
    elif trusted is not None:
        raise UserError("`trusted` is of samples with `labels`; a table has a column for it")
    elif isinstance(problem, pd.DataFrame):
        problem, options = "table", {"data": problem, **options}
    source = Source.of(cast(ProblemLike, problem))
    made = {} if isinstance(source.made, Problem) else source.options(options)
    found = source.make(made)
    if found.labelled is None:
        raise UserError(f"{source.name} does not say what its labels are: it has no `labelled`")
    return re.sub(r"[^\w.-]", "-", source.name), found.labelled()


def wrong_held_out(labelled: Labelled) -> float | None:
    """A quick look at what share of the held-out labels of the main task look wrong.

    By trees, of some thousand labels, unless it is known; ``None`` where none is held out, or they
    cannot be audited.
    """
    if labelled.held_out is None or labelled.main is None:
        return None
    place = [target.name for target in labelled.targets].index(labelled.main)
    there = ~np.isnan(labelled.targets[place].values)
    held_out = np.flatnonzero(labelled.held_out & there)
    if labelled.wrong is not None:
        return float(labelled.wrong[held_out, place].mean())
    others = np.flatnonzero(~labelled.held_out & there)
    rows = np.union1d(held_out, others[:: 1 + len(others) // LOOKED])
    some = labelled.of(rows, [place])
    try:
        _check_targets(some.targets)
    except UserError:
        return None
    with TemporaryDirectory() as cache:
        judged = _judged(
            some, Answers.none(some), 0, 1, Path(cache), console_of(False), without=SLOW
        )
    wrong = _wrong_held_out(some, judged)
    return None if wrong is None else float(wrong.mean())


def _wrong_held_out(labelled: Labelled, judged: Mapping[str, Judged]) -> Floats | None:
    """How likely each held-out label of the main task is wrong, if there are any."""
    if labelled.held_out is None or labelled.main is None:
        return None
    main = judged[labelled.main]
    wrong = main.wrong[labelled.held_out[main.samples]]
    return wrong if len(wrong) else None


def _of_the_judge(labelled: Labelled, judged: Mapping[str, Judged]) -> list[str]:
    """A line on the held-out labels that weightings of samples are judged by, if there are any."""
    wrong = _wrong_held_out(labelled, judged)
    if wrong is None:
        return []
    line = (
        f"held out: {wrong.mean():.1%} of the {len(wrong):,} labels of {labelled.main} that judge"
    )
    line += " look wrong"
    if wrong.mean() > DIRTY:
        line += (
            f"; above {DIRTY:.0%} what weightings of samples gain is no evidence, so look some up "
            "with `check`, and let these judge"
        )
    return [line]


def _check_targets(targets: Sequence[Target]) -> None:
    for target in targets:
        there = target.values[~np.isnan(target.values)]
        if len(np.unique(there)) < 2:
            raise UserError(
                f"all labels of {target.name!r} are the same, so none can be told to be wrong: "
                "leave it out of `targets`"
            )
        if not target.classes:
            continue
        counts = np.bincount(there.astype(int), minlength=len(target.classes))
        if counts.min() < FOLDS:
            raise UserError(
                f"class {target.classes[int(counts.argmin())]!r} of {target.name!r} has "
                f"{counts.min()} labels, and an audit in {FOLDS} folds needs {FOLDS}: merge it "
                "with another class, or empty these cells"
            )


def _judged(
    labelled: Labelled,
    answers: Answers,
    seed: int,
    jobs: int,
    cache: Path,
    console: Console,
    without: Collection[str] = (),
) -> dict[str, Judged]:
    """The labels of each target, judged."""
    given = labelled.targets
    learned = [replace(each, values=answers.corrected(place)) for place, each in enumerate(given)]
    without = (*without, *labelled.without)
    fits = fits_of(learned, labelled.groups, copies(given), seed, without=without)
    trusted = np.zeros(len(labelled.rows), bool) if labelled.trusted is None else labelled.trusted
    predictions: dict[tuple[int, str, bool], NDArray[np.float64]] = {}
    with_network = labelled.network is not None and NETWORK not in without
    with Counted(len(fits) + with_network * TRAININGS, "models", console) as bar:
        found = out_of_fold(labelled, learned, fits, seed=seed, jobs=jobs, cache=cache)
        for fit, predicted in zip(fits, found, strict=True):
            _gather(predictions, fit, predicted, len(labelled.rows))
            bar.advance()
        if with_network:
            of_networks = by_network(
                labelled, learned, seed=seed, jobs=jobs, cache=cache, advance=bar.advance
            )
            for place, predicted in enumerate(of_networks):
                predictions[place, NETWORK, False] = predicted
    return {
        target.name: judge(
            target,
            [each for (own, *_), each in predictions.items() if own == place],
            trusted,
            answers.values[:, place],
        )
        for place, target in enumerate(given)
    }


def _gather(
    predictions: dict[tuple[int, str, bool], NDArray[np.float64]],
    fit: Fit,
    predicted: NDArray[np.float64],
    samples: int,
) -> None:
    """Put what was predicted for a fold in its place among those of all samples."""
    key = (fit.target, fit.member, bool(fit.others))
    if key not in predictions:
        predictions[key] = np.full((samples, *predicted.shape[1:]), np.nan)
    predictions[key][fit.test] = predicted


def _table(labelled: Labelled, judged: Mapping[str, Judged]) -> pd.DataFrame:
    parts = []
    for place, each in enumerate(judged.values()):
        part = each.frame(labelled.rows)
        if labelled.wrong is not None:
            part["corrupted"] = labelled.wrong[each.samples, place].astype(int)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("probability wrong", ascending=False, kind="stable", ignore_index=True)


def _findings(
    labelled: Labelled, judged: Mapping[str, Judged], table: pd.DataFrame, answers: Answers
) -> list[str]:
    """What was found, a line or more for each target."""
    lines = []
    for place, (name, each) in enumerate(judged.items()):
        flagged = int(each.flagged.sum())
        line = f"{name}: {each.share_text} of {len(each.samples):,} labels are wrong"
        line += f"; {flagged:,} flagged"
        if flagged:
            line += f", of which {each.expected_precision:.0%} are expected to be wrong"
        if labelled.wrong is not None and flagged:
            known = labelled.wrong[each.samples, place]
            line += f" and {known[each.flagged].mean():.0%} are known to be"
        lines.append(line)
    lines += [*_of_the_judge(labelled, judged), *estimates(labelled, judged, answers)]
    worst = [
        f"row {row} ({target}: {shown(given)} → {shown(likely)}, {wrong:.2f})"
        for row, target, given, likely, wrong, *_ in table[table["flagged"] == 1]
        .head(FIRST)
        .itertuples(index=False)
    ]
    return [*lines, f"likeliest to be wrong: {', '.join(worst)}"] if worst else lines
