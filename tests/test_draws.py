import torch
from scipy import stats

from equipoise.draws import _mixed, normal, uniform
from equipoise.testing import tolerance

SEED, STEPS = torch.tensor(7), torch.arange(100_000)


def test_words_are_uniform_in_every_bit():
    words = _mixed(STEPS)
    ones = [((words >> bit) & 1).sum().item() for bit in range(32)]
    assert all(stats.binomtest(count, len(words), 0.5).pvalue > 1e-4 for count in ones)
    assert words.min() >= 0
    assert words.max() < 2**32
    assert len(words.unique()) == len(words)


def test_uniform_numbers_are_uniform_and_inside():
    numbers = uniform(SEED, STEPS)
    assert numbers.abs().max() < 1
    assert stats.kstest(numbers.double().numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_normal_numbers_are_the_quantiles_of_the_uniform_ones():
    expected = stats.norm.ppf((uniform(SEED, STEPS).double() + 1) / 2)
    # The inverse of erf in double precision is good to a few digits less in the tails.
    found = normal(SEED, STEPS, dtype=torch.float64)
    torch.testing.assert_close(found, torch.tensor(expected), **tolerance(torch.float64, 10_000))
    single = normal(SEED, STEPS).double()
    torch.testing.assert_close(single, found, **tolerance(torch.float32, 100))


def test_purposes_are_independent():
    numbers = uniform(SEED, STEPS[:, None], torch.arange(2))
    assert abs(torch.corrcoef(numbers.T)[0, 1]) < 0.01
