"""The parameters of an estimator, checked when it is fitted, as scikit-learn has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from equipoise.errors import UserError, positive
from equipoise.problems.parameters import LARGEST, check_whole, check_widths
from equipoise.problems.problem import Recipe
from equipoise.study.methods import Method, Part, find_methods
from equipoise.weighting import Needs, Weighting


def method_of(weighting: Any) -> Method:
    """The one method that a text names, or a class is.

    Raises:
        UserError: if it is none, several, or one that serves a main task or asks for more data.
    """
    if isinstance(weighting, str):
        methods = find_methods(weighting)
    elif isinstance(weighting, type) and issubclass(weighting, Weighting):
        methods = [Method((Part(weighting.__name__, weighting, {}, label=weighting.__name__),))]
    else:
        raise UserError(
            "`weighting` must be the name of a method, such as 'slaw', or a subclass of "
            f"equipoise.Weighting, found {weighting!r}"
        )
    if len(methods) != 1:
        raise UserError(f"`weighting` must name one method, found {len(methods)} in {weighting!r}")
    (method,) = methods
    asked = method.needs & (Needs.MAIN | Needs.HELD_OUT)
    if asked:
        raise UserError(
            f"`weighting`: {method.label} needs {asked}, and an estimator has none: give another, "
            "such as 'slaw', or use equipoise.compare with `main`"
        )
    return method


def recipe_of(steps: Any, batch_size: Any, lr: Any) -> Recipe:
    """How to train.

    Raises:
        ValueError: if one of them is no such number.
    """
    steps, batch_size, lr = map(_plain, (steps, batch_size, lr))
    check_whole("steps", steps, 1, LARGEST)
    check_whole("batch_size", batch_size, 1, LARGEST)
    return Recipe(
        steps=steps,
        batch_size=batch_size,
        lr=positive("`learning_rate_init`", lr),
        optimizer=lambda parameters, rate: torch.optim.Adam(parameters, lr=rate),
    )


def widths_of(hidden: Any) -> list[int]:
    """Widths of the shared layers, of one number or several.

    Raises:
        UserError: if they are none.
    """
    widths: list[int] = np.ravel(hidden).tolist()
    check_widths("hidden_layer_sizes", widths)
    return widths


def share_of(share: Any) -> float:
    """The share of the rows to choose the step on.

    Raises:
        UserError: if it is none.
    """
    share = _plain(share)
    if isinstance(share, bool) or not (isinstance(share, (int, float)) and 0 <= share < 1):
        raise UserError(
            "`validation_fraction` must be a share of the rows from 0, for none, to below 1, "
            f"found {share!r}"
        )
    return float(share)


def seed_of(random_state: Any) -> int:
    """A whole number as it is, so that it is the seed of a study too; else one that is drawn.

    Raises:
        ValueError: from scikit-learn, if it is no random state.
    """
    drawn = check_random_state(random_state)
    given = _plain(random_state)
    return int(given) if isinstance(given, int) else int(drawn.randint(2**31))


def _plain(value: Any) -> Any:
    """Numbers of NumPy, which searches draw, as those of Python."""
    return value.item() if isinstance(value, np.generic) else value
