"""What to make of a comparison, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equipoise.study.names import REFERENCE
from equipoise.study.statistics import MethodSummary, Summary, tied


def verdict(summary: Summary) -> str:
    """What to make of it, in a sentence or two; one more if runs diverged."""
    if not any(row.seeds for row in summary.methods):
        return "No run has finished yet."
    diverged = [
        f"{row.method} in {row.diverged} of {row.seeds} {'run' if row.seeds == 1 else 'runs'}"
        for row in summary.methods
        if row.diverged
    ]
    return _judgement(summary) + (f" Diverged: {', '.join(diverged)}." if diverged else "")


def _judgement(summary: Summary) -> str:
    objective, criterion, sound = summary.objective, summary.criterion, summary.eligible
    if not summary.finished:
        there = [f"{name} {n} of {asked}" for name, (n, asked) in summary.unfinished.items()]
        return f"The study is not finished, so nothing is best yet; seeds done: {', '.join(there)}."
    if not sound:
        return f"No method came out with a {criterion}, so there is nothing to choose from."
    best, others = sound[0], sound[1:]
    value = best.metrics[objective]
    if not others:
        return f"Only {best.method} can be judged, with {criterion} {value}."
    values = [row.metrics[objective] for row in sound]
    means, texts = [each.mean for each in values], [each.mean_text for each in values]
    marks = tied(means, texts, summary.goals[objective])
    alike = [row.method for row, mark in zip(sound, marks, strict=True) if mark]
    wins = f"{best.method} has the best {criterion}"
    if len(alike) > 1:
        wins = f"{', '.join(alike[:-1])} and {alike[-1]} tie for the best {criterion}"
    reference = next((row for row in sound if row.method == REFERENCE), None)
    if reference is None:
        return (
            f"{wins}, {value}. Equal weights ({REFERENCE}) have "
            "none to compare it with, so whether weighting helps remains open."
        )
    if len(alike) > 1 and REFERENCE in alike:
        said = f"{wins}, {value}: as shown, nothing does better than equal weights ({REFERENCE})."
        rest = [row for row in sound if row.method not in alike]
        return f"{said} {_followers(rest)}" if rest else said
    if best is reference:
        return f"Equal weights ({REFERENCE}) win with {criterion} {value}. {_followers(others)}"
    return (
        f"{wins}: {value}, against "
        f"{reference.metrics[objective]} with equal weights ({REFERENCE}). {_lead(best, others)}"
    )


def _followers(others: Sequence[MethodSummary]) -> str:
    if all(math.isnan(row.difference_half_width) for row in others):
        return "With fewer than two seeds in common there are no intervals: this may be noise."
    close = [row.method for row in others if not (row.beyond_noise and row.difference < 0)]
    if not close:
        return "Every other method is worse beyond the noise between seeds."
    return f"Not to be told from them by these seeds: {', '.join(close)}."


def _lead(best: MethodSummary, others: Sequence[MethodSummary]) -> str:
    if math.isnan(best.difference_half_width):
        return "With fewer than two seeds in common there is no interval: this may be noise."
    if best.beyond_noise and best.difference > 0:
        return f"{best.method} is better beyond the noise between seeds, by {best.lead}."
    better = [row.method for row in others if row.beyond_noise and row.difference > 0]
    behind = f"The lead of {best.method}, {best.lead}, is not beyond the noise between seeds"
    if better:
        return f"{behind}, but that of {', '.join(better)} is."
    return f"{behind}: equal weights may do as well."
