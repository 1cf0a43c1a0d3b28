import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipoise.moments import Moments
from equipoise.testing import tolerance

floats = st.floats(-1000, 1000, width=32, allow_subnormal=False)
betas = st.sampled_from([0.0, 0.5, 0.9, 0.99])


STARTS = ["plain", "first", "zero"]


def exact(values, beta, start="plain"):
    """Mean and variance from the weight that each value has after the last one."""
    values = np.asarray(values, dtype=np.float64)
    first = {"plain": [max(1 / t, 1 - beta) for t in range(1, len(values) + 1)]}
    first["zero"] = [1 - beta] * len(values)
    first["first"] = [1, *first["zero"][1:]]
    gains = first[start]
    shares = [gain * np.prod(1 - np.array(gains[t + 1 :])) for t, gain in enumerate(gains)]
    if start == "zero":  # averages that start at zero have what is missing to 1 there
        shares, values = [*shares, beta ** len(values)], [*values, 0.0]
    mean = np.dot(shares, values)
    return mean, np.dot(shares, (values - mean) ** 2)


def taken_in(values, *, size=1, dtype=torch.float32, **options):
    moments = Moments(size, **options).to(dtype)
    counts = torch.ones(size, dtype=dtype)
    for value in values:
        moments.update(torch.as_tensor(value, dtype=dtype).expand(size), counts)
    return moments


@given(st.lists(floats, min_size=1, max_size=60), betas, st.sampled_from(STARTS))
def test_matches_the_closed_form(values, beta, start):
    mean, variance = exact(values, beta, start)
    scale = max(map(abs, values)) + 1e-13  # so that squares are float32 numbers
    for dtype in (torch.float32, torch.float64):
        moments = taken_in(values, beta=beta, start=start, dtype=dtype)
        rounding = tolerance(dtype, 60)["rtol"]
        assert moments.mean.item() == pytest.approx(mean, rel=rounding, abs=rounding * scale)
        close = {"rel": 10 * rounding, "abs": rounding * scale**2}
        assert moments.variance.item() == pytest.approx(variance, **close)


@pytest.mark.parametrize(("centre", "spread"), [(1e6, 1.0), (1e4, 5e-2), (-1e4, 5e-2), (0, 1e-6)])
def test_large_losses_with_a_small_spread(centre, spread):
    values = np.float32(centre + spread * np.random.default_rng(0).standard_normal(1000))
    moments = taken_in(values)
    mean, variance = exact(values, 0.99)
    assert moments.variance.item() == pytest.approx(variance, rel=1e-3)
    whole = moments.last.double() - moments.above.double()
    assert whole.item() == pytest.approx(mean, abs=1e-3 * spread)


def test_from_zero_is_difference_of_averages_that_start_at_zero():
    values, beta = np.random.default_rng(0).random(30) + 3, 0.9
    squares = mean = 0.0
    for value in values:
        squares = beta * squares + (1 - beta) * value**2
        mean = beta * mean + (1 - beta) * value
    moments = taken_in(values, beta=beta, start="zero", dtype=torch.float64)
    rounding = tolerance(torch.float64, 1000)["rtol"]
    assert moments.variance.item() == pytest.approx(squares - mean**2, rel=rounding)


def test_double_state_has_the_digits_of_double():
    values = 1e6 + np.random.default_rng(0).random(50)
    moments = taken_in(values, dtype=torch.float64)
    # What the losses themselves have lost: 1e-16 of 1e6, next to a spread of 1.
    assert moments.variance.item() == pytest.approx(exact(values, 0.99)[1], rel=1e-9)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("labels", [1.0, 7.0, 0.5])
def test_each_loss_is_on_its_own(start, labels):
    """With losses absent at random, each has the moments of its present values alone."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(40, 7, generator=generator, dtype=torch.float64)
    present = torch.rand(40, 7, generator=generator) < 0.6
    together = Moments(7, beta=0.9, start=start).double()
    for row, mask in zip(losses, present, strict=True):
        together.update(row * mask, labels * mask.double())
    for index in range(7):
        values = losses[present[:, index], index]
        alone = taken_in(values, beta=0.9, start=start, dtype=torch.float64)
        for name, value in alone.state_dict().items():
            close = tolerance(torch.float64)
            torch.testing.assert_close(together.state_dict()[name][index], value[0], **close)
        assert together.updates[index] == len(values)


def test_nothing_changes_where_there_is_no_loss():
    moments = taken_in([1.0, 3.0, 2.0], size=2)
    before = {name: value.clone() for name, value in moments.state_dict().items()}
    moments.update(torch.tensor([5.0, 0.0]), torch.tensor([1.0, 0.0]))
    for name, value in moments.state_dict().items():
        assert torch.equal(value[1], before[name][1]), name
    assert moments.updates.tolist() == [4, 3]


def test_reset():
    moments = taken_in([1.0, 3.0])
    moments.reset()
    new = Moments(1).state_dict()
    assert all(torch.equal(value, new[name]) for name, value in moments.state_dict().items())


@pytest.mark.parametrize("beta", [-0.1, 1.0, 1.5, float("nan"), "high", None])
def test_wrong_beta(beta):
    with pytest.raises(ValueError, match="beta must be a number in"):
        Moments(1, beta)
