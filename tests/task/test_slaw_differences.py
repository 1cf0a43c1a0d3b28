"""SLAW with the changes of a loss in place of its spread."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from task.test_slaw import CLOSE, weights_after_each

from equipoise.task import SLAW

ABSENT = None


def reference(steps, beta):
    """Weights after each step from all values so far, a task at a time; ``None`` is absent."""
    history = []
    counted = np.cumsum([any(value is not ABSENT for value in step) for step in steps])
    for end in range(1, len(steps) + 1):
        spreads = []
        for task in zip(*steps[:end], strict=True):
            values = [
                (counted[step], value) for step, value in enumerate(task) if value is not ABSENT
            ]
            variance = 0.0
            for number, (before, after) in enumerate(pairwise(values), 1):
                share = max(1 / number, 1 - beta)
                square = (after[1] - before[1]) ** 2 / (1 + after[0] - before[0])
                variance = (1 - share) * variance + share * square
            spreads.append(np.sqrt(variance))
        moving = np.array(spreads) > 0
        inverse = np.where(moving, 1 / np.maximum(spreads, 1e-5), 0)
        share = moving.sum() / inverse.sum() if moving.any() else 0
        history.append(np.where(moving, inverse * share, 1.0))
    return history


def weights(steps, **options):
    weighting = SLAW(["a", "b", "c"], spread="differences", **options).double()
    found = []
    for step in steps:
        present = {
            name: torch.tensor(float(value), dtype=torch.float64)
            for name, value in zip("abc", step, strict=True)
            if value is not ABSENT
        }
        weighting(present)
        found.append(weighting.weights.numpy().copy())
    return found


values = st.one_of(st.just(ABSENT), st.integers(0, 640).map(lambda value: value / 64))


@given(
    steps=st.lists(st.tuples(values, values, values), min_size=1, max_size=25),
    beta=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_matches_a_loop_over_all_values(steps, beta):
    for found, expected in zip(weights(steps, beta=beta), reference(steps, beta), strict=True):
        np.testing.assert_allclose(found, expected, rtol=CLOSE)


def test_a_trend_does_not_enter():
    """Noise of size 1 and 2, and a trend that is alike: only the deviation takes it for spread."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((400, 2)) * [1.0, 2.0]
    steps = 1_000 - np.arange(400)[:, None] + noise
    (*_, by_differences) = weights_after_each(SLAW(2, spread="differences"), steps)
    (*_, by_deviation) = weights_after_each(SLAW(2), steps)
    assert by_differences[0] / by_differences[1] == pytest.approx(np.sqrt(9 / 3), rel=0.05)
    assert by_deviation[0] / by_deviation[1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.03])
def test_a_rare_task_weighs_about_what_it_would_if_it_were_never_absent(rate):
    """Tasks that are alike, half noise and half a random walk, of which one is mostly absent."""
    generator = np.random.default_rng(1)
    walks = generator.standard_normal((4_000, 2)).cumsum(0)
    steps = (walks + generator.standard_normal((4_000, 2)) + 1_000).tolist()
    present = generator.random(4_000) < rate
    rare = [
        (one if seen else ABSENT, two, two) for (one, two), seen in zip(steps, present, strict=True)
    ]
    late = np.array(weights(rare))[2_000:].mean(0)
    # A difference over m steps has the variance 2 + m here, and is taken to have 1 + m.
    assert 1 <= late[0] / late[1] < 1.5


def test_large_losses_with_small_changes_in_float32():
    generator = np.random.default_rng(2)
    steps = 1e4 + np.cumsum(0.01 * generator.standard_normal((300, 2)) * [1, 3], 0)
    steps = steps.astype(np.float32).astype(np.float64)  # exact in both
    exact = weights_after_each(SLAW(2, spread="differences"), steps)[-1]
    single = weights_after_each(SLAW(2, spread="differences"), steps, torch.float32)[-1]
    np.testing.assert_allclose(single, exact, rtol=1e-5)


def test_options_that_exclude_each_other():
    with pytest.raises(ValueError, match="averaging 'paper' is of the deviation"):
        SLAW(2, spread="differences", averaging="paper")
    with pytest.raises(ValueError, match="spread must be 'deviation' or 'differences'"):
        SLAW(2, spread="variance")
