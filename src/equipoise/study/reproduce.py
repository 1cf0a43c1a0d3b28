"""Experiments of papers, made again from one command each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rich.console import Console

from equipoise.errors import UserError, near_match
from equipoise.reproductions import REPRODUCTIONS
from equipoise.study.csv import csv_text
from equipoise.study.files import write_text
from equipoise.study.page.reproduction import write_page
from equipoise.study.reproduction import Findings, Reproduction, Size, Where

DATA = "data.csv"


@dataclass(frozen=True)
class Reproduced:
    """What a reproduction came to."""

    name: str
    reproduction: Reproduction
    findings: Findings
    page: Path

    @property
    def held(self) -> list[str]:
        """A sentence for each claim."""
        return [
            f"{text} {outcome[0].upper()}{outcome[1:]}: {shown}."
            for text, outcome, shown in self.findings.claims
        ]


def reproduction(name: str) -> Reproduction:
    """The experiment of this name.

    Raises:
        UserError: if there is none.
    """
    if name not in REPRODUCTIONS:
        raise UserError(f"there is no reproduction {name!r}: {near_match(name, REPRODUCTIONS)}")
    found: Reproduction = import_module(REPRODUCTIONS[name]).REPRODUCTION
    return found


def reproduce(
    name: str,
    *,
    full: bool = False,
    size: Size | None = None,
    data: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    out: str | os.PathLike[str] | None = None,
    progress: bool | Console = True,
) -> Reproduced:
    """Make an experiment of the SLAW or the SLGrad paper again, and say whether its claims held.

    What is finished is kept, as by :func:`~equipoise.compare`: the same call goes on where it was.

    Args:
        name: as ``equipoise reproduce`` lists them.
        full: with the paper's sizes, in place of those that end in minutes on two cores.
        size: other sizes than these two.
        data: the file or folder that it needs.
        jobs: runs at once.
        out: the folder of the results; by default ``results/reproduce/NAME``.
        progress: whether to show how it goes, or the console on which to.

    Returns:
        The findings, whose page and data are in the folder.

    Raises:
        UserError: if there is no such reproduction, or it needs a file, or another one.
    """
    found = reproduction(name)
    chosen = size or (found.full if full else found.quick)
    folder = Path("results/reproduce") / name if out is None else Path(out)
    if data is None and found.data and not found.problem_of_data:
        raise UserError(f"{name} needs `data`: {found.data}")
    if data is not None and not found.data:
        raise UserError(f"{name} makes its data itself: leave out `data`")
    where = Where(
        out=folder, data=None if data is None else Path(data), jobs=jobs, progress=progress
    )
    if where.data is not None and found.check is not None:
        found.check(chosen, where.data)
    folder.mkdir(parents=True, exist_ok=True)
    findings = found.find(found, chosen, where)
    write_text(folder / DATA, csv_text(findings.table))
    page = folder / "report.html"
    write_page(name, found, chosen, findings, page)
    return Reproduced(name, found, findings, page)
