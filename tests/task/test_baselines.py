"""The other weightings against independent forms of their equations."""

import math

import pytest
import torch
from tiny import Tiny, learn, run
from torch import nn

from equipoise.task import DWA, Constant, GradNorm, InverseGradientNorm, Uncertainty

INITIAL = (1.0, 2.0, 0.5)
TOTAL = sum(INITIAL)


def observed(times):
    with torch.no_grad():
        return [Tiny().losses(time).tolist() for time in times]


def gradients(network, losses):
    """Gradient of each loss in the shared parameters, flat."""
    parameters = list(network.trunk.parameters())
    return [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for loss in losses
    ]


@pytest.mark.parametrize(
    ("initial", "expected"),
    [(None, [1, 1, 1]), (INITIAL, list(INITIAL)), ({"2": 3.0, "0": 1.0, "1": 0.0}, [1, 0, 3])],
)
def test_constant(initial, expected):
    assert run(Constant(3, initial=initial), range(2)).tolist() == [expected] * 2


# DWA


def dwa(steps, beta, temperature):
    averages, history = None, []
    for t, losses in enumerate(steps, start=1):
        previous, factor = averages, min(beta, 1 - 1 / t)
        averages = (
            [factor * a + (1 - factor) * loss for a, loss in zip(previous, losses, strict=True)]
            if previous
            else losses
        )
        ratios = [a / b for a, b in zip(averages, previous or averages, strict=True)]
        powers = [math.exp(ratio / temperature) for ratio in ratios]
        history.append([TOTAL * power / sum(powers) for power in powers])
    return torch.tensor(history)


@pytest.mark.parametrize("beta", [0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_dwa(beta, temperature):
    found = run(DWA(3, beta=beta, temperature=temperature, initial=INITIAL), range(15))
    torch.testing.assert_close(found, dwa(observed(range(15)), beta, temperature))


def test_dwa_at_zero_loss():
    weighting = DWA(2)
    for losses in ([0.0, 1.0], [0.0, 0.5], [1.0, 0.5]):
        weighting(torch.tensor(losses))
    assert weighting.rates[0] == 1
    assert weighting.weights.isfinite().all()


# Uncertainty


def test_uncertainty():
    weighting = Uncertainty(3, initial=INITIAL)
    with torch.no_grad():
        weighting.log_variances += torch.tensor([0.3, -1.0, 0.1])
    losses = torch.tensor([2.0, 0.1, 5.0], requires_grad=True)
    log_variances = weighting.log_variances.detach().clone().requires_grad_()
    expected = sum(
        loss / (2 * s.exp()) + s / 2 for loss, s in zip(losses, log_variances, strict=True)
    )
    total = weighting(losses)

    torch.testing.assert_close(total, expected)
    found = torch.autograd.grad(total, [losses, weighting.log_variances])
    torch.testing.assert_close(found, torch.autograd.grad(expected, [losses, log_variances]))


def test_uncertainty_starts_at_the_initial_weights():
    torch.testing.assert_close(Uncertainty(3, initial=INITIAL).weights, torch.tensor(INITIAL))


def test_uncertainty_learns_the_variance():
    """At a fixed loss the optimum of L/(2σ²) + log(σ²)/2 is σ² = L."""
    losses = torch.tensor([0.5, 2.0, 1.0])
    weighting = Uncertainty(3)
    for _ in range(300):
        learn(weighting, weighting(losses))
    torch.testing.assert_close(weighting.log_variances.exp(), losses, rtol=1e-4, atol=0)


def test_uncertainty_of_an_absent_task_stands_still():
    weighting = Uncertainty(2)
    total = weighting(torch.tensor([1.0, torch.nan]), torch.tensor([True, False]))
    gradient = torch.autograd.grad(total, weighting.log_variances)[0]
    assert gradient[0] != 0
    assert gradient[1] == 0


def test_uncertainty_needs_positive_weights():
    with pytest.raises(ValueError, match="initial weights must be positive"):
        Uncertainty(2, initial=[0.0, 1.0])


# GradNorm


def gradnorm(steps, asymmetry, lr):
    """The authors' way: the gradient of the weights' loss by autograd, through the norms."""
    network, weights = Tiny(), nn.Parameter(torch.tensor(INITIAL))
    optimizer = torch.optim.Adam([weights], lr=lr)
    parameters, first, history = list(network.trunk.parameters()), None, []
    for time in range(steps):
        losses = network.losses(time)
        norms = torch.stack(
            [
                torch.cat(
                    [
                        g.flatten()
                        for g in torch.autograd.grad(w * loss, parameters, create_graph=True)
                    ]
                ).norm()
                for w, loss in zip(weights, losses, strict=True)
            ]
        )
        first = losses.detach() if first is None else first
        rates = losses.detach() / first
        target = norms.detach().mean() * (rates / rates.mean()) ** asymmetry
        optimizer.zero_grad()
        (weights.grad,) = torch.autograd.grad((norms - target).abs().sum(), [weights])
        optimizer.step()
        with torch.no_grad():
            weights.clamp_(min=1e-3)
            weights *= TOTAL / weights.sum()
        history.append(weights.detach().clone())
    return torch.stack(history)


@pytest.mark.parametrize("asymmetry", [0.12, 1.5])
def test_gradnorm(asymmetry):
    weighting = GradNorm(3, asymmetry=asymmetry, lr=0.05, initial=INITIAL)
    torch.testing.assert_close(run(weighting, range(12)), gradnorm(12, asymmetry, 0.05))


def test_gradnorm_keeps_weights_positive_and_their_sum():
    weights = run(GradNorm(3, lr=2.0, initial=INITIAL), range(30))
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.full((30,), TOTAL))


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan])
def test_gradnorm_leaves_a_task_without_a_rate_alone(value):
    """Absent, or its loss not positive: its weight stays, and the others share what they had."""
    still = torch.tensor([False, True, False])

    def edit(losses, time):
        return torch.where(still, losses * 0 + value, losses), None

    weights = run(GradNorm(3, initial=INITIAL), range(6), edit=edit)
    assert (weights[:, 1] == INITIAL[1]).all()
    assert (weights[-1] != torch.tensor(INITIAL))[~still].all()
    torch.testing.assert_close(weights.sum(1), torch.full((6,), TOTAL))


