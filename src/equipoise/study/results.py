"""What a study came to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from equipoise.study.configuration import Study
from equipoise.study.confirming import Confirmation, confirmations
from equipoise.study.csv import csv_text
from equipoise.study.equal_time import runs_at_equal_time
from equipoise.study.files import write_text
from equipoise.study.folder import Damaged, read_corrupted, read_runs, read_study
from equipoise.study.jobs import Failure
from equipoise.study.page.images import write_images
from equipoise.study.page.report import Beside, figures, write_report
from equipoise.study.page.tables import results_html
from equipoise.study.runs import Run, metrics_table
from equipoise.study.stages import COMPARISON, CONFIRMATION, EQUAL_TIME
from equipoise.study.statistics import summarise
from equipoise.study.summary import Summary, to_json
from equipoise.study.verdict import verdict


@dataclass(frozen=True)
class Results:
    """The runs of a study's folder, and what they say."""

    folder: Path
    study: Study
    """What was asked."""
    runs: tuple[Run, ...]
    """All finished runs; their arrays are read when asked for."""
    fresh: tuple[Run, ...] = ()
    """Those of the confirmation."""
    shorter: tuple[Run, ...] = ()
    """Those of methods that equal time leaves fewer steps."""
    damaged: tuple[Damaged, ...] = ()
    """What is in the folder and cannot be trusted."""
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """Of the command that gave this: run → why there is none."""

    @cached_property
    def comparison(self) -> Summary:
        """The comparison of all methods, best first."""
        return summarise(self.study, self.runs, self.study.asked)

    @cached_property
    def at_equal_time(self) -> Summary | None:
        """The same with the steps of each method that take the time of equal weights.

        ``None`` if that was not asked for.
        """
        if self.study.equal_time is None:
            return None
        return summarise(self.study, self._runs_at_equal_time, self.study.asked)

    @property
    def _runs_at_equal_time(self) -> list[Run]:
        return runs_at_equal_time(self.study, self.runs, self.shorter)

    @property
    def deciding(self) -> Summary:
        """That of the two comparisons which decides."""
        timed = self.at_equal_time
        return timed if timed is not None and self.study.decide == "time" else self.comparison

    @property
    def _other(self) -> Summary | None:
        """That of the two which does not decide."""
        if self.at_equal_time is None:
            return None
        return self.at_equal_time if self.deciding is self.comparison else self.comparison

    @property
    def deciding_runs(self) -> Sequence[Run]:
        """The runs that :attr:`deciding` is of."""
        return self.runs if self.deciding is self.comparison else self._runs_at_equal_time

    @property
    def summary(self) -> pd.DataFrame:
        """The one that decides as a table: a row a method."""
        return self.deciding.frame()

    @property
    def verdict(self) -> str:
        """What to make of it, in a sentence or two; and one of each method to be confirmed."""
        said = [verdict(self.comparison)]
        if self.at_equal_time is not None:
            said = [
                f"At equal steps: {verdict(self.comparison)}",
                f"At equal time: {verdict(self.at_equal_time)}",
                f"Equal {self.study.decide} is what decides, as was fixed before the runs.",
            ]
        return " ".join([*said, *map(str, self.confirmation)])

    @property
    def best(self) -> str | None:
        """The method with the best objective; ``None`` while runs are missing, or if none has any.

        :attr:`verdict` says whether that is more than noise.
        """
        if not (self.deciding.finished and self.deciding.eligible):
            return None
        return self.deciding.eligible[0].method

    @cached_property
    def confirmation(self) -> tuple[Confirmation, ...]:
        """The methods that led, against equal weights on fresh seeds; empty if none was asked."""
        return confirmations(self.study, self.fresh)

    @property
    def tuning(self) -> list[str]:
        """What was chosen for each method, in a line each; empty if nothing was tuned."""
        return [f"{method} tuned: {each}" for method, each in self.study.tuned.items()]

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def write(self) -> None:
        """Write the table, the summary and the page into the folder."""
        write_text(self.folder / "results.csv", csv_text(metrics_table(self.runs)))
        write_text(self.folder / "summary.json", self._summary_json())
        if self.at_equal_time is not None:
            table = metrics_table(self._runs_at_equal_time)
            write_text(self.folder / "equal-time.csv", csv_text(table))
        first = next((run for run in self.runs if run.weighs_samples), None)
        samples = 0 if first is None else len(first.samples_part("alignments"))
        corrupted = read_corrupted(self.folder, self.study, samples) if samples else None
        beside = Beside(self.verdict, self.confirmation, self._other)
        write_report(self.study, self.deciding_runs, self.deciding, corrupted, self.page, beside)

    def write_figures(self, kind: str) -> list[Path]:
        """Write the figures that compare methods into the folder ``figures``, as svg or pdf.

        Raises:
            UserError: without the extra ``figures``, or a Chrome or Chromium.
        """
        drawn = figures(self.study, self.deciding_runs, self.deciding)
        return write_images(drawn, kind, self.folder / "figures")

    def _summary_json(self) -> str:
        """The comparison and what else was asked, as strict JSON."""
        more = {
            "confirmation": [each.told() for each in self.confirmation],
            "equal_time": self.at_equal_time and json.loads(to_json(self.at_equal_time)),
            "equal_steps": self.study.equal_steps,
            "tuned": {method: asdict(each) for method, each in self.study.tuned.items()},
        }
        told = json.loads(json.dumps(more), parse_constant=lambda _: None)
        summary = {**json.loads(to_json(self.comparison)), **told}
        return json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)

    def _repr_html_(self) -> str:
        return results_html(self.deciding)


def open_study(
    folder: str | os.PathLike[str], failures: Mapping[str, Failure] | None = None
) -> Results:
    """The results in a folder, whatever is finished there.

    Args:
        folder: of a study.
        failures: of runs that were just tried.

    Raises:
        UserError: if it holds no study.
    """
    out = Path(folder)
    study = read_study(out)
    found = {
        stage: read_runs(out, study, stage) for stage in (COMPARISON, CONFIRMATION, EQUAL_TIME)
    }
    runs, fresh, shorter = (tuple(each) for each, _ in found.values())
    damaged = tuple(each for _, own in found.values() for each in own)
    return Results(out, study, runs, fresh, shorter, damaged, failures or {})
