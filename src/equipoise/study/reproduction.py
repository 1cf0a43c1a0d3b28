"""What an experiment of a paper is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import plotly.graph_objects as go
from rich.console import Console

from equipoise.study.claims import Claim, Outcome

Options: TypeAlias = Mapping[str, Any]
"""Of a problem."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of an experiment is made."""

    variants: Mapping[str, Options]
    """What a study differs by from the others → options of the problem."""
    seeds: int
    steps: int | None = None
    """Of a run; the problem's if ``None``."""
    batch_size: int | None = None
    without: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Variant → methods that are left out of it, since they take too long."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """What a user says of where and on what it is made."""

    out: Path
    data: Path | None = None
    jobs: int = 1
    progress: bool | Console = True


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What came of the runs: figures by name, the table that they are drawn from, and claims."""

    table: pd.DataFrame
    """Whatever a figure shows, tidy."""
    summary: pd.DataFrame
    """The table of the page: texts, a row a line."""
    figures: Mapping[str, go.Figure]
    """Heading → figure."""
    claims: Sequence[tuple[str, Outcome, str]]
    """What the paper says, whether it held, and the figures that say so."""
    pages: Mapping[str, Path] = field(default_factory=dict)
    """The pages of the studies behind it."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """An experiment of a paper."""

    title: str
    source: str
    problem: str
    methods: Sequence[str]
    claims: Sequence[Claim]
    quick: Size
    full: Size
    axis: str
    """What its variants differ in."""
    data: str | None = None
    """Which file the problem takes, for people to read; ``None`` if it needs none."""
    problem_of_data: str | None = None
    """The problem where a file is given, and ``problem`` is a stand-in for it."""
    check: Callable[[Size, Path], None] | None = None
    """Refuses a file that lacks what a size needs, before anything is trained."""
    notes: Sequence[str] = ()
    """What is otherwise than in the paper."""
    find: Callable[[Reproduction, Size, Where], Findings]
    """What is done, see :mod:`~equipoise.study.experiments`."""
