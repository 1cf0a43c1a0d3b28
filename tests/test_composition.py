"""One scale for all weightings, and a weighting of tasks in front of one of samples."""

import pytest
import torch
from settings import setting, squared_errors

import equipoise
from equipoise import (
    OLAUX,
    SLAW,
    Constant,
    CosineGate,
    GradNorm,
    ProbedGradientNorm,
    SLGate,
    SLGrad,
    Step,
    Uncertainty,
    task_losses,
)
from equipoise.peers import PCGrad
from equipoise.testing import saved_and_loaded, tolerance

NAMES = ("a", "b", "c")
CLOSE = tolerance(torch.float64, 10_000)


def batches(number, samples=12):
    """Pairs of a batch and a held-out batch; labels are missing, and some are wrong."""
    found = []
    for seed in range(number):
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for size in (samples, 7):
            inputs = torch.randn(size, 4, generator=generator, dtype=torch.float64)
            targets = 2 + torch.randn(size, 3, generator=generator, dtype=torch.float64)
            mask = torch.rand(size, 3, generator=generator) < 0.8
            mask[0] = True
            parts.append((inputs, targets, mask))
        parts[0][1][:2, 0] -= 8
        found.append(parts)
    return found


def network():
    """The heads are somewhat alike, so that tasks help each other."""
    torch.manual_seed(0)
    model = setting("mlp")[0]
    with torch.no_grad():
        model[1].weight.copy_(0.5 + 0.2 * model[1].weight)
    return model


def gate(model, method=SLGate, **options):
    options = {"main": "a", "shared": model[0], "tasks": NAMES, **options}
    return method(squared_errors, model, **options)


def gradients(total, parameters):
    found = torch.autograd.grad(total, list(parameters), retain_graph=True)
    return torch.cat([part.flatten() for part in found])


def call(weighting, batch, held_out):
    return weighting.weigh(Step(squared_errors, weighting._of[1], batch, held_out))


# One scale

SCALED = [
    "CoV",
    "Constant",
    "CosineGate",
    "DWA",
    "GradNorm",
    "HydaLearn",
    "InverseGradientNorm",
    "ProbedGradientNorm",
    "ReLoBRaLo",
    "SLAW",
    "SLGate",
    "SoftAdapt",
    "UncertaintySoftmax",
]


def alike():
    """Three tasks that are one, of which each sample helps all others."""
    model = network()
    with torch.no_grad():
        for parameter in model[1].parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    return model


def clean(seed, samples):
    generator = torch.Generator().manual_seed(seed)
    inputs = 1 + 0.1 * torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(samples, 1, generator=generator, dtype=torch.float64)
    return inputs, (5 + noise).expand(samples, 3), None


@pytest.mark.parametrize("name", SCALED)
def test_in_place_of_the_sum_of_the_losses_the_gradient_has_its_scale(name):
    """A learning rate that fits one fits the others: of tasks that are alike all weigh the same."""
    model = alike()
    kind = getattr(equipoise, name)
    weighting = kind.made_for(NAMES, squared_errors, model, main="a", shared=model[0]).double()
    for seed in range(4):
        step = Step(squared_errors, model, clean(seed, 8), clean(seed + 100, 6))
        total = weighting.weigh(step)
        expected = squared_errors(model, clean(seed, 8))[0].mean(0).sum()
        torch.testing.assert_close(total, expected, **CLOSE)
        found, wanted = (gradients(each, model.parameters()) for each in (total, expected))
        torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize("missing", [False, True])
