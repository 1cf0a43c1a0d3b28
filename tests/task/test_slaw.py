import numpy as np
import pytest
import references
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from equipoise.task import SLAW
from equipoise.testing import tolerance

weights_of_three = st.tuples(*[st.integers(1, 8)] * 3)


# A thousand operations one after another, of which some take differences.
CLOSE = tolerance(torch.float64, 10**6)["rtol"]


def reference(steps, *, beta=0.99, initial=None, warmup=1, averaging="reference", floor=1e-5):
    """Weights after each step from all losses so far, in two passes; losses may stand still."""
    steps = np.asarray(steps, dtype=np.float64)
    size = len(steps)
    initial = np.ones(steps.shape[1]) if initial is None else np.asarray(initial, dtype=float)
    lowest = 1 - beta
    gains = [lowest if averaging == "paper" else max(1 / t, lowest) for t in range(1, size + 1)]
    history = []
    for t in range(1, size + 1):
        shares = [gains[s] * np.prod(1 - np.array(gains[s + 1 : t])) for s in range(t)]
        values = steps[:t]
        if averaging == "paper":  # averages that start at zero have what is missing to 1 there
            shares, values = [*shares, beta**t], np.vstack([values, np.zeros_like(initial)])
        mean = np.dot(shares, values)
        spread = np.sqrt(np.dot(shares, (values - mean) ** 2))
        # What float32, the coarser of two dtypes, cannot tell from standing still keeps its weight.
        moving = (spread > 2**-52 * np.abs(mean)) & (t > warmup)
        inverse = moving / np.maximum(spread, floor)
        share = initial[moving].sum() / inverse.sum() if moving.any() else 0
        history.append(np.where(moving, inverse * share, initial))
    return history


def weights_after_each(weighting, steps, dtype=torch.float64):
    if dtype == torch.float64:
        weighting.double()
    history = []
    for losses in steps:
        weighting(torch.tensor(np.asarray(losses), dtype=dtype))
        history.append(weighting.weights.double().numpy())
    return history


@given(
    steps=st.lists(st.tuples(*[st.integers(0, 640)] * 3), min_size=1, max_size=25),
    beta=st.sampled_from([0.5, 0.9, 0.99]),
    initial=weights_of_three,
    warmup=st.integers(1, 4),
    averaging=st.sampled_from(["reference", "paper"]),
)
def test_matches_the_paper(steps, beta, **options):
    steps = np.array(steps) / 64
    weighting = SLAW(3, beta=beta, **options)
    found = weights_after_each(weighting, steps)
    np.testing.assert_allclose(found, reference(steps, beta=beta, **options), rtol=CLOSE)


@pytest.mark.parametrize("averaging", ["reference", "paper"])
def test_by_hand(averaging):
    """Spreads of 0 and 2, and 0 and 1: with plain averages 1 and 1/2, so weights 2/3 and 4/3."""
    weighting = SLAW(2, averaging=averaging, beta=0.5)
    found = weights_after_each(weighting, [[1.0, 3.0], [3.0, 2.0]])[-1]
    # From zero: a = (1/4 + 9/2, 9/4 + 4/2), b = (1/4 + 3/2, 3/4 + 2/2).
    spreads = {"reference": [1, 0.5], "paper": [(4.75 - 1.75**2) ** 0.5, (4.25 - 1.75**2) ** 0.5]}
    inverse = 1 / np.array(spreads[averaging])
    np.testing.assert_allclose(found, 2 * inverse / inverse.sum(), rtol=CLOSE)


def test_warmup_counts_the_updates_of_each_task():
    weighting = SLAW(3, warmup=3, initial=[1.0, 2.0, 3.0])
    rng = np.random.default_rng(0)
    for step in range(4):
        weighting(torch.tensor(rng.random(3)), mask=torch.tensor([True, True, step > 0]))
        if step < 3:
            assert weighting.weights.tolist() == [1, 2, 3]
    assert weighting.weights[2] == 3  # its third update was the last one
    assert weighting.weights[0] != 1
    assert weighting.weights[:2].sum() == pytest.approx(3)


# The floor


def test_floor_is_in_units_of_the_loss():
    steps = [[0.0, 0.0], [1.0, 1e-3], [0.0, 0.0]]
    found = weights_after_each(SLAW(2, floor=0.25), steps)[-1]
    ratio = 0.25 / np.std([0, 1, 0])
    np.testing.assert_allclose(found[0] / found[1], ratio, rtol=CLOSE)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_relative_floor_knows_no_unit(unit):
    """The second task moves by 1e-6 of its size, which counts as 1e-5."""
    steps = unit * np.array([[1.0, 10.0], [2.0, 10.0 + 1e-5]])
    found = weights_after_each(SLAW(2, floor="relative"), steps)[-1]
    np.testing.assert_allclose(found[0] / found[1], 1e-5 * (10 + 5e-6) / 0.5, rtol=CLOSE)


# Numbers


def test_large_losses_in_float32():
    """At 1e4 a float32 resolves 1e-3; the difference of averages would be rounding alone."""
    rng = np.random.default_rng(0)
    steps = np.float32(1e4 + rng.standard_normal((1000, 3)) * [5e-2, 1e-1, 1.0])
    found = weights_after_each(SLAW(3), steps, torch.float32)
    # The losses are given to 2**-11, spreads of 0.05 are to be found: a hundredth is lost at most.
    np.testing.assert_allclose(found[100:], references.slaw(steps)[100:], rtol=0.01)


