"""The weightings by norms of gradients, whose norms are those of autograd."""

import pytest
import torch
from tiny import GRADIENT_METHODS, Tiny, made, run
from torch import nn

from equipoise.task import GradNorm, InverseGradientNorm
from equipoise.testing import tolerance

INITIAL = (1.0, 2.0, 0.5)
TOTAL = sum(INITIAL)
# A hundred operations one after another, of which some take differences.
CLOSE = {"rtol": tolerance(torch.float64, 10_000)["rtol"], "atol": 0}
PRESENT = torch.tensor([True, False, True])


def network():
    return Tiny().double()


def norms_of(model, time):
    """Of each loss's gradient in the shared parameters."""
    parameters = list(model.trunk.parameters())
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in model.losses(time)]
    return torch.stack([torch.cat([part.flatten() for part in row]).norm() for row in rows])


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("shared", ["given", "found"])
@pytest.mark.parametrize("layer", ["all", "weight"])
def test_update_gets_the_norms_of_the_gradients(method, shared, layer):
    model, seen = network(), []

    class Seeing(method):
        def update(self, losses, counts, norms):
            seen.append(norms)
            return super().update(losses, counts, norms)

    if layer == "weight":  # as if the network had no other shared parameter
        model.trunk.bias = None
    weighting = Seeing(3, shared=model.trunk if shared == "given" else None).double()
    for time in range(3):
        weighting(model.losses(time))
        torch.testing.assert_close(seen[-1], norms_of(model, time), **CLOSE)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_one_parameter_will_do(method):
    """The weight of the last shared layer, which the authors take."""
    model = network()
    by_one, by_list = (made(method, model, shared=each).double() for each in one_and_list(model))
    assert torch.equal(run(by_one, model, range(4)), run(by_list, model, range(4)))
    by_all = made(method, model).double()
    assert not torch.allclose(run(by_all, model, range(4)), run(by_one, model, range(4)))


def one_and_list(model):
    return model.trunk.weight, [model.trunk.weight]


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_shared_parameters_are_looked_for_until_a_batch_tells(method):
    """With one task alone nothing is known, and the weights stay."""
    model = network()
    finding = method(3, initial=INITIAL).double()
    one = torch.tensor([True, False, False])
    for _ in range(2):
        finding(model.losses(0), mask=one)
        assert finding.weights.tolist() == list(INITIAL)
    given = method(3, initial=INITIAL, shared=model.trunk).double()
    for time, mask in enumerate([PRESENT, ~(PRESENT & ~PRESENT), one]):
        for weighting in (finding, given):
            weighting(model.losses(time), mask=mask)
        assert torch.equal(finding.weights, given.weights)
    assert finding.weights.tolist() != list(INITIAL)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_tasks_that_share_nothing(method):
    layers = [nn.Linear(2, 1) for _ in range(3)]
    losses = torch.stack([layer(torch.ones(2)).square().sum() for layer in layers])
    with pytest.raises(
        ValueError, match=r"no parameter is reached by more than one task: .*shared="
    ):
        method(3)(losses)


# GradNorm


def gradnorm(steps, alpha, lr):
    """The authors' way: the gradient of the weights' loss by autograd, through the norms."""
    model, weights = network(), nn.Parameter(torch.tensor(INITIAL, dtype=torch.float64))
    optimizer = torch.optim.Adam([weights], lr=lr)
    parameters, first, history = list(model.trunk.parameters()), None, []
    for time in range(steps):
        losses = model.losses(time)
        rows = [
            torch.autograd.grad(weight * loss, parameters, create_graph=True)
            for weight, loss in zip(weights, losses, strict=True)
        ]
        norms = torch.stack([torch.cat([part.flatten() for part in row]).norm() for row in rows])
        first = losses.detach() if first is None else first
        rates = losses.detach() / first
        target = norms.detach().mean() * (rates / rates.mean()) ** alpha
        optimizer.zero_grad()
        (weights.grad,) = torch.autograd.grad((norms - target).abs().sum(), [weights])
        optimizer.step()
        with torch.no_grad():
            weights.clamp_(min=1e-3)
            weights *= TOTAL / weights.sum()
        history.append(weights.detach().clone())
    return torch.stack(history)


