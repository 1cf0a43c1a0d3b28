"""What is said of a label, from probabilities that are known."""

import numpy as np

from equipoise.problems.table.targets import Target
from equipoise.study.auditing.judged import judge

CLASSES = 10


def test_a_flagged_class_is_likely_another_though_none_is_likelier():
    """Of some rows the model takes all other classes for equally likely."""
    rng = np.random.default_rng(0)
    rows, doubtful = 2_000, np.arange(40)
    given = rng.integers(0, CLASSES, rows)
    probabilities = 0.98 * np.eye(CLASSES)[given] + 0.02 / CLASSES
    wrong = rng.random(rows) < 0.2
    given[wrong] = (given[wrong] + rng.integers(1, CLASSES, wrong.sum())) % CLASSES
    own = np.linspace(0.001, 0.1, len(doubtful))[:, None] * np.eye(CLASSES)[given[doubtful]]
    others = (1 - own.sum(1, keepdims=True)) * (own == 0) / (CLASSES - 1)
    probabilities[doubtful] = own + others
    target = Target("kind", "multiclass", given.astype(float), tuple("abcdefghij"))
    found = judge(target, [probabilities], np.zeros(rows, bool), np.full(rows, np.nan))
    assert (found.likely != found.given)[found.flagged].all()
    assert (found.likely == found.given)[~found.flagged].mean() > 0.99
    sure = np.arange(rows) >= len(doubtful)
    assert found.flagged[wrong & sure].mean() > 0.9
    assert 0 < found.flagged[doubtful].sum() < len(doubtful)
