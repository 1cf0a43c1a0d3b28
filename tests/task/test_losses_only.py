"""What the weightings that need the losses alone do where a loss is absent, zero or extreme.

With all losses there and positive they are compared in test_references.py. The references here look
at the whole history of a task at every step and keep no state.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from equipoise.task import (
    DWA,
    LBTW,
    Constant,
    CoV,
    GeometricMean,
    Random,
    SoftAdapt,
    Uncertainty,
    UncertaintySoftmax,
)
from equipoise.testing import tolerance

INITIAL = (1.0, 2.0, 0.5)
TOTAL = sum(INITIAL)
STEPS = 14

# Three tasks of different scale whose losses fall; the last is rare and not there at the start.
GENERATOR = np.random.default_rng(3)
LOSSES = np.exp(0.3 * GENERATOR.normal(size=(STEPS, 3)) - 0.05 * np.arange(STEPS)[:, None])
LOSSES *= [1.0, 4.0, 0.3]
PRESENT = np.ones((STEPS, 3), dtype=bool)
PRESENT[:, 2] = np.arange(STEPS) % 3 == 2


# A hundred operations one after another, of which some take differences.
CLOSE = {"rtol": tolerance(torch.float64, 10_000)["rtol"], "atol": 0}


def weights_of(weighting, losses=LOSSES, present=PRESENT):
    """After each step, in float64."""
    weighting.double()
    history = []
    for loss, here in zip(losses, present, strict=True):
        weighting(torch.tensor(np.where(here, loss, np.nan)), mask=torch.tensor(here))
        history.append(weighting.weights)
    return torch.stack(history)


def all_present(losses):
    return np.ones_like(losses, dtype=bool)


def reference(weigh, losses=LOSSES, present=PRESENT):
    """Weights after each step from the losses that each task has had so far."""
    seen, history = [[] for _ in INITIAL], []
    for loss, here in zip(losses, present, strict=True):
        for task in np.flatnonzero(here):
            seen[task].append(float(loss[task]))
        history.append(weigh(seen))
    return torch.tensor(np.array(history))


def shared_out(parts):
    """Weights in proportion to ``parts``; a task whose part is ``None`` keeps its initial one."""
    known = [k for k, part in enumerate(parts) if part is not None]
    amount = sum(INITIAL[k] for k in known)
    whole = sum(parts[k] for k in known)
    return [
        initial if part is None else amount * part / whole
        for initial, part in zip(INITIAL, parts, strict=True)
    ]


def assert_starts_as_given_and_keeps_its_sum(weights):
    assert weights[0].tolist() == list(INITIAL)
    assert_has_its_sum(weights)


def assert_has_its_sum(weights, total=TOTAL):
    expected = torch.full((len(weights),), total, dtype=weights.dtype)
    torch.testing.assert_close(weights.sum(1), expected, **CLOSE)


# Constant


@pytest.mark.parametrize(
    ("initial", "expected"),
    [(None, [1, 1, 1]), (INITIAL, list(INITIAL)), ({"2": 3.0, "0": 1.0, "1": 0.0}, [1, 0, 3])],
)
def test_constant(initial, expected):
    assert weights_of(Constant(3, initial=initial))[-1].tolist() == expected


# DWA


@pytest.mark.parametrize("averaging", ["reference", "plain"])
@pytest.mark.parametrize(("beta", "temperature"), [(0.5, 0.1), (0.9, 2.0)])
def test_dwa(averaging, beta, temperature):
    """A rate of 1 until a task has had two losses, and that of the last ones where it is absent."""

    def average(seen):
        if averaging == "plain":
            return np.dot(exponential(len(seen), beta), seen)
        shares = [beta ** (len(seen) - 1 - t) * (1 - beta) for t in range(len(seen))]
        return np.dot([beta ** (len(seen) - 1), *shares[1:]], seen)

    def weigh(seen):
        rates = [average(s) / average(s[:-1]) if len(s) > 1 else 1 for s in seen]
        powers = np.exp(np.array(rates) / temperature)
        return TOTAL * powers / powers.sum()

    options = {"beta": beta, "temperature": temperature, "averaging": averaging}
    weights = weights_of(DWA(3, initial=INITIAL, **options))
    torch.testing.assert_close(weights, reference(weigh), **CLOSE)


def test_dwa_at_zero_loss():
    weighting = DWA(2)
    for losses in ([0.0, 1.0], [0.0, 0.5], [1.0, 0.5]):
        weighting(torch.tensor(losses))
    assert weighting.rates[0] == 1
    assert weighting.weights.isfinite().all()


# Uncertainty


def test_uncertainty():
    """Value and gradients of the equation, all of it to autograd."""
    weighting = Uncertainty(3, initial=INITIAL).double()
    with torch.no_grad():
        weighting.log_variances += torch.tensor([0.3, -1.0, 0.1])
    losses = torch.tensor([2.0, 0.1, 5.0], dtype=torch.float64, requires_grad=True)
    log_variances = weighting.log_variances.detach().clone().requires_grad_()
    pairs = zip(losses, log_variances, strict=True)
    expected = sum(loss / (2 * each.exp()) + each / 2 for loss, each in pairs)
    total = weighting(losses)

    torch.testing.assert_close(total, expected, **CLOSE)
    found = torch.autograd.grad(total, [losses, weighting.log_variances])
    expected = torch.autograd.grad(expected, [losses, log_variances])
    torch.testing.assert_close(found, expected, **CLOSE)


def test_uncertainty_starts_at_the_initial_weights():
    weights = Uncertainty(3, initial=INITIAL).double().weights
    torch.testing.assert_close(weights, torch.tensor(INITIAL).double(), **CLOSE)


def test_uncertainty_learns_the_variance():
    """At a fixed loss the optimum of L/(2σ²) + log(σ²)/2 is σ² = L."""
    losses = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    weighting = Uncertainty(3).double()
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    torch.testing.assert_close(weighting.log_variances.exp(), losses, **CLOSE)


def test_uncertainty_of_an_absent_task_stands_still():
    weighting = Uncertainty(2)
    total = weighting(torch.tensor([1.0, torch.nan]), mask=torch.tensor([True, False]))
    gradient = torch.autograd.grad(total, weighting.log_variances)[0]
    assert gradient[0] != 0
    assert gradient[1] == 0


def test_uncertainty_needs_positive_weights():
    with pytest.raises(ValueError, match="initial weights must be positive"):
        Uncertainty(2, initial=[0.0, 1.0])


# UncertaintySoftmax


@pytest.mark.parametrize("temperature", [0.2, 1.0, 20.0])
def test_uncertainty_softmax(temperature):
    def weigh(seen):
        return shared_out([math.exp(1 / (temperature * s[-1])) if s else None for s in seen])

    weights = weights_of(UncertaintySoftmax(3, temperature=temperature, initial=INITIAL))
    torch.testing.assert_close(weights, reference(weigh), **CLOSE)
    assert_has_its_sum(weights)


def test_uncertainty_softmax_at_a_high_temperature_orders_as_uncertainty_ends():
    """exp(x) is 1 + x there: what departs from equality is the learned weight, 1/(2L)."""
    losses, ended = torch.tensor([0.5, 2.0, 1.0]), Uncertainty(3)
    with torch.no_grad():
        ended.log_variances.copy_(losses.log())
    weighting = UncertaintySoftmax(3, temperature=1000.0)
    weighting(losses)
    departures = [w - w.mean() for w in (1000 * weighting.weights, 2 * ended.weights)]
    torch.testing.assert_close(*departures, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_uncertainty_softmax_goes_by_the_last_positive_loss(loss):
    losses = np.array([[2.0, 1.0], [loss, 1.0]])
    weighting = UncertaintySoftmax(2)
    before, after = weights_of(weighting, losses, all_present(losses))
    assert torch.equal(before, after)


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_uncertainty_softmax_without_a_positive_loss(loss):
    weighting = UncertaintySoftmax(3, initial=INITIAL)
    weighting(torch.tensor([1.0, loss, 1.0]))
    assert weighting.weights.tolist() == [0.75, 2.0, 0.75]


def test_uncertainty_softmax_of_tiny_losses():
    weighting = UncertaintySoftmax(3, temperature=0.01)
    weighting(torch.tensor([1e-40, 1e-44, 1.0]))
    assert weighting.weights.tolist() == [1.5, 1.5, 0.0]


# Random


def normals(weighting, steps):
    """A normal number from each pair of draws: ``(steps, tasks / 2)``."""
    history = []
    for _ in range(steps):
        weighting(torch.ones(len(weighting.tasks)))
        history.append(weighting.weights.double().log())
    logarithms = torch.stack(history)
    return ((logarithms[:, ::2] - logarithms[:, 1::2]) / math.sqrt(2)).numpy()


def test_random_draws_are_normal():
    found = normals(Random(400), 250)
    assert stats.kstest(found.ravel(), stats.norm.cdf).pvalue > 0.05
    # Within a step, and of a task, as well.
    for rows in (found, found.T):
        pvalues = [stats.kstest(row, stats.norm.cdf).pvalue for row in rows]
        assert stats.kstest(pvalues, stats.uniform.cdf).pvalue > 0.01


def test_random_draws_are_independent():
    found, other = normals(Random(400), 250), normals(Random(400, seed=1), 250)
    pairs = {
        "steps": (found[1:], found[:-1]),
        "tasks": (found[:, 1:], found[:, :-1]),
        "seeds": (found, other),
        "seeds, a step apart": (found[1:], other[:-1]),
    }
    for name, (one, another) in pairs.items():
        correlation = np.corrcoef(one.ravel(), another.ravel())[0, 1]
        assert abs(correlation) < 3 / math.sqrt(one.size), name


def test_random_draws_stay_what_they_were():
    """A run of today must be repeatable with the library of tomorrow."""
    found = weights_of(Random(["a", "b", "c"]), LOSSES[:2], PRESENT[:2])
    first, second = [1.0908341, 0.6864703, 1.2226956], [1.0230691, 1.7733762, 0.2035545]
    assert found.flatten().tolist() == pytest.approx([*first, *second], rel=1e-6)


def test_random_leaves_the_random_numbers_of_torch_alone():
    before = torch.get_rng_state()
    weights_of(Random(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_random_weights_differ_by_seed_and_have_the_sum():
    one, other = (weights_of(Random(3, seed=seed, initial=INITIAL)) for seed in (0, 2**32 - 1))
    assert (one != other).all()
    assert_has_its_sum(one)


def test_random_state_brings_its_seed():
    weighting, loaded = Random(3, seed=5), Random(3)
    weights_of(weighting)
    loaded.load_state_dict(weighting.state_dict())
    assert torch.equal(weights_of(loaded), weights_of(weighting))
    loaded.reset()
    assert torch.equal(weights_of(loaded), weights_of(Random(3, seed=5)))


def test_random_does_not_count_a_step_without_a_finite_loss():
    weighting, expected = Random(3), weights_of(Random(3))
    for losses, mask in (
        (torch.full((3,), torch.nan), None),
        (torch.ones(3), torch.zeros(3) > 0),
        (torch.tensor([1.0, torch.inf, 1.0]), torch.tensor([False, True, False])),
    ):
        weighting(losses, mask=mask)
    assert torch.equal(weights_of(weighting), expected)


# CoV


def exponential(count, beta):
    """How much each of ``count`` values contributes to their average."""
    shares = np.zeros(count)
    for t in range(1, count + 1):
        factor = 1 - 1 / t if beta is None else min(beta, 1 - 1 / t)
        shares *= factor
        shares[t - 1] = 1 - factor
    return shares


def variation(seen, beta):
    if len(seen) < 2:
        return None
    means = [np.dot(exponential(t, beta), seen[:t]) for t in range(1, len(seen))]
    ratios = np.array([1.0, *np.divide(seen[1:], means)])
    shares = exponential(len(ratios), beta)
    mean = np.dot(shares, ratios)
    return math.sqrt(np.dot(shares, (ratios - mean) ** 2) + 1e-8) / mean


@pytest.mark.parametrize("beta", [None, 0.5, 0.9])
def test_cov(beta):
    weights = weights_of(CoV(3, beta=beta, initial=INITIAL))
    expected = reference(lambda seen: shared_out([variation(s, beta) for s in seen]))
    torch.testing.assert_close(weights, expected, **CLOSE)
    assert_starts_as_given_and_keeps_its_sum(weights)


def test_cov_averages_over_the_whole_history_by_default():
    losses = np.column_stack([1 + 0.5 * np.sin(np.arange(3000)), np.linspace(2, 1, 3000)])
    weighting = CoV(2)
    weights = weights_of(weighting, losses, all_present(losses))[-1]
    ratios = [[1, *(s[1:] / (np.cumsum(s)[:-1] / np.arange(1, len(s))))] for s in losses.T]
    expected = np.array([np.sqrt(np.var(r) + 1e-8) / np.mean(r) for r in ratios])
    expected *= 2 / expected.sum()
    torch.testing.assert_close(weights, torch.tensor(expected), **CLOSE)
    means = torch.tensor(losses.mean(0))
    torch.testing.assert_close(weighting.averages.mean, means, **CLOSE)


def test_cov_does_not_depend_on_the_units():
    scaled = weights_of(CoV(3), LOSSES * [1e-10, 1.0, 1e15])
    torch.testing.assert_close(scaled, weights_of(CoV(3)), **CLOSE)


def test_cov_of_losses_that_stand_still():
    weights = weights_of(CoV(2), np.array([[3.0, 1.0], [3.0, 2.0], [3.0, 1.5]]), PRESENT[:3, :2])
    assert 0 < weights[-1, 0] < 1e-3
    still = weights_of(CoV(3, initial=INITIAL), np.full((4, 3), 3.0), np.ones((4, 3), dtype=bool))
    torch.testing.assert_close(still[-1], torch.full_like(still[-1], TOTAL / 3), **CLOSE)


def test_cov_at_zero_and_negative_losses():
    """Zeros have no ratio, of all negative losses they are positive."""
    losses = np.array([[0.0, -1.0, 1.0], [0.0, -2.0, 2.0], [0.0, -1.0, 1.0], [2.0, -1.0, 1.0]])
    weights = weights_of(CoV(3, initial=INITIAL), losses, all_present(losses))
    assert (weights[:, 0] == INITIAL[0]).all()
    torch.testing.assert_close(weights[1:, 1:], torch.full_like(weights[1:, 1:], 1.25), **CLOSE)


def test_cov_without_a_positive_ratio_on_average():
    losses = np.array([[1.0, 1.0], [-5.0, 2.0], [-4.0, 1.0]])
    weights = weights_of(CoV(2), losses, all_present(losses))
    torch.testing.assert_close(weights, torch.ones_like(weights), **CLOSE)


# LBTW


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("period", [1, 4, 100])
def test_lbtw(alpha, period):
    def weigh(seen):
        firsts = [s[(len(s) - 1) // period * period] if s else 1 for s in seen]
        return [
            initial * (s[-1] / first) ** alpha if s else initial
            for initial, s, first in zip(INITIAL, seen, firsts, strict=True)
        ]

    weights = weights_of(LBTW(3, alpha=alpha, period=period, initial=INITIAL))
    torch.testing.assert_close(weights, reference(weigh), **CLOSE)
    if period == 1:
        assert weights.tolist() == [list(INITIAL)] * STEPS


@pytest.mark.parametrize("loss", [0.0, -1.0])
@pytest.mark.parametrize("first", [True, False])
def test_lbtw_of_a_loss_without_a_ratio(loss, first):
    losses = [4.0, loss, 1.0, 1.0]
    present = np.array([[True, True], [True, False], [True, True], [True, True]])
    values = np.array([[2.0, value] for value in (losses[1:] if first else losses)])
    present = present[-len(values) :]
    present[0 if first else 1, 1] = False
    as_absent = weights_of(LBTW(2, period=3), values, present)
    present[:] = True
    assert torch.equal(weights_of(LBTW(2, period=3), values, present), as_absent)
    assert as_absent[-1, 1] == (1.0 if first else 0.5)


# SoftAdapt


@pytest.mark.parametrize("sharpness", [-2.0, 0.0, 0.1, 5.0])
@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("loss_weighted", [False, True])
def test_softadapt(sharpness, beta, normalized, loss_weighted):
    def weigh(seen):
        averages = [
            [np.dot(exponential(t, beta), s[:t]) for t in (len(s) - 1, len(s))] for s in seen if s
        ] + [[0.0, 0.0] for s in seen if not s]
        known = [len(s) > 1 for s in seen]
        rates = [now - before for before, now in averages]
        size = sum(abs(rate) for rate, k in zip(rates, known, strict=True) if k)
        if normalized:
            rates = [rate / (size or 1) for rate in rates]
        parts = [math.exp(sharpness * rate) for rate in rates]
        if loss_weighted:
            parts = [part * now for part, (_, now) in zip(parts, averages, strict=True)]
        return shared_out([p if k else None for p, k in zip(parts, known, strict=True)])

    options = {"beta": beta, "normalized": normalized, "loss_weighted": loss_weighted}
    weights = weights_of(SoftAdapt(3, sharpness=sharpness, initial=INITIAL, **options))
    torch.testing.assert_close(weights, reference(weigh), **CLOSE)
    assert_starts_as_given_and_keeps_its_sum(weights)


def test_softadapt_of_a_rare_task_compares_with_its_last_loss():
    weighting = SoftAdapt(2)
    present = np.array([[True, True], [True, False], [True, True]])
    weights_of(weighting, np.array([[1.0, 5.0], [1.0, 0.0], [1.0, 4.0]]), present)
    assert weighting.rates.tolist() == [0.0, -1.0]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("loss_weighted", [False, True])
def test_softadapt_at_zero_loss(normalized, loss_weighted):
    weighting = SoftAdapt(2, normalized=normalized, loss_weighted=loss_weighted)
    losses = np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 0.5], [0.0, 0.5]])
    weights = weights_of(weighting, losses, all_present(losses))
    assert weights[:2].tolist() == [[1, 1]] * 2
    assert_has_its_sum(weights, 2.0)
    if loss_weighted:
        assert weights[2:].flatten().tolist() == pytest.approx([0, 2, 0, 2], abs=1e-30)


def test_softadapt_of_losses_that_change_much():
    losses = np.array([[1.0, 1e15, 1.0], [1.0, 1.0, 1.0]])
    weights = weights_of(SoftAdapt(3, sharpness=5.0), losses, all_present(losses))
    assert weights[-1].tolist() == [1.5, 0.0, 1.5]


# GeometricMean


@pytest.mark.parametrize("initial", [None, INITIAL, (0.0, 1.0, 1.0)])
def test_geometric_mean(initial):
    weighting = GeometricMean(3, initial=initial).double()
    powers = np.array(initial or (1, 1, 1))
    for loss, here in zip(LOSSES, PRESENT, strict=True):
        losses = torch.tensor(loss, requires_grad=True)
        total = weighting(losses, mask=torch.tensor(here))
        expected = math.prod(loss[here] ** (powers[here] / powers[here].sum()))
        assert total.item() == pytest.approx(expected, rel=CLOSE["rtol"])

        free = torch.tensor(loss, requires_grad=True)
        shares = torch.tensor(powers * here / (powers * here).sum())
        free.pow(shares).prod().backward()
        total.backward()
        torch.testing.assert_close(losses.grad, free.grad, **CLOSE)


def test_geometric_mean_of_many_losses_neither_over_nor_underflows():
    losses = torch.logspace(-10, 15, 1000, dtype=torch.float64)
    weighting = GeometricMean(1000).double()
    assert weighting(losses).log10().item() == pytest.approx(2.5, rel=CLOSE["rtol"])
    shares = torch.full((1000,), 10**2.5 / 1000, dtype=torch.float64)
    torch.testing.assert_close(weighting.weights * losses, shares, **CLOSE)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_geometric_mean_leaves_out_a_loss_that_is_not_positive(bad):
    weighting = GeometricMean(3)
    weighting(torch.tensor([4.0, 1.0, 2.0]))
    total = weighting(torch.tensor([8.0, 2.0, bad]))
    assert weighting.weights.tolist() == pytest.approx([0.25, 1.0, 1 / 3])
    assert total.item() == pytest.approx(4 + bad / 3)


def test_geometric_mean_without_a_positive_loss():
    weighting = GeometricMean(2, initial=[1.0, 3.0])
    assert weighting(torch.tensor([0.0, -1.0])) == -3
    assert weighting.weights.tolist() == [1.0, 3.0]


def test_geometric_mean_of_a_task_that_counts_nothing():
    weighting = GeometricMean(2, initial=[0.0, 1.0])
    assert weighting(torch.tensor([2.0, 1.0]), mask=torch.tensor([True, False])) == 0
    assert weighting.weights.tolist() == [0.0, 1.0]


# Wrong input


@pytest.mark.parametrize(
    ("method", "option"),
    [(UncertaintySoftmax, "temperature"), (LBTW, "alpha"), (DWA, "temperature")],
)
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, "high", None])
def test_not_positive(method, option, value):
    with pytest.raises(ValueError, match=f"{option} must be a positive number, found"):
        method(2, **{option: value})


@pytest.mark.parametrize("method", [CoV, DWA, SoftAdapt])
@pytest.mark.parametrize("beta", [-0.1, 1.0, math.nan, "long"])
def test_wrong_beta(method, beta):
    with pytest.raises(ValueError, match="beta must be a number in"):
        method(2, beta=beta)


def test_wrong_averaging():
    with pytest.raises(ValueError, match="averaging must be 'reference' or 'plain', found 'paper'"):
        DWA(2, averaging="paper")


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, None])
def test_wrong_seed(seed):
    with pytest.raises(ValueError, match="seed must be an integer in"):
        Random(2, seed=seed)


@pytest.mark.parametrize("period", [0, -1, 2.0, None])
def test_wrong_period(period):
    with pytest.raises(ValueError, match="period must be an integer of at least 1"):
        LBTW(2, period=period)


@pytest.mark.parametrize("sharpness", [math.inf, math.nan, "high", None])
def test_wrong_sharpness(sharpness):
    with pytest.raises(ValueError, match="sharpness must be a finite number"):
        SoftAdapt(2, sharpness=sharpness)
