"""Weightings stand where TorchJD's scalarizers do."""

import pytest
import torch
from tiny import LOSS_METHODS, Tiny
from torchjd import scalarization

from equipoise.task import Constant


@pytest.mark.parametrize("method", LOSS_METHODS)
def test_takes_what_a_scalarizer_takes(method):
    total = method(3)(torch.stack(list(Tiny().losses(0))))
    assert total.shape == ()
    total.backward()


def test_constant_is_torchjd_sum():
    losses = torch.rand(3)
    torch.testing.assert_close(Constant(3)(losses), scalarization.Sum()(losses))


def test_constant_is_torchjd_constant():
    losses, weights = torch.rand(3), torch.tensor([1.0, 0.0, 0.25])
    expected = scalarization.Constant(weights)(losses)
    torch.testing.assert_close(Constant(3, initial=weights)(losses), expected)
