"""Labels that a person looks up: which, and what the answers tell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from equipoise.errors import UserError, near_match
from equipoise.problems.frames.reading import called, read_frame
from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.judged import Judged
from equipoise.study.intervals import CONFIDENCE, Interval

Floats = NDArray[np.float64]

LIKELY, RANDOM = "likely wrong", "at random"
COLUMNS = ("row", "target", "given", "chosen", "answer")
"""Of the file; the columns that a person needs to find the answer follow."""
ALIKE = 1e-9
"""Relative difference below which two numbers are one that was written twice."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What was looked up."""

    labelled: Labelled
    values: Floats
    """The right label, ``(samples, targets)``, NaN where it was not looked up."""
    at_random: NDArray[np.bool_]
    """Which of these were chosen at random, ``(samples, targets)``."""

    @classmethod
    def none(cls, labelled: Labelled) -> Answers:
        """Nothing was."""
        size = (len(labelled.rows), len(labelled.targets))
        return cls(labelled, np.full(size, np.nan), np.zeros(size, bool))

    def corrected(self, place: int) -> Floats:
        """The labels of a target, ``(samples,)``, the answers in place of those that were wrong."""
        given, answers = self.labelled.targets[place].values, self.values[:, place]
        return np.where(np.isnan(answers), given, answers)