def test_a_gate_that_leaves_everything_in_makes_the_step_of_constant(missing):
    model = alike()
    inputs, targets, _ = clean(1, 8)
    mask = torch.rand(8, 3) < 0.7
    mask[0] = True
    batch = (inputs, targets, mask if missing else None)
    slgate, constant = gate(model).double(), Constant(NAMES).double()
    total = slgate(batch, clean(2, 6))
    assert (slgate.alignments > 0).eq(mask if missing else True).all()
    expected = constant(*task_losses(*squared_errors(model, batch)))
    torch.testing.assert_close(total, expected, **CLOSE)
    found, wanted = (gradients(each, model.parameters()) for each in (total, expected))
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_normalised_samples_have_the_scale_too():
    model = network()
    slgrad = gate(model, SLGrad)
    for pair in batches(3):
        slgrad(*pair)
        assert slgrad.weights.sum().item() == pytest.approx(3)


# Composition


@pytest.mark.parametrize("method", [SLGate, SLGrad, CosineGate, OLAUX])
def test_in_front_of_it_equal_weights_change_nothing(method):
    model = network()
    alone, composed = gate(model, method), Constant(NAMES) + gate(model, method)
    for pair in batches(3):
        one, other = call(alone, *pair), call(composed, *pair)
        torch.testing.assert_close(one, other, **tolerance(torch.float32, 36))
        found, wanted = (gradients(each, model.parameters()) for each in (other, one))
        close = tolerance(torch.float32, 36)
        size = wanted.abs().max()
        torch.testing.assert_close(found / size, wanted / size, **close)
        torch.testing.assert_close(alone.weights, composed.weights, **close)


def test_slaw_in_front_starts_with_equal_weights():
    model = network()
    alone, composed = gate(model), SLAW(NAMES) + gate(model)
    first, second = batches(2)
    close = tolerance(torch.float32, 36)
    torch.testing.assert_close(composed(*first), alone(*first), **close)
    assert not torch.allclose(composed(*second), alone(*second), rtol=1e-2)


@pytest.mark.parametrize("method", [SLGate, SLGrad, CosineGate])
def test_the_tasks_weighted_means_are_balanced(method):
    """By hand: which samples count, then what each task counts."""
    model = network()
    alone, slaw = gate(model, method).double(), SLAW(NAMES).double()
    composed = (SLAW(NAMES) + gate(model, method)).double()
    for pair in batches(5):
        call(alone, *pair)
        total = call(composed, *pair)
        losses, mask = squared_errors(model, pair[0])
        weights = alone.weights
        shares = weights.sum(0)
        sums = (weights * losses).sum(0)
        slaw((sums / torch.where(shares > 0, shares, 1)).detach(), shares)
        expected = (slaw.weights * sums).sum()
        torch.testing.assert_close(total, expected, **CLOSE)
        torch.testing.assert_close(composed.weights, slaw.weights * weights, **CLOSE)
        torch.testing.assert_close(composed.task_weights, slaw.weights * shares, **CLOSE)

        trunk = gradients(total, model[0].parameters())
        torch.testing.assert_close(trunk, gradients(expected, model[0].parameters()), **CLOSE)
        if method is CosineGate:  # the heads learn their own losses
            expected = (slaw.weights * task_losses(losses, mask)[0]).sum()
        heads = gradients(total, model[1].parameters())
        torch.testing.assert_close(heads, gradients(expected, model[1].parameters()), **CLOSE)
    assert not torch.allclose(slaw.weights, torch.ones(3).double(), rtol=0.1)


@pytest.mark.parametrize("method", [SLGate, SLGrad, CosineGate])
def test_learned_weights_in_front_are_learned(method):
    model = network()
    composed = (Uncertainty(NAMES) + gate(model, method)).double()
    (learned,) = composed.parameters()
    with torch.no_grad():
        learned += torch.tensor([0.3, -1.0, 0.1])
    pair = batches(1)[0]
    call(composed, *pair).backward()
    losses, _ = squared_errors(model, pair[0])
    alone = gate(model, method).double()
    call(alone, *pair)
    shares = alone.weights.sum(0)
    sums = (alone.weights * losses.detach()).sum(0)
    means = sums / torch.where(shares > 0, shares, 1)
    logarithms = learned.detach().clone().requires_grad_()
    parts = means / (2 * logarithms.exp()) + logarithms / 2
    expected = torch.autograd.grad(parts[shares > 0].sum(), logarithms)[0]
    torch.testing.assert_close(learned.grad, expected, **CLOSE)


