"""The models whose out-of-fold predictions an audit rests on, all of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1_000.0)
"""Of the ridge regression, which chooses among them."""

MOST_ROWS = 7_000
"""That each of the extra trees is grown from; of more, each has a sample of its own."""

Make: TypeAlias = Callable[[int, int], Any]
"""From a seed and a number of rows to a model."""


def _trees(seed: int, rows: int) -> dict[str, Any]:
    # Leaves of two: a wrong label among the training rows does not answer alone.
    usual = {"n_estimators": 200, "min_samples_leaf": 2, "random_state": seed}
    if rows <= MOST_ROWS:
        return usual
    return {**usual, "bootstrap": True, "max_samples": MOST_ROWS}


def _boosting(seed: int) -> dict[str, Any]:
    # Early stopping would choose on labels that may be wrong.
    return {"early_stopping": False, "random_state": seed}


OF_CLASSES: Mapping[str, Make] = {
    "logistic regression": lambda *_: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=300)
    ),
    "extra trees": lambda seed, rows: ExtraTreesClassifier(**_trees(seed, rows)),
    "boosting": lambda seed, _: HistGradientBoostingClassifier(**_boosting(seed)),
}
OF_NUMBERS: Mapping[str, Make] = {
    "ridge": lambda *_: make_pipeline(StandardScaler(), RidgeCV(PENALTIES)),
    "extra trees": lambda seed, rows: ExtraTreesRegressor(**_trees(seed, rows)),
    "boosting": lambda seed, _: HistGradientBoostingRegressor(**_boosting(seed)),
    "boosting, absolute error": lambda seed, _: HistGradientBoostingRegressor(
        loss="absolute_error", **_boosting(seed)
    ),
}