def choose(
    labelled: Labelled, judged: Mapping[str, Judged], number: int, seed: int
) -> pd.DataFrame:
    """Labels to look up, with an empty column ``answer``: see :func:`~equipoise.audit`.

    Those at random are drawn first and whatever the judgement, so that what they tell of all labels
    is without bias; then come the likeliest of the others to be wrong. Labels that are trusted or
    were looked up before are not asked for.
    """
    rng = np.random.default_rng(seed)
    cells = pd.concat(
        [
            pd.DataFrame(
                {
                    "sample": each.samples,
                    "target": name,
                    "given": each.target.named(each.given),
                    "stratum": each.given if each.target.classes else 0.0,
                    "wrong": each.wrong,
                }
            )[~each.trusted & np.isnan(each.checked)]
            for name, each in judged.items()
        ],
        ignore_index=True,
    )
    number = min(number, len(cells))
    strata = [part.index.to_numpy() for _, part in cells.groupby(["target", "stratum"])]
    sizes = np.array([len(part) for part in strata])
    drawn = [
        rng.choice(part, count, replace=False)
        for part, count in zip(strata, _shares(sizes, number - number // 2), strict=True)
    ]
    random = np.concatenate(drawn)
    rest = cells.drop(index=random.tolist()).sort_values("wrong", ascending=False, kind="stable")
    likely = rest.index[: number - len(random)].to_numpy()
    chosen = rng.permutation(np.concatenate([likely, random]))
    found = cells.loc[chosen]
    samples = found["sample"].to_numpy()
    asked = pd.DataFrame(
        {
            "row": labelled.rows[samples],
            "target": found["target"].to_numpy(),
            "given": found["given"].to_numpy(),
            "chosen": np.where(np.isin(chosen, random), RANDOM, LIKELY),
            "answer": "",
        }
    )
    shown = labelled.shown.iloc[samples].reset_index(drop=True)
    names = [f"{name} (feature)" if name in COLUMNS else name for name in shown.columns]
    return pd.concat([asked, shown.set_axis(names, axis=1)], axis=1)


def read_answers(source: str | os.PathLike[str] | pd.DataFrame, labelled: Labelled) -> Answers:
    """The answers in a file that :func:`choose` made.

    Raises:
        UserError: if it is of another table, or an answer is none of the classes, or no number.
    """
    data = source if isinstance(source, pd.DataFrame) else Path(source)
    where, frame = called(data), read_frame(data)
    for name in COLUMNS:
        if name not in frame.columns:
            raise UserError(
                f"`checked`: {where} has no column {name!r}; it must be the file that `check` "
                "wrote, with answers"
            )
    answers = Answers.none(labelled)
    places = {target.name: place for place, target in enumerate(labelled.targets)}
    samples = {int(row): sample for sample, row in enumerate(labelled.rows)}
    for line in frame[list(COLUMNS)].itertuples(index=False):
        name, row = str(line.target), _whole(line.row)
        if name not in places or row not in samples:
            raise UserError(
                f"`checked`: {where} asks for row {line.row} of {name!r}, which is not there: it "
                "is of another table"
            )
        sample, place = samples[row], places[name]
        target = labelled.targets[place]
        if not _same(target, line.given, target.values[sample]):
            raise UserError(
                f"`checked`: in {where} {name!r} of row {row} is {line.given!r}, and in the table "
                f"{target.named(target.values[[sample]])[0]!r}: it is of another table"
            )
        if str(line.answer).strip() and not _empty(line.answer):
            answer = _answer(target, line.answer, row, where)
            # A given number that was written and read again is still right.
            answers.values[sample, place] = (
                target.values[sample]
                if _same(target, line.answer, target.values[sample])
                else answer
            )
            answers.at_random[sample, place] = line.chosen == RANDOM
    if np.isnan(answers.values).all():
        raise UserError(f"`checked`: {where} has no answer yet; fill in the column 'answer'")
    return answers


def estimates(labelled: Labelled, judged: Mapping[str, Judged], answers: Answers) -> Iterator[str]:
    """What the answers tell of each target that has any."""
    for place, (name, each) in enumerate(judged.items()):
        known = ~np.isnan(each.checked)
        random = answers.at_random[each.samples, place]
        likely = known & ~random
        parts = []
        if likely.any():
            right = int(each.wrong[likely].sum())
            low, high = stats.binomtest(right, int(likely.sum())).proportion_ci(CONFIDENCE)
            parts.append(
                f"of {likely.sum()} labels that were likely wrong {right} were [{low:.0%}, "
                f"{high:.0%}]"
            )
        if random.any():
            parts.append(f"by those at random {share_wrong(each, random).percent} of all are wrong")
        if parts:
            yield f"{name}, looked up: {'; '.join(parts)}"


def share_wrong(judged: Judged, random: NDArray[np.bool_]) -> Interval:
    """The share of wrong labels by those looked up at random within classes, in its interval.

    Each class counts by its share of all labels; its variance is of the share with one wrong and
    one right label more, so that classes without a wrong one have some.
    """
    stratum = judged.given if judged.target.classes else np.zeros(len(judged.given))
    mean = variance = 0.0
    total = np.isin(stratum, np.unique(stratum[random])).sum()
    for each in np.unique(stratum[random]):
        own = judged.wrong[random & (stratum == each)]
        weight = float((stratum == each).sum() / total)
        share = (own.sum() + 1) / (len(own) + 2)
        mean += weight * float(own.mean())
        variance += weight**2 * float(share * (1 - share) / len(own))
    return Interval(mean, 1.96 * variance**0.5)


def _shares(sizes: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """A number parted in proportion to sizes, at most these; one each as far as it goes."""
    found = np.zeros(len(sizes), np.int64)
    for _ in range(min(number, int(sizes.sum()))):
        owed = np.where(found < sizes, sizes / (found + 0.5), -1)
        found[int(np.where((found == 0) & (sizes > 0), np.inf, owed).argmax())] += 1
    return found


def _empty(value: Any) -> bool:
    return bool(pd.isna(value))


def _whole(value: Any) -> int | None:
    number = pd.to_numeric(value, errors="coerce")
    return None if pd.isna(number) else int(number)


def _same(target: Target, told: Any, value: float) -> bool:
    if np.isnan(value) or pd.isna(told):
        return bool(np.isnan(value) and pd.isna(told))
    if target.classes:
        return _class_of(target, told) == value
    number = pd.to_numeric(told, errors="coerce")
    return bool(np.isclose(number, value, rtol=ALIKE, atol=0))


def _answer(target: Target, told: Any, row: int, where: str) -> float:
    """An answer as a label."""
    if target.classes:
        found = _class_of(target, told)
        if found is None:
            raise UserError(
                f"`checked`: the answer {str(told)!r} to row {row} of {target.name!r} in {where} "
                f"is none of its classes: {near_match(str(told), target.classes)}"
            )
        return found
    number = pd.to_numeric(told, errors="coerce")
    if not np.isfinite(number):
        raise UserError(
            f"`checked`: the answer {str(told)!r} to row {row} of {target.name!r} in {where} is no "
            "number"
        )
    return float(number)


def _class_of(target: Target, told: Any) -> float | None:
    """The index of a class by its name, also where a file made another number of it."""
    text = str(told).strip()
    # Of what a spreadsheet would take for a formula, an apostrophe was put first.
    for name in (text, text.removeprefix("'")):
        if name in target.classes:
            return float(target.classes.index(name))
    number = pd.to_numeric(text, errors="coerce")
    if pd.isna(number):
        return None
    for index, name in enumerate(target.classes):
        if pd.to_numeric(name, errors="coerce") == number:
            return float(index)
    return None