@pytest.mark.parametrize("alpha", [0.12, 1.5])
def test_gradnorm(alpha):
    model = network()
    weighting = made(GradNorm, model, initial=INITIAL, alpha=alpha, lr=0.05).double()
    torch.testing.assert_close(run(weighting, model, range(12)), gradnorm(12, alpha, 0.05), **CLOSE)


def test_gradnorm_keeps_weights_positive_and_their_sum():
    model = network()
    weights = run(made(GradNorm, model, initial=INITIAL, lr=2.0).double(), model, range(30))
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.full((30,), TOTAL).double(), **CLOSE)


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan])
def test_gradnorm_leaves_a_task_without_a_rate_alone(value):
    """Its loss is not positive: its weight stays, and the others share what they had."""
    model = network()
    weights = run(
        made(GradNorm, model, initial=INITIAL).double(),
        model,
        range(6),
        lambda losses, _: (torch.where(PRESENT, losses, losses * 0 + value), {}),
    )
    assert (weights[:, 1] == INITIAL[1]).all()
    assert (weights[-1] != torch.tensor(INITIAL))[PRESENT].all()
    torch.testing.assert_close(weights.sum(1), torch.full((6,), TOTAL).double(), **CLOSE)


HUGE = [1e-38, 1e-20, 1.0, 1e20, 3e38]


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_are_finite_for_all_finite_losses_and_gradients(method, dtype):
    counts = torch.ones(3, dtype=dtype)
    for first in HUGE:
        for second in HUGE:
            shared = nn.Parameter(torch.zeros((), dtype=dtype))
            weighting = method(3, shared=shared).to(dtype)
            for size in (first, second, first, 1.0):
                losses = torch.tensor([1.0, min(size, 8e18), 1.0], dtype=dtype)
                slopes = torch.tensor([1.0, size, 1.0], dtype=dtype)
                weights = weighting.update(losses, counts, slopes)
                assert weights.isfinite().all(), (first, second, size, weights)
                weighting(losses + slopes * shared)
                assert weighting.weights.isfinite().all(), (first, second, size)
                assert weighting.weights.sum().item() == pytest.approx(3, rel=1e-5)


# InverseGradientNorm


def test_inverse_gradient_norm_equalises_gradients():
    model = network()
    weighting = made(InverseGradientNorm, model, initial=INITIAL).double()
    for time in range(3):
        weighting(model.losses(time))
        pulls = weighting.weights * norms_of(model, time)
        torch.testing.assert_close(pulls, pulls.mean().expand(3), **CLOSE)
        assert weighting.weights.sum().item() == pytest.approx(TOTAL)


def test_inverse_gradient_norm_goes_by_the_last_norm_of_an_absent_task():
    model = network()
    weighting = made(InverseGradientNorm, model).double()
    first, second = (norms_of(model, time) for time in (0, 1))
    weighting(model.losses(0))
    weighting(model.losses(1), mask=PRESENT)
    inverse = 1 / torch.where(PRESENT, second, first)
    torch.testing.assert_close(weighting.weights, 3 * inverse / inverse.sum(), **CLOSE)


def test_inverse_gradient_norm_of_a_task_without_gradient():
    model = network()
    weighting = made(InverseGradientNorm, model, initial=INITIAL).double()
    weighting(model.losses(0) * PRESENT)
    assert weighting.weights[1] == INITIAL[1]
    assert weighting.weights.sum().item() == pytest.approx(TOTAL)


@pytest.mark.parametrize("option", ["alpha", "lr"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), "high", None])
def test_wrong_options_of_gradnorm(option, value):
    with pytest.raises(ValueError, match=f"{option} must be a positive number"):
        GradNorm(2, **{option: value})
