"""What every weighting must do: put one of your own through the same questions as ours.

from equipoise.testing import conformance

def test_my_weighting():
conformance(MyWeighting)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from equipoise.testing.case import Case, saved_and_loaded, tolerance
from equipoise.testing.checks import CHECKS
from equipoise.weighting import Weighting

__all__ = ["CHECKS", "Case", "conformance", "saved_and_loaded", "tolerance"]


def conformance(kind: type[Weighting], *, without: Collection[str] = (), **options: Any) -> None:
    """Ask a weighting every question of :data:`CHECKS`.

    Args:
        kind: the class.
        without: names of questions that are not asked.
        options: of its constructor.

    Raises:
        AssertionError: naming the question whose answer is wrong, and what was found.
    """
    unknown = set(without) - set(CHECKS)
    if unknown:
        raise ValueError(
            f"without: there are no checks {sorted(unknown)}, there are {list(CHECKS)}"
        )
    for name, check in CHECKS.items():
        if name not in without:
            try:
                check(Case(kind, options))
            except Exception as error:
                raise AssertionError(f"{kind.__name__}: {name}: {error}") from error
