"""What both estimators share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from equipoise.errors import UserError
from equipoise.problems.table.targets import Target
from equipoise.sklearn.arguments import method_of, recipe_of, seed_of, share_of, widths_of
from equipoise.sklearn.labels import Column, columns_of, names_of
from equipoise.sklearn.training import Floats, train
from equipoise.weighting import Weighting

if TYPE_CHECKING:
    from typing_extensions import Self

MAY_LACK = {"ensure_all_finite": "allow-nan"}
INPUTS = {"dtype": np.float64, **MAY_LACK}


class MultiTask(BaseEstimator):  # type: ignore[misc]
    """Shared layers and a head for each target, trained with a weighting of the losses."""

    _label_type: ClassVar[type | None]
    """What labels are turned into; ``None`` to leave them as they are."""
    _least: ClassVar[int]
    """Labels of a target without which it has no score."""

    def __init__(
        self,
        weighting: str | type[Weighting] = "slaw",
        *,
        hidden_layer_sizes: int | Sequence[int] = (128, 64),
        steps: int = 1_000,
        batch_size: int = 256,
        learning_rate_init: float = 1e-3,
        validation_fraction: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.weighting = weighting
        self.hidden_layer_sizes = hidden_layer_sizes
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Train a fresh network.

        Args:
            X: features ``(samples, features)``, numbers; NaN where missing.
            y: labels ``(samples,)`` or ``(samples, targets)``; missing ones are NaN, or ``None``
                among objects.

        Raises:
            ValueError: if a parameter or the data cannot be used, or the training diverges.
        """
        method = method_of(self.weighting)
        hidden = widths_of(self.hidden_layer_sizes)
        recipe = recipe_of(self.steps, self.batch_size, self.learning_rate_init)
        share = share_of(self.validation_fraction)
        inputs, labels = validate_data(
            self,
            X,
            y,
            validate_separately=({**INPUTS, "ensure_min_samples": 2}, self._checks()),
        )
        check_consistent_length(inputs, labels)
        columns = columns_of(labels)
        self._trained = train(
            inputs,
            self._targets(names_of(y, len(columns)), columns),
            method,
            hidden=hidden,
            recipe=recipe,
            share=share,
            seed=seed_of(self.random_state),
        )
        self._flat = labels.ndim == 1
        self.n_outputs_ = len(columns)
        self.n_iter_ = len(self._trained.losses)
        self.loss_curve_ = self._trained.losses
        self.weights_by_target_ = self._trained.weights
        return self

    @abstractmethod
    def _targets(self, names: Sequence[str], columns: Sequence[Column]) -> list[Target]:
        """The targets of the labels of each."""

    def _expected(self, given: ArrayLike) -> list[Floats]:
        check_is_fitted(self)
        return self._trained.expected(validate_data(self, given, reset=False, **INPUTS))

    def _shaped(self, columns: Sequence[Column]) -> Column:
        """Predictions in the form of the labels that were given."""
        return columns[0] if self._flat else np.stack(columns, 1)

    def _checks(self) -> dict[str, Any]:
        return {"dtype": self._label_type, "ensure_2d": False, **MAY_LACK}

    def _mean_score(
        self,
        score: Callable[[Column, Column, Column | None], float],
        labels: ArrayLike,
        predictions: Column,
        sample_weight: ArrayLike | None,
    ) -> float:
        """The mean over the targets of a score of the rows that have its label."""
        found = columns_of(check_array(labels, input_name="y", **self._checks()))
        if len(found) != self.n_outputs_:
            raise UserError(
                f"y has {len(found)} targets, and the estimator was fitted to {self.n_outputs_}"
            )
        weights = None if sample_weight is None else np.asarray(sample_weight, float)
        check_consistent_length(found[0], predictions, weights)
        scores = []
        for truth, own in zip(found, columns_of(predictions), strict=True):
            there = pd.notna(truth)
            if there.sum() >= self._least:
                part = None if weights is None else weights[there]
                scores.append(score(truth[there], own[there], part))
        if not scores:
            raise UserError(
                f"no target of y has {self._least} labels, without which there is no score"
            )
        return float(np.mean(scores))
