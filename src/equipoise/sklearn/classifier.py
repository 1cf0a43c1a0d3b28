"""The classes of several targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin

from equipoise.problems.table.targets import Target
from equipoise.sklearn.base import MultiTask
from equipoise.sklearn.labels import Column, class_target
from equipoise.sklearn.training import Floats


class MultiTaskClassifier(ClassifierMixin, MultiTask):  # type: ignore[misc]
    """Learns the classes of several targets with one network, its losses in balance.

    Shared ReLU layers and outputs for each target, trained by Adam on cross-entropies. Labels may
    be missing: NaN, or ``None`` among objects. Parameters and all else are those of
    :class:`~equipoise.sklearn.MultiTaskRegressor`.

    A search with ``cv=3`` asks scikit-learn for strata of ``y``, which missing labels have none of:
    give ``cv=KFold(3)``.

    Args:
        weighting: how the losses are weighed.
        hidden_layer_sizes: widths of the shared layers.
        steps: optimizer steps, not walks through the data.
        batch_size: rows of a step, or all there are.
        learning_rate_init: of Adam.
        validation_fraction: share of the rows to choose the step on: by the area under the ROC
            curve of two classes and the mean recall of more, on average over the targets.
        random_state: seed of all that is drawn.

    Attributes:
        classes_: of one target its classes in order, of several a list of them.
        n_features_in_: number of features.
        feature_names_in_: their names, where ``X`` was a data frame with names.
        n_outputs_: number of targets.
        n_iter_: steps that were trained.
        loss_curve_: losses of each step's batch ``(steps, targets)``; NaN where it had no label.
        weights_by_target_: what each target's mean loss weighed at the last step.

    Example:
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> y = np.hstack([X > 0, abs(X) > 0.5]).astype(float)
        >>> y[::2, 1] = np.nan
        >>> model = MultiTaskClassifier(steps=20, random_state=0).fit(X, y)
        >>> [each.shape for each in model.predict_proba(X)]
        [(40, 2), (40, 2)]
    """

    _label_type = None
    _least = 1

    def predict(self, X: ArrayLike) -> Column:  # noqa: N803
        """The likeliest classes, in the form of ``y``: ``(samples,)`` or ``(samples, targets)``.

        Args:
            X: features ``(samples, features)``.
        """
        found = self._probabilities(X)
        pairs = zip(self._classes, found, strict=True)
        return self._shaped([classes[each.argmax(1)] for classes, each in pairs])

    def predict_proba(self, X: ArrayLike) -> Floats | list[Floats]:  # noqa: N803
        """Of one target the probabilities ``(samples, classes)``, of several a list of these.

        Args:
            X: features ``(samples, features)``.
        """
        found = self._probabilities(X)
        return found[0] if len(found) == 1 else found

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Mean accuracy of the targets, each of the rows that have its label.

        Args:
            X: features ``(samples, features)``.
            y: labels in the form of those that were learned.
            sample_weight: of the rows, ``(samples,)``.

        Raises:
            ValueError: if there are no such labels.
        """
        return self._mean_score(_accuracy, y, self.predict(X), sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_label = True
        return tags

    def _targets(self, names: Sequence[str], columns: Sequence[Column]) -> list[Target]:
        found = [class_target(*each) for each in zip(names, columns, strict=True)]
        self._classes = [classes for _, classes in found]
        self.classes_ = self._classes[0] if len(found) == 1 else self._classes
        return [target for target, _ in found]

    def _probabilities(self, given: ArrayLike) -> list[Floats]:
        found = self._expected(given)
        return [
            np.stack([1 - each, each], 1) if each.ndim == 1 else each[:, : len(classes)]
            for classes, each in zip(self._classes, found, strict=True)
        ]


def _accuracy(truth: Column, predictions: Column, weights: Column | None) -> float:
    return float(np.average(truth == predictions, weights=weights))
