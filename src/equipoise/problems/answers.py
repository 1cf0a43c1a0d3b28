"""Labels that a person has looked up: a file of answers, as an audit asks for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from equipoise.errors import UserError, near_match
from equipoise.problems.frames.reading import called, read_frame
from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target

Floats = NDArray[np.float64]

RANDOM = "at random"
"""How a label was chosen that tells of all others."""
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


def read_answers(
    source: str | os.PathLike[str] | pd.DataFrame, labelled: Labelled, parameter: str
) -> Answers:
    """The answers in a file that an audit made, and that a ``parameter`` names.

    Raises:
        UserError: if it is of another table, or an answer is none of the classes, or no number.
    """
    data = source if isinstance(source, pd.DataFrame) else Path(source)
    where, frame = called(data), read_frame(data)
    for name in COLUMNS:
        if name not in frame.columns:
            raise UserError(
                f"`{parameter}`: {where} has no column {name!r}; it must be the file of labels to "
                "look up that an audit wrote, with answers"
            )
    answers = Answers.none(labelled)
    places = {target.name: place for place, target in enumerate(labelled.targets)}
    samples = {int(row): sample for sample, row in enumerate(labelled.rows)}
    for line in frame[list(COLUMNS)].itertuples(index=False):
        name, row = str(line.target), _whole(line.row)
        if name not in places or row not in samples:
            raise UserError(
                f"`{parameter}`: {where} asks for row {line.row} of {name!r}, which is not there: "
                "it is of another table"
            )
        sample, place = samples[row], places[name]
        target = labelled.targets[place]
        if not _same(target, line.given, target.values[sample]):
            raise UserError(
                f"`{parameter}`: in {where} {name!r} of row {row} is {line.given!r}, and in the "
                f"table {target.named(target.values[[sample]])[0]!r}: it is of another table"
            )
        if str(line.answer).strip() and not _empty(line.answer):
            answer = _answer(target, line.answer, row, f"`{parameter}`", where)
            # A given number that was written and read again is still right.
            answers.values[sample, place] = (
                target.values[sample]
                if _same(target, line.answer, target.values[sample])
                else answer
            )
            answers.at_random[sample, place] = line.chosen == RANDOM
    if np.isnan(answers.values).all():
        raise UserError(f"`{parameter}`: {where} has no answer yet; fill in the column 'answer'")
    return answers


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


def _answer(target: Target, told: Any, row: int, parameter: str, where: str) -> float:
    """An answer as a label."""
    if target.classes:
        found = _class_of(target, told)
        if found is None:
            raise UserError(
                f"{parameter}: the answer {str(told)!r} to row {row} of {target.name!r} in {where} "
                f"is none of its classes: {near_match(str(told), target.classes)}"
            )
        return found
    number = pd.to_numeric(told, errors="coerce")
    if not np.isfinite(number):
        raise UserError(
            f"{parameter}: the answer {str(told)!r} to row {row} of {target.name!r} in {where} is "
            "no number"
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
