import numpy as np
import pytest

from equipoise.errors import UserError
from equipoise.problems.parts import hold_out, hold_out_groups

ROWS = np.random.default_rng(0).permutation(1_000)[:200]


@pytest.mark.parametrize(("share", "size"), [(0.25, 50), (0.003, 1), (0.997, 199)])
def test_parts_a_share_and_keeps_the_order(share, size):
    train, held_out = hold_out(ROWS, share, 0)
    assert len(held_out) == size
    assert sorted([*train, *held_out]) == sorted(ROWS)
    for part in (train, held_out):
        assert part.tolist() == [row for row in ROWS if row in set(part)]


def test_is_random_and_of_its_seed():
    one, same, other = (hold_out(ROWS, 0.25, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    times = sum(np.isin(ROWS, hold_out(ROWS, 0.25, seed)[1]) for seed in range(400))
    # Binomial with 400 trials of 1/4: standard deviation 8.7.
    assert times.min() > 60
    assert times.max() < 140


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_is_refused(share):
    with pytest.raises(UserError, match="`held_out` must be a share between 0 and 1"):
        hold_out(ROWS, share, 0)


@pytest.mark.parametrize(("share", "what"), [(0.001, "none to hold out"), (0.999, "none to train")])
def test_an_empty_part_is_refused(share, what):
    with pytest.raises(UserError, match=what):
        hold_out(ROWS, share, 0)


def test_groups_are_held_out_whole_and_only_what_is_useful():
    random = np.random.default_rng(1)
    groups = random.integers(0, 100, 1_000)
    useful = random.random(1_000) < 0.3
    train, held_out = hold_out_groups(ROWS, groups, useful, 0.25, 0)
    assert not set(groups[train]) & set(groups[held_out])
    assert useful[held_out].all()
    candidates = set(groups[ROWS][useful[ROWS]])
    assert len(set(groups[held_out])) == round(0.25 * len(candidates))
    # Rows of such a group that tell nothing are neither trained on nor held out.
    lost = set(ROWS) - set(train) - set(held_out)
    assert set(groups[list(lost)]) <= set(groups[held_out])
    assert not useful[list(lost)].any()
