"""Estimators of scikit-learn that learn several targets at once, their losses in balance.

They train as ``equipoise compare table`` does, so the method and settings that a study has found
best can be used in pipelines and searches. They need the extra ``study``.
"""

from equipoise.sklearn.classifier import MultiTaskClassifier
from equipoise.sklearn.regressor import MultiTaskRegressor

__all__ = ["MultiTaskClassifier", "MultiTaskRegressor"]
