"""Columns that hold the target."""

import numpy as np
import pandas as pd
import pytest

from equipoise.errors import UserError
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.leaks import check_columns, copies

RNG = np.random.default_rng(0)
ROWS = 200
NUMBER = RNG.normal(size=ROWS)
CLASS = RNG.integers(0, 3, ROWS).astype(float)
SOLD = Target("sold", "multiclass", CLASS, ("a", "b", "c"))
PRICE = Target("price", "regression", NUMBER)


@pytest.mark.parametrize(
    ("target", "column"),
    [
        (SOLD, CLASS),
        (SOLD, 10 - CLASS),
        (SOLD, CLASS + RNG.random(ROWS) / 2),
        (SOLD, np.array(["x", "y", "z"])[CLASS.astype(int)]),
        (PRICE, NUMBER),
        (PRICE, -3 * NUMBER + 5),
        (PRICE, np.exp(NUMBER)),
        (PRICE, np.where(np.arange(ROWS) < 30, np.nan, NUMBER)),
    ],
)
def test_a_column_that_tells_the_target_is_named(target, column):
    frame = pd.DataFrame({"fine": RNG.normal(size=ROWS), "leak": column})
    with pytest.raises(UserError, match=f"column 'leak' tells '{target.name}' without a single"):
        check_columns(frame, [target])


@pytest.mark.parametrize(
    ("target", "column"),
    [
        (SOLD, np.where(np.arange(ROWS) == 7, (CLASS + 1) % 3, CLASS)),
        (SOLD, [f"id {row}" for row in range(ROWS)]),
        (SOLD, np.arange(ROWS)),
        (PRICE, NUMBER + 0.05 * RNG.normal(size=ROWS)),
        (PRICE, NUMBER > 0),
        (PRICE, [str(row % 4) for row in range(ROWS)]),
        (PRICE, np.full(ROWS, np.nan)),
    ],
)
def test_a_good_feature_is_none(target, column):
    check_columns(pd.DataFrame({"feature": column}), [target])


def test_targets_in_other_units_are_copies():
    with_gaps = np.where(np.arange(ROWS) < 50, np.nan, 2.54 * NUMBER)
    targets = [SOLD, PRICE, Target("cm", "regression", with_gaps)]
    assert copies(targets).tolist() == [[False] * 3, [False, False, True], [False, True, False]]
