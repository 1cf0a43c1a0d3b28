import pytest
import torch

from equipoise import ReLoBRaLo
from equipoise.testing import tolerance


def test_it_looks_back_as_often_as_it_should():
    weighting = ReLoBRaLo(2, alpha=1 - 1e-7, keep=0.8)
    # Since the first step only one loss has fallen, so looking back sets the weights far apart.
    looks = 0
    for losses in [(1.0, 1.0), *[(1.0, 0.5)] * 2_000]:
        weighting._task_weights.fill_(1)
        weighting(torch.tensor(losses))
        looks += bool(weighting.weights[0] > 1.1)
    assert looks / 2_000 == pytest.approx(0.2, abs=0.03)


def test_a_task_that_comes_later_has_a_schedule_of_its_own():
    """At its second loss its weight is that of its progress alone."""
    alone, both = ReLoBRaLo(2, alpha=0.8).double(), ReLoBRaLo(3, alpha=0.8).double()
    losses = torch.rand(5, 3, dtype=torch.float64) + 0.5
    for step, row in enumerate(losses):
        before = both.weights
        alone(row[:2])
        both(row, mask=torch.tensor([True, True, step >= 3]))
        if step < 4:
            assert both.weights[2] == 1
            torch.testing.assert_close(both.weights[:2], alone.weights, **tolerance(torch.float64))
    recent = 3 * torch.softmax(losses[4] / losses[3], 0)
    past = torch.tensor([0.8, 0.8, 0], dtype=torch.float64)
    expected = past * before + (1 - past) * recent
    expected *= 3 / expected.sum()
    torch.testing.assert_close(both.weights, expected, **tolerance(torch.float64))


def test_a_step_without_any_loss_does_not_count():
    one, other = ReLoBRaLo(2, keep=0.5), ReLoBRaLo(2, keep=0.5)
    for step, losses in enumerate(torch.rand(8, 2) + 0.5):
        if step % 3 == 0:
            one(losses * torch.nan)
            one(losses * 0)
        one(losses)
        other(losses)
        assert torch.equal(one.weights, other.weights)


def test_a_restored_state_brings_its_seed():
    one, other = ReLoBRaLo(2, keep=0.5, seed=9), ReLoBRaLo(2, keep=0.5)
    other.load_state_dict(one.state_dict())
    for losses in torch.rand(8, 2) + 0.5:
        one(losses)
        other(losses)
        assert torch.equal(one.weights, other.weights)


@pytest.mark.parametrize(
    ("option", "value"), [("alpha", 1.0), ("keep", 1.5), ("temperature", 0), ("seed", -1)]
)
def test_a_wrong_option_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        ReLoBRaLo(3, **{option: value})
