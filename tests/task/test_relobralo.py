import math

import numpy as np
import pytest
import torch

from equipoise import ReLoBRaLo

LOSSES = np.exp(np.random.default_rng(3).normal(size=(12, 3))) * [1.0, 4.0, 0.3]


def weights_of(weighting):
    history = []
    for losses in LOSSES:
        weighting(torch.tensor(losses, dtype=torch.float32))
        history.append(weighting.weights.tolist())
    return history


def balance(now, earlier, temperature):
    powers = [math.exp(new / (temperature * old)) for new, old in zip(now, earlier, strict=True)]
    return [3 * power / sum(powers) for power in powers]


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_it_is_the_equation_whichever_way_the_draws_fall(keep):
    alpha, temperature = 0.7, 2.0
    expected = [[1.0, 1.0, 1.0]]
    for t in range(1, len(LOSSES)):
        past = expected[-1] if keep else balance(LOSSES[t], LOSSES[0], temperature)
        recent = balance(LOSSES[t], LOSSES[t - 1], temperature)
        pairs = zip(past, recent, strict=True)
        expected.append([alpha * old + (1 - alpha) * new for old, new in pairs])
    found = weights_of(ReLoBRaLo(3, alpha=alpha, temperature=temperature, keep=keep))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_it_looks_back_as_often_as_it_should():
    weighting = ReLoBRaLo(2, alpha=1 - 1e-7, keep=0.8)
    # Since the first step only one loss has fallen, so looking back sets the weights far apart.
    looks = 0
    for losses in [(1.0, 1.0), *[(1.0, 0.5)] * 2_000]:
        weighting._weights.fill_(1)
        weighting(torch.tensor(losses))
        looks += bool(weighting.weights[0] > 1.1)
    assert looks / 2_000 == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("option", "value"), [("alpha", 1.0), ("keep", 1.5), ("temperature", 0), ("seed", -1)]
)
def test_a_wrong_option_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        ReLoBRaLo(3, **{option: value})
