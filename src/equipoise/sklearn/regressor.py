"""Several numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from equipoise.problems.table.targets import Target
from equipoise.sklearn.base import MultiTask
from equipoise.sklearn.labels import Column
from equipoise.sklearn.training import Floats


class MultiTaskRegressor(RegressorMixin, MultiTask):  # type: ignore[misc]
    """Learns several numbers with one network, its losses in balance; labels may be missing.

    Shared ReLU layers and a linear output for each target, trained by Adam on squared errors.
    Features and targets are standardised by the rows that are trained on, missing features become
    the median and are marked, and predictions are in the units of ``y``. Rows without any label
    are left out. ``equipoise compare table`` trains the same way.

    Args:
        weighting: how the losses are weighed: a method's name, such as ``"slaw"``, ``"constant"``
            or ``"cov"``, with options as in ``"slaw(bounds=(0.1, 10))"``; or a class. One that
            serves a main task or asks for held-out batches is refused.
        hidden_layer_sizes: widths of the shared layers.
        steps: optimizer steps, not walks through the data.
        batch_size: rows of a step, or all there are.
        learning_rate_init: of Adam.
        validation_fraction: share of the rows on which the network is measured ten times, and that
            it is not trained on: the best step's counts. With 0 the last step's.
        random_state: seed of the network's start, the order of the rows and those to validate on.
            The same number gives the same network bit for bit on one machine, that of a study with
            this seed and rows, and leaves the random numbers of the process as they are.

    Attributes:
        n_features_in_: number of features.
        feature_names_in_: their names, where ``X`` was a data frame with names.
        n_outputs_: number of targets.
        n_iter_: steps that were trained.
        loss_curve_: losses of each step's batch ``(steps, targets)``, of standardised numbers; NaN
            where it had no label.
        weights_by_target_: what each target's mean loss weighed at the last step, by the name of
            its column, or y0, y1, …

    Example:
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> y = np.hstack([1_000 * X, X**2])
        >>> y[::2, 1] = np.nan
        >>> model = MultiTaskRegressor(steps=20, random_state=0).fit(X, y)
        >>> model.predict(X).shape, list(model.weights_by_target_)
        ((40, 2), ['y0', 'y1'])
    """

    _label_type = np.float64
    _least = 2

    def predict(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Numbers in the units of ``y``, and in its form: ``(samples,)`` or ``(samples, targets)``.

        Args:
            X: features ``(samples, features)``.
        """
        return self._shaped(self._expected(X))

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Mean R² of the targets, each of the rows that have its label; scikit-learn's if all do.

        Targets with fewer than two labels do not count.

        Args:
            X: features ``(samples, features)``.
            y: labels in the form of those that were learned.
            sample_weight: of the rows, ``(samples,)``.

        Raises:
            ValueError: if there are no such labels.
        """
        return self._mean_score(_r2, y, self.predict(X), sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags

    def _targets(self, names: Sequence[str], columns: Sequence[Column]) -> list[Target]:
        return [
            Target(name, "regression", column) for name, column in zip(names, columns, strict=True)
        ]


def _r2(truth: Column, predictions: Column, weights: Column | None) -> float:
    return float(r2_score(truth, predictions, sample_weight=weights))
