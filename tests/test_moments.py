import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipoise.moments import Moments

floats = st.floats(-1000, 1000, width=32, allow_subnormal=False)
betas = st.sampled_from([0.0, 0.5, 0.9, 0.99])


def exact(values, beta, corrected=True):
    """Mean and variance from the weight that each value has after the last one."""
    values = np.asarray(values, dtype=np.float64)
    gains = [max(1 / t, 1 - beta) if corrected else 1 - beta for t in range(1, len(values) + 1)]
    shares = [gain * np.prod(1 - np.array(gains[t + 1 :])) for t, gain in enumerate(gains)]
    if not corrected:  # averages that start at zero have what is missing to 1 there
        shares, values = [*shares, beta ** len(values)], [*values, 0.0]
    mean = np.dot(shares, values)
    return mean, np.dot(shares, (values - mean) ** 2)


def taken_in(values, *, size=1, **options):
    moments = Moments(size, **options)
    for value in values:
        moments.update(torch.as_tensor(value, dtype=torch.float32).expand(size))
    return moments


@given(st.lists(floats, min_size=1, max_size=60), betas, st.booleans())
def test_matches_the_closed_form(values, beta, corrected):
    moments = taken_in(values, beta=beta, corrected=corrected)
    mean, variance = exact(values, beta, corrected)
    scale = max(map(abs, values)) + 1e-13  # so that squares are float32 numbers
    assert moments.mean.item() == pytest.approx(mean, rel=1e-5, abs=1e-6 * scale)
    assert moments.variance.item() == pytest.approx(variance, rel=1e-4, abs=1e-10 * scale**2)


@pytest.mark.parametrize(("centre", "spread"), [(1e6, 1.0), (1e4, 5e-2), (-1e4, 5e-2), (0, 1e-6)])
def test_large_losses_with_a_small_spread(centre, spread):
    values = np.float32(centre + spread * np.random.default_rng(0).standard_normal(1000))
    moments = taken_in(values)
    mean, variance = exact(values, 0.99)
    assert moments.variance.item() == pytest.approx(variance, rel=1e-3)
    whole = moments.mean.double() + moments.residual.double()
    assert whole.item() == pytest.approx(mean, abs=1e-3 * spread)


def test_uncorrected_is_difference_of_averages_that_start_at_zero():
    values, beta = np.random.default_rng(0).random(30) + 3, 0.9
    squares = mean = 0.0
    for value in values:
        squares = beta * squares + (1 - beta) * value**2
        mean = beta * mean + (1 - beta) * value
    moments = taken_in(values, beta=beta, corrected=False)
    assert moments.variance.item() == pytest.approx(squares - mean**2, rel=1e-5)


def test_double_state_takes_double_losses():
    values = 1e6 + np.random.default_rng(0).random(50)
    moments = Moments(1).double()
    for value in values:
        moments.update(torch.tensor([value], dtype=torch.float64))
    assert moments.variance.item() == pytest.approx(exact(values, 0.99)[1], rel=1e-6)


@pytest.mark.parametrize("counts", [torch.bool, torch.int64, torch.float32], ids=str)
def test_each_loss_is_on_its_own(counts):
    """With losses absent at random, each has the moments of its present values alone."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(40, 7, generator=generator)
    present = torch.rand(40, 7, generator=generator) < 0.6
    together = Moments(7, beta=0.9)
    for row, mask in zip(losses, present, strict=True):
        together.update(row.where(mask, torch.nan), mask.to(counts))
    for index in range(7):
        values = losses[present[:, index], index]
        alone = taken_in(values, beta=0.9)
        for name, value in alone.state_dict().items():
            assert torch.equal(together.state_dict()[name][index], value[0])
        assert together.updates[index] == len(values)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("first", [True, False])
def test_what_cannot_be_squared_is_skipped_and_counted(bad, first):
    moments = taken_in([] if first else [1.0, 3.0, 2.0], size=2)
    before = {name: value.clone() for name, value in moments.state_dict().items()}
    taken = moments.update(torch.tensor([2.0, bad]))
    assert taken.tolist() == [True, False]
    assert moments.skipped.tolist() == [0, 1]
    for name, value in moments.state_dict().items():
        if name != "offered":
            assert torch.equal(value[1], before[name][1]), name


def test_absent_is_not_skipped():
    moments = Moments(2)
    moments.update(torch.tensor([1.0, torch.nan]), torch.tensor([3, 0]))
    assert moments.skipped.tolist() == [0, 0]
    assert moments.offered.tolist() == [1, 0]


def test_reset():
    moments = taken_in([1.0, 3.0, torch.nan])
    moments.reset()
    new = Moments(1).state_dict()
    assert all(torch.equal(value, new[name]) for name, value in moments.state_dict().items())


@pytest.mark.parametrize("beta", [-0.1, 1.0, 1.5, float("nan"), "high", None])
def test_wrong_beta(beta):
    with pytest.raises(ValueError, match="beta must be a number in"):
        Moments(1, beta)