def test_gradient_norms_may_stand_in_front():
    model = network()
    composed = GradNorm(NAMES, shared=model[0]) + gate(model)
    for pair in batches(3):
        assert composed(*pair).isfinite()


PAIRS = [
    (lambda model: (gate(model), SLAW(NAMES)), "SLAW takes nothing in front: .* as in SLAW"),
    (lambda model: (SLAW(NAMES), SLAW), "unsupported operand"),
    (lambda model: (SLAW(NAMES), SLAW(NAMES)), "SLAW takes nothing in front"),
    (
        lambda model: (gate(model), gate(model)),
        "SLGate cannot stand in front of SLGate: there",
    ),
    (
        lambda model: (ProbedGradientNorm(NAMES), gate(model)),
        "ProbedGradientNorm cannot stand in front of SLGate: there are only",
    ),
    (lambda model: (gate(model), PCGrad(NAMES)), "SLGate cannot stand in front of torchjd/PCGrad"),
    (lambda model: (PCGrad(NAMES), PCGrad(NAMES)), "PCGrad cannot stand in front of torchjd/PCGr"),
    (lambda model: (SLAW(NAMES), 2), "unsupported operand"),
    (
        lambda model: (SLAW(("a", "c", "b")), gate(model)),
        "the tasks differ: .*'a', 'c', 'b'",
    ),
]


@pytest.mark.parametrize(("pair", "message"), PAIRS, ids=[message[:40] for _, message in PAIRS])
def test_what_cannot_be_combined_is_said(pair, message):
    first, second = pair(network())
    with pytest.raises((TypeError, ValueError), match=message):
        first + second


def test_names_of_the_first_are_those_of_both():
    model = network()
    composed = SLAW(NAMES) + gate(model, tasks=None)
    assert composed.tasks == NAMES


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_composition_resumes_bit_for_bit(steps):
    model = network()
    interrupted, resumed = (SLAW(NAMES) + gate(model) for _ in range(2))
    for pair in batches(steps):
        interrupted(*pair)
    resumed.load_state_dict(saved_and_loaded(interrupted.state_dict()))
    for pair in batches(7)[3:]:
        assert torch.equal(interrupted(*pair), resumed(*pair))
        assert torch.equal(interrupted.weights, resumed.weights)


def test_a_composition_refuses_the_state_of_another():
    model = network()
    makers = [
        lambda: gate(model),
        lambda: SLAW(NAMES) + gate(model),
        lambda: Constant(NAMES) + gate(model),
        lambda: SLAW(NAMES) + gate(model, SLGrad),
        lambda: SLAW(NAMES),
    ]
    for one in makers:
        for other in makers:
            if one is not other:
                weighting, state = one(), other().state_dict()
                before = {name: value.clone() for name, value in weighting.state_dict().items()}
                with pytest.raises((ValueError, RuntimeError)):
                    weighting.load_state_dict(state)
                after = weighting.state_dict()
                assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_composition_is_reset_as_a_whole():
    model = network()
    composed = SLAW(NAMES) + gate(model)
    found = []
    for _ in range(2):
        found.append([composed(*pair).item() for pair in batches(3)])
        composed.reset()
    assert found[0] == found[1]


def test_a_second_one_in_front_is_refused():
    model, _ = setting("mlp")
    gate = SLAW(NAMES) + SLGate(squared_errors, model, main="a", shared=model[0], tasks=NAMES)
    with pytest.raises(ValueError, match="SLAW stands in front of SLGate already"):
        SLAW(NAMES) + gate
    aggregator = SLAW(NAMES) + PCGrad(NAMES)
    with pytest.raises(ValueError, match="SLAW stands in front of torchjd/PCGrad already"):
        SLAW(NAMES) + aggregator
