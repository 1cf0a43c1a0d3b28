"""What each column of a table is for, as its user says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from equipoise.errors import UserError, near_match
from equipoise.problems.frames.columns import check_column, some


@dataclass(frozen=True)
class Roles:
    """Names of columns, by what they are for."""

    targets: Sequence[str]
    main: str | None
    """The target that the others are there to serve."""
    features: Sequence[str] | None
    """``None`` for all that have no other role."""
    categorical: Sequence[str]
    leave_out: Sequence[str]
    group: str | None
    time: str | None
    trusted: str | None
    """Which rows have labels that are known to be right."""

    @property
    def places(self) -> list[str]:
        """What the split goes by."""
        return [name for name in (self.group, self.time) if name is not None]

    @property
    def others(self) -> set[str]:
        """What is no feature unless it is named as one."""
        return {*self.targets, *self.leave_out, *self.places, *self._trusted}

    @property
    def _trusted(self) -> list[str]:
        return [] if self.trusted is None else [self.trusted]

    def check(self, frame: pd.DataFrame, where: str) -> None:
        """Raise a :class:`UserError` if a column is not there, or roles do not go together."""
        if self.main is not None and self.main not in self.targets:
            near = near_match(self.main, self.targets)
            raise UserError(f"`main`: {self.main!r} is none of `targets`: {near}")
        if self.group is not None and self.time is not None:
            raise UserError("`group` and `time` are two ways to split; give one of them")
        roles = {
            "`targets`": self.targets,
            "`features`": self.features or (),
            "`leave_out`, `group`, `time` or `trusted`": (
                *self.leave_out,
                *self.places,
                *self._trusted,
            ),
        }
        for parameter, names in {**roles, "`categorical`": self.categorical}.items():
            for name in names:
                check_column(name, frame, parameter, where)
        for (one, names), (other, more) in combinations(roles.items(), 2):
            both = set(names) & set(more)
            if both:
                raise UserError(
                    f"{one} and {other} both name {some(sorted(both))}: take it out of one of them"
                )
