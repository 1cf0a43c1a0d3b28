import numpy as np
import pandas as pd
import pytest
import torch

from equipoise.problems.table.table import table

ROWS = 400


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(ROWS, 2))
    return pd.DataFrame(
        {"a": inputs[:, 0], "b": inputs[:, 1], "y": inputs.sum(1), "sure": np.arange(ROWS) % 2}
    )


def _rows(part):
    return {tuple(row) for row in part[torch.arange(len(part))][1].tolist()}


def test_trusted_rows_choose_where_there_are_enough(frame):
    plain = table(frame.drop(columns="sure"), targets=("y",))
    chosen = table(frame, targets=("y",), trusted="sure")
    trusted = set(frame.index[frame["sure"] == 1] + 1)
    assert len(chosen.validation) < len(plain.validation) == ROWS // 10
    assert _rows(chosen.validation) < _rows(plain.validation)
    assert _rows(chosen.test) == _rows(plain.test)
    assert len(trusted & set(chosen.rows)) > len(chosen.validation)  # they are trained on too
    assert any(f"chosen on {len(chosen.validation)} trusted rows" in each for each in chosen.notes)
    assert any("with labels as given: wrong ones choose worse" in each for each in plain.notes)


def test_few_trusted_rows_do_not_choose(frame):
    frame["sure"] = np.arange(ROWS) % 10 == 0
    found = table(frame, targets=("y",), trusted="sure")
    assert len(found.validation) == ROWS // 10
    assert any("of them are trusted, and 20 are needed" in each for each in found.notes)