STILL = {
    "constant": ([0.7], torch.float32),
    "zero": ([0.0], torch.float32),
    "bfloat16": ([0.7], torch.bfloat16),
    "last digit of float32": ([1e4, 1e4 + 2**-10], torch.float32),
    "last digit of bfloat16": ([1.0, 1.0 + 2**-7], torch.bfloat16),
}


@pytest.mark.parametrize(("values", "dtype"), STILL.values(), ids=STILL)
@pytest.mark.parametrize("options", [{}, {"warmup": 5}, {"floor": "relative"}], ids=str)
def test_task_that_stands_still_takes_nothing(values, dtype, options):
    steps = 1 + np.random.default_rng(0).random((200, 2)) * [1, 10]
    still = np.resize(values, (200, 1))
    with_it = SLAW(3, initial=[1.0, 2.0, 5.0], **options)
    found = np.array(weights_after_each(with_it, np.hstack([steps, still]), dtype))
    without = weights_after_each(SLAW(2, initial=[1.0, 2.0], **options), steps, dtype)
    np.testing.assert_allclose(found[:, :2], without, rtol=tolerance(torch.float32, 10)["rtol"])
    assert (found[:, 2] == 5).all()


# Bounds


@given(
    exponents=st.lists(st.floats(-6, 4), min_size=2, max_size=30),
    low=st.floats(0, 1),
    high=st.floats(1, 1000),
)
def test_bounds_hold_and_keep_the_sum_and_the_ratios_between(exponents, low, high):
    spread = 10.0 ** torch.tensor(exponents, dtype=torch.float64)
    size = len(spread)

    def weights(bounds):
        weighting = SLAW(size, bounds=bounds).double()
        weighting.moments.updates.fill_(2)
        weighting.moments.variance.copy_(spread**2)
        weighting(torch.zeros(size), torch.zeros(size))  # without a label: no change to the moments
        return weighting.weights

    free, bounded = weights(None), weights((low, high))
    # Next to the largest weight the smallest has fewer digits.
    lost = tolerance(torch.float64, size)["rtol"] * float(free.max() / free.min())
    assert bounded.min() >= low
    assert bounded.max() <= high
    assert bounded.sum().item() == pytest.approx(size, rel=lost)
    # Those between the bounds have one factor; a bound only takes what lies beyond it.
    factors = bounded / free
    between = (bounded > low * (1 + lost)) & (bounded < high * (1 - lost))
    assume(between.any())
    factor = factors[between].median()
    # Weights below 1e-12 of the sum are taken to be that.
    torch.testing.assert_close(bounded, (factor * free).clamp(low, high), rtol=lost, atol=1e-6)


def test_bounds_by_hand():
    """Free weights (4, 1, 1)/2: the first gives what is over 1.5 to the others, equally."""
    weighting = SLAW(3, bounds=(0.2, 1.5))
    weights_after_each(weighting, [[0.0, 0.0, 0.0], [1.0, 4.0, 4.0]])
    np.testing.assert_allclose(weighting.weights, [1.5, 0.75, 0.75], rtol=CLOSE)


@pytest.mark.parametrize(
    ("initial", "bounds", "expected"),
    [
        ([0.0, 1.0, 2.0], (0.0, 1.7), [0.0, 1.3, 1.7]),
        ([0.0, 1.0, 2.0], (0.1, 1.7), [0.1, 1.2, 1.7]),
        ([0.0, 0.0, 3.0], (0.0, 1.4), [0.8, 0.8, 1.4]),
    ],
)
def test_bounds_around_weights_of_zero(initial, bounds, expected):
    """A weight of 0 is taken to be 1e-12 of the sum, next to which a float64 has four digits."""
    weighting = SLAW(3, initial=initial, bounds=bounds)
    weights_after_each(weighting, [[1.0, 1.0, 1.0]])
    np.testing.assert_allclose(weighting.weights, expected, rtol=1e-4, atol=1e-9)


# Wrong input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.0}, "beta must be a number in"),
        ({"beta": "high"}, "beta must be a number in"),
        ({"floor": 0.0}, "floor must be a positive number"),
        ({"floor": -1.0}, "floor must be a positive number"),
        ({"floor": float("nan")}, "floor must be a positive number"),
        ({"floor": "absolute"}, "floor must be a positive number"),
        ({"warmup": 0}, "warmup must be an integer of at least 1"),
        ({"warmup": 1.5}, "warmup must be an integer of at least 1"),
        ({"averaging": "plain"}, "averaging must be"),
        ({"bounds": (0.0, 0.9)}, "bounds must satisfy"),
        ({"bounds": (1.1, 2.0)}, "bounds must satisfy"),
        ({"bounds": (-0.1, 2.0)}, "bounds must satisfy"),
        ({"bounds": (float("nan"), 2.0)}, "bounds must satisfy"),
        ({"bounds": 2.0}, "bounds must be two numbers"),
        ({"bounds": (0.5, 1.0, 2.0)}, "bounds must be two numbers"),
        ({"bounds": ("low", "high")}, "bounds must be two numbers"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        SLAW(2, **options)
