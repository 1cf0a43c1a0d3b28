"""What to make of a comparison, in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.study.intervals import format_number, tied
from equipoise.study.names import REFERENCE
from equipoise.study.summary import ENOUGH, MethodSummary, Summary

FEW = 4
"""Names that a sentence still holds."""


def verdict(summary: Summary) -> str:
    """What to make of it, in a few sentences."""
    if not any(row.seeds for row in summary.methods):
        return "No run has finished yet."
    if not summary.finished:
        there = [f"{name} {n} of {asked}" for name, (n, asked) in summary.unfinished.items()]
        said = f"The study is not finished, so nothing is best yet; seeds done: {_listed(there)}."
        return _joined(said, _diverged(summary), _collapsed(summary))
    return _joined(
        _leader(summary),
        _against_reference(summary),
        _best(summary),
        _doubted(summary),
        _exploratory(summary),
        _diverged(summary),
        _collapsed(summary),
    )


def _leader(summary: Summary) -> str:
    """Whose mean is best, and what equal weights have."""
    sound, criterion = summary.eligible, summary.criterion
    if not sound:
        return f"No method came out with a {criterion}, so there is nothing to choose from."
    values = [row.metrics[summary.objective] for row in sound]
    means, texts = [each.mean for each in values], [each.mean_text for each in values]
    marks = tied(means, texts, summary.goals[summary.objective])
    alike = [row.method for row, mark in zip(sound, marks, strict=True) if mark]
    named = [f"equal weights ({REFERENCE})" if name == REFERENCE else name for name in alike]
    if len(sound) == 1:
        return f"Only {named[0]} can be judged, with {criterion} {values[0]}."
    wins = "have" if named[0] != alike[0] else "has"
    said = f"{named[0][0].upper()}{named[0][1:]}" if wins == "have" else named[0]
    said = f"{said} {wins} the best {criterion}, {values[0]}"
    if len(alike) > 1:
        said = f"{_and(named)} tie for the best {criterion}, {values[0]}"
    reference = _reference(summary)
    if reference is None:
        return (
            f"{said}. Equal weights ({REFERENCE}) have none to compare it with, so whether "
            "weighting helps remains open."
        )
    if REFERENCE in alike:
        return f"{said}."
    return f"{said}; equal weights ({REFERENCE}) have {reference.metrics[summary.objective]}."


def _against_reference(summary: Summary) -> str:
    """Which methods are better than equal weights, allowing for how many were tried."""
    if _reference(summary) is None:
        return ""
    others = [row for row in summary.eligible if row.method != REFERENCE]
    if not others:
        return ""
    if all(row.judgement is None for row in others):
        return "With fewer than two seeds in common there are no intervals: this may be noise."
    better = [
        f"{row.method} by {row.lead.ranged}"
        for row in others
        if row.judgement == "better" and row.method not in summary.doubted
    ]
    allowing = ""
    if summary.comparisons > 1:
        allowing = f", allowing for {summary.comparisons} comparisons"
    if better:
        return f"Better than equal weights{allowing}: {_listed(better)}."
    if all(row.judgement == "worse" for row in others):
        return f"Every other method is worse than equal weights{allowing}."
    return (
        f"None is better than equal weights beyond doubt{allowing}: such a study finds a "
        f"difference of {format_number(summary.detectable)} with 80% probability."
    )


def _best(summary: Summary) -> str:
    kept = [row.method for row in summary.eligible if row.may_be_best]
    if summary.compared_by < 2 or len(summary.eligible) < 2:
        return ""
    if len(kept) == len(summary.eligible):
        return "Any of them may be the best."
    return f"May be the best: {_listed(kept)}."


def _doubted(summary: Summary) -> str:
    """Which methods were judged by labels that look wrong."""
    methods = [row.method for row in summary.methods if row.method in summary.doubted]
    if not methods:
        return ""
    return (
        f"{summary.doubted[methods[0]]:.0%} of the held-out labels look wrong, so what is judged "
        f"by them is no evidence: {_listed(methods)}. Look some up (equipoise audit, --check) and "
        "let these judge."
    )


def _exploratory(summary: Summary) -> str:
    if not summary.exploratory or len(summary.eligible) < 2:
        return ""
    seeds = "one seed" if summary.compared_by == 1 else f"{summary.compared_by} seeds"
    return f"This is exploratory: {seeds}, where {ENOUGH} are the least to rely on."


def _diverged(summary: Summary) -> str:
    rows = [row for row in summary.methods if row.diverged]
    return f"Diverged: {_listed([_runs(row, row.diverged) for row in rows])}." if rows else ""


def _collapsed(summary: Summary) -> str:
    rows = [row for row in summary.methods if row.collapsed > row.diverged]
    return (
        "Ended far below their other runs: "
        f"{_listed([_runs(row, row.collapsed - row.diverged) for row in rows])}."
        if rows
        else ""
    )


def _runs(row: MethodSummary, number: int) -> str:
    return f"{row.method} in {number} of {row.seeds} {'run' if row.seeds == 1 else 'runs'}"


def _reference(summary: Summary) -> MethodSummary | None:
    return next((row for row in summary.eligible if row.method == REFERENCE), None)


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - FEW
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:FEW])} and {more} more"