# InverseGradientNorm


def test_inverse_gradient_norm_equalises_gradients():
    weighting, network = InverseGradientNorm(3, initial=INITIAL), Tiny()
    for time in range(3):
        losses = network.losses(time)
        weighting(losses, shared=network.trunk)
        pulls = weighting.weights * torch.stack([g.norm() for g in gradients(network, losses)])
        torch.testing.assert_close(pulls, pulls.mean().expand(3))
        assert weighting.weights.sum() == pytest.approx(TOTAL)


def test_inverse_gradient_norm_goes_by_the_last_norm_of_an_absent_task():
    weighting, network = InverseGradientNorm(3), Tiny()
    norms = [torch.stack([g.norm() for g in gradients(network, network.losses(t))]) for t in (0, 1)]
    weighting(network.losses(0), shared=network.trunk)
    weighting(network.losses(1), torch.tensor([True, False, True]), shared=network.trunk)
    inverse = 1 / torch.where(torch.tensor([True, False, True]), norms[1], norms[0])
    torch.testing.assert_close(weighting.weights, 3 * inverse / inverse.sum())


def test_inverse_gradient_norm_of_a_task_without_gradient():
    weighting, network = InverseGradientNorm(3, initial=INITIAL), Tiny()
    losses = network.losses(0) * torch.tensor([1.0, 0.0, 1.0])
    weighting(losses, shared=network.trunk)
    assert weighting.weights[1] == INITIAL[1]
    assert weighting.weights.sum() == pytest.approx(TOTAL)


# Wrong input


@pytest.mark.parametrize(
    ("method", "option"),
    [(DWA, "temperature"), (GradNorm, "asymmetry"), (GradNorm, "lr")],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), "high", None])
def test_wrong_options(method, option, value):
    with pytest.raises(ValueError, match=f"{option} must be a positive number"):
        method(2, **{option: value})


def test_wrong_beta():
    with pytest.raises(ValueError, match="beta must be a number in"):
        DWA(2, beta=1.0)
