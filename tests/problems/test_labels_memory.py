import psutil
import pytest

from equipoise.errors import UserError
from equipoise.problems import memory
from equipoise.problems.memory import check_labels, free_memory


def test_free_memory_is_part_of_what_the_machine_has():
    assert 0 < free_memory() <= psutil.virtual_memory().total


def test_labels_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 3_100_000_000)
    check_labels(100_000, 900, "cells.csv")
    with pytest.raises(UserError) as error:
        check_labels(1_000_000, 900, "cells.csv")
    said = str(error.value)
    assert "900 targets in 1,000,000 rows of cells.csv" in said
    assert "28.8 GB" in said
    assert "3.1 GB are free" in said
