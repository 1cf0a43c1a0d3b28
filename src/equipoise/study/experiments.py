"""The kinds of experiments that reproductions are made of."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pandas as pd
from rich.console import Console

from equipoise.study.claims import Studies
from equipoise.study.compare import compare
from equipoise.study.estimate import agreement, estimate
from equipoise.study.page import figures
from equipoise.study.progress import plain_console
from equipoise.study.reproduction import Findings, Reproduction, Size, Where
from equipoise.study.runs import metrics_table
from equipoise.study.sources import Source
from equipoise.study.summary import MethodSummary, Summary

MARKS = {"better": " ▲", "worse": " ▼"}
"""Beside what equal weights have."""


def compared(found: Reproduction, size: Size, where: Where) -> Findings:
    """The methods on each variant, the objective of each, and the claims."""
    studies = run_variants(found, size, where)
    tables = [
        metrics_table(results.runs).assign(variant=label) for label, results in studies.items()
    ]
    return Findings(
        table=pd.concat(tables, ignore_index=True),
        summary=_by_variant(studies),
        figures={_criterion(studies): figures.over_variants(_summaries(studies), found.axis)},
        claims=[(claim.text, *claim.judge(studies)) for claim in found.claims],
        pages={label: results.page for label, results in studies.items()},
    )


def run_variants(found: Reproduction, size: Size, where: Where) -> Studies:
    """A study of each variant, in a folder of its own."""
    problem = found.problem
    if where.data is not None and found.problem_of_data:
        problem = found.problem_of_data
    given = {} if where.data is None else {"data": where.data}
    studies = {}
    for label, options in size.variants.items():
        left_out = size.without.get(label, ())
        studies[label] = compare(
            problem,
            options={**given, **options},
            methods=[method for method in found.methods if method not in left_out],
            seeds=size.seeds,
            steps=size.steps,
            batch_size=size.batch_size,
            jobs=where.jobs,
            out=where.out / _folder(label),
            progress=where.progress,
        )
    return studies


def _summaries(studies: Studies) -> dict[str, Summary]:
    return {label: results.comparison for label, results in studies.items()}


def _folder(label: str) -> str:
    return re.sub(r"[^\w.=]+", "-", label).strip("-")


def _criterion(studies: Studies) -> str:
    return next(iter(studies.values())).comparison.criterion


def _by_variant(studies: Studies) -> pd.DataFrame:
    """The objective of each method in each variant; an arrow for better or worse."""
    columns = {
        label: {row.method: _shown(row, results.comparison) for row in results.comparison.methods}
        for label, results in studies.items()
    }
    table = pd.DataFrame(columns).fillna("–")
    return table.rename_axis("method").reset_index()


def priced(found: Reproduction, size: Size, where: Where) -> Findings:
    """The same, and the time of a step of each method in each variant."""
    findings = compared(found, size, where)
    studies = run_variants(found, size, where)
    summaries = _summaries(studies)
    table = pd.DataFrame(
        [
            (label, row.method, 1000 * row.seconds_per_step)
            for label, summary in summaries.items()
            for row in summary.methods
        ],
        columns=["variant", "method", "milliseconds per step"],
    )
    wide = table.pivot(index="method", columns="variant", values="milliseconds per step")
    return replace(
        findings,
        table=pd.concat([findings.table, table], ignore_index=True),
        summary=pd.concat(
            [findings.summary, _in_milliseconds(wide[list(summaries)])], ignore_index=True
        ),
        figures={
            **findings.figures,
            "milliseconds per step": figures.time_over_variants(summaries, found.axis),
        },
    )


def estimated(found: Reproduction, size: Size, where: Where) -> Findings:
    """Weights of the methods beside the exact ones, at random steps of runs."""
    source = Source.find(found.problem)
    console = Console(quiet=True) if where.progress is False else plain_console()
    if isinstance(where.progress, Console):
        console = where.progress
    runs = {}
    for label, options in size.variants.items():
        driver = options.get("driver", "constant")
        made = {name: value for name, value in options.items() if name != "driver"}
        problem = source.make(source.options(made))
        runs[label] = estimate(
            problem,
            found.methods,
            seeds=range(size.seeds),
            last=size.steps or 1_000,
            first=(size.steps or 1_000) // 10,
            driver=driver,
            told=console.print,
        )
    agreed = pd.concat(
        [agreement(table).assign(variant=label) for label, table in runs.items()],
        ignore_index=True,
    )
    numbers = ["correlation", "slope", "typical factor"]
    shown = agreed[["variant", "method", "weights"]].join(agreed[numbers].map("{:.3f}".format))
    return Findings(
        table=pd.concat([table.assign(variant=label) for label, table in runs.items()]),
        summary=shown,
        figures={label: figures.estimates(table) for label, table in runs.items()},
        claims=[(claim.text, *claim.judge(agreed)) for claim in found.claims],
    )


def _shown(row: MethodSummary, summary: Summary) -> str:
    value = row.metrics[summary.objective]
    if math.isnan(value.mean):
        return f"diverged in {row.diverged} of {row.seeds}" if row.diverged else "–"
    return f"{value}{MARKS.get(row.judgement or '', '')}"


def _in_milliseconds(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.map(lambda value: "–" if pd.isna(value) else f"{value:.3g} ms")
    return shown.rename_axis("method").reset_index()
