import copy
import re
from dataclasses import replace

import pytest
import torch
from study.toy import Network, blows_up, losses, toy
from study.training import trained
from torch import nn
from torchjd import aggregation, scalarization
from torchjd.autojac import jac_to_grad, mtl_backward

from equipoise.errors import UserError
from equipoise.peers import Aggregated, peers, weighting_of
from equipoise.problems.scores import columns
from equipoise.step import Step
from equipoise.task import SLAW, Constant, Uncertainty
from equipoise.testing import tolerance

# TorchJD's NashMTL states its problem so that cvxpy warns, and keeps its weights at a zero row.
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are solving a parameterized problem"),
    pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
]

# Solvers of small problems stop where they are near enough.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}

COMPARED = [name for name, kind in peers().items() if kind.left_out() is None]
AGGREGATORS = [name for name in COMPARED if issubclass(peers()[name], Aggregated)]


def made(name, model, tasks=3, before=None):
    """A weighting of a network, behind another if there is one."""
    kind = peers()[name]
    if kind.missing() is not None:
        with pytest.raises(UserError, match=r'pip install "torchjd\['):
            kind(tasks)
        pytest.skip(kind.missing())
    weighting = kind(tasks, shared=model.trunk)
    return weighting if before is None else before + weighting


def batch(seed=0, samples=16, absent=None):
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(2, samples, 3, generator=generator)
    mask = torch.ones(samples, 3, dtype=torch.bool)
    if absent is not None:
        mask[:, absent] = False
    return inputs, targets, mask


class Three(nn.Module):
    """A trunk, and three heads that a parameter each."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(3))

    def forward(self, inputs):
        features = self.trunk(inputs)
        return torch.cat([head(features) for head in self.heads], 1)


def network():
    torch.manual_seed(7)
    return Three()


def toy_losses(model, batch):
    return losses(model(batch[0]), batch)


def step_of(model, **options):
    return Step(toy_losses, model, batch(**options))


def gradients(model):
    return {
        name: None if each.grad is None else each.grad.clone()
        for name, each in model.named_parameters()
    }


def after(weighting, model, **options):
    """Gradients after one step of a weighting, and its scalar."""
    model.zero_grad()
    torch.manual_seed(0)
    total = weighting.weigh(step_of(model, **options))
    total.backward()
    return gradients(model), total


def by_torchjd(aggregator, weights=(1.0, 1.0, 1.0), **options):
    """Gradients by TorchJD's own functions."""
    model = network()
    inputs, targets, mask = batch(**options)
    features = model.trunk(inputs)
    present = [k for k in range(3) if mask[:, k].any()]
    scaled = [
        weights[k] * (model.heads[k](features)[:, 0] - targets[:, k]).square().mean()
        for k in present
    ]
    mtl_backward(scaled, features)
    torch.manual_seed(0)
    jac_to_grad(list(model.trunk.parameters()), aggregator)
    return gradients(model)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        nothing = torch.zeros(())
        one, other = (nothing if each[name] is None else each[name] for each in (found, expected))
        torch.testing.assert_close(*torch.broadcast_tensors(one, other), **CLOSE)


def three_tasks():
    """The toy problem with a third task, a copy of the first: some methods want three."""

    def more(outputs, batch):
        values, mask = losses(outputs, batch)
        return values[:, [0, 1, 0]], mask[:, [0, 1, 0]]

    def answers(outputs, batch):
        return columns(outputs, batch, ["a", "b"])

    return toy(tasks=["a", "b", "c"], losses=more, answers=answers)


@pytest.mark.parametrize("name", COMPARED)
def test_every_method_trains(name):
    problem = three_tasks()
    run, again = (trained(problem, lambda network: made(name, network), steps=3) for _ in range(2))
    assert run.facts.diverged_at is None
    assert torch.tensor(run.history.losses).isfinite().all()
    assert torch.tensor(run.history.weights).isfinite().all()
    assert (run.history.losses == again.history.losses).all()


@pytest.mark.parametrize("name", COMPARED)
def test_what_diverges_is_seen(name):
    problem = replace(three_tasks(), losses=blows_up, tasks=["a", "b"])
    run = trained(problem, lambda network: made(name, network, 2), steps=3)
    assert run.facts.diverged_at == 1


@pytest.mark.parametrize("name", COMPARED)
def test_steps_without_a_task_stay_finite(name):
    model = network()
    weighting = made(name, model)
    if name == "torchjd/Krum":
        pytest.skip("wants three rows")
    optimizer = torch.optim.SGD([*model.parameters(), *weighting.parameters()], 0.01)
    for number, absent in enumerate([1, None, 1, 0, [0, 1, 2], None]):
        optimizer.zero_grad()
        weighting.weigh(step_of(model, seed=number, absent=absent)).backward()
        optimizer.step()
        assert weighting.weights.isfinite().all()
        if absent == 1:
            assert not model.heads[1].weight.grad.any()
    assert all(each.isfinite().all() for each in model.parameters())


def test_what_torchjd_exports_is_found():
    names = {
        "torchjd/" + name.removesuffix("Weighting")
        for name in [*scalarization.__all__, *aggregation.__all__]
    }
    bases = {"Scalarizer", "Aggregator", "WeightedAggregator", "GramianWeightedAggregator", ""}
    assert set(peers()) == names - {f"torchjd/{name}" for name in bases}
    assert {"torchjd/PCGrad", "torchjd/UPGrad", "torchjd/NashMTL", "torchjd/FAMO"} <= set(COMPARED)
    left_out = {name for name, kind in peers().items() if kind.left_out()}
    assert left_out == {"torchjd/DWA", "torchjd/CRMOGM", "torchjd/MoDo", "torchjd/SDMGrad"}


def test_what_is_new_and_needs_more_is_left_out_with_the_reason():
    class Novel(scalarization.Scalarizer):
        """Nothing."""

        def __init__(self, preference):
            super().__init__()

        def forward(self, values):
            return values.sum()

    kind = weighting_of("Novel", Novel)
    assert "'preference'" in kind.left_out()
    with pytest.raises(UserError, match=r"torchjd/Novel cannot be compared: .*'preference'"):
        kind(3)


def test_sum_is_our_constant():
    model = network()
    expected, total = after(Constant(3), model)
    found, value = after(made("torchjd/Sum", model), model)
    torch.testing.assert_close(value, total, **tolerance(torch.float32, 3))
    assert_same(found, expected)


def test_learned_weights_are_learned():
    model = network()
    weighting = made("torchjd/UW", model)
    after(weighting, model)
    assert [each.grad.shape for each in weighting.parameters()] == [(3,)]
    assert weighting.weights.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator_does_what_torchjd_does(name):
    model = network()
    weighting = made(name, model)
    found, total = after(weighting, model)
    expected = step_of(network()).losses.sum()
    torch.testing.assert_close(total, expected, **tolerance(torch.float32, 3))
    assert_same(found, by_torchjd(peers()[name].build(3, {})))


def test_weights_are_those_in_the_shared_parameters():
    model = network()
    weighting = made("torchjd/MGDA", model, before=Constant(3, initial=[1.0, 2.0, 3.0]))
    found, _ = after(weighting, model)
    model = network()
    (weighting.weights * step_of(model).losses).sum().backward()
    assert_same(
        {name: found[name] for name in found if "trunk" in name},
        {name: each for name, each in gradients(model).items() if "trunk" in name},
    )


@pytest.mark.parametrize("name", ["torchjd/PCGrad", "torchjd/UPGrad", "torchjd/ConFIG"])
def test_a_weighting_in_front_scales_the_gradients(name):
    model, alone = network(), SLAW(3)
    composed = made(name, model, before=SLAW(3))
    for seed in range(3):
        found, total = after(composed, model, seed=seed)
        _, expected = after(alone, network(), seed=seed)
        torch.testing.assert_close(total, expected, **tolerance(torch.float32, 3))
        weights = alone.weights.tolist()
        assert_same(found, by_torchjd(peers()[name].build(3, {}), weights, seed=seed))
    assert not all(weight == 1 for weight in weights)


def test_learned_weights_in_front_are_learned():
    model, alone = network(), Uncertainty(3)
    composed = made("torchjd/PCGrad", model, before=Uncertainty(3))
    after(composed, model)
    after(alone, model)
    pairs = list(zip(composed.parameters(), alone.parameters(), strict=True))
    assert pairs
    for one, other in pairs:
        torch.testing.assert_close(one.grad, other.grad, **tolerance(torch.float32))


@pytest.mark.parametrize("name", ["torchjd/MGDA", "torchjd/IMTLG", "torchjd/UPGrad"])
def test_an_absent_task_has_no_row(name):
    model = network()
    weighting = made(name, model)
    found, _ = after(weighting, model, absent=1)
    assert_same(found, by_torchjd(peers()[name].build(2, {}), absent=1))
    assert weighting.weights[1] == 1


def test_an_absent_task_stands_at_its_last_loss():
    model = network()
    weighting = made("torchjd/GeometricMean", model)
    last = step_of(model).losses.detach()
    after(weighting, model)
    found, total = after(weighting, model, seed=1, absent=1)
    present = step_of(model, seed=1).losses
    torch.testing.assert_close(total, (present[0] * last[1] * present[2]) ** (1 / 3))
    assert not found["heads.1.weight"].any()


def test_famo_sees_the_losses_after_the_step():
    model = network()
    weighting = made("torchjd/FAMO", model)
    theirs, twin = scalarization.FAMO(3), copy.deepcopy(model)
    both = [
        torch.optim.SGD([*model.parameters(), *weighting.parameters()], 0.1),
        torch.optim.SGD(twin.parameters(), 0.1),
    ]
    for seed in range(4):
        for optimizer in both:
            optimizer.zero_grad()
        weighting.weigh(step_of(model, seed=seed)).backward()
        both[0].step()
        theirs(step_of(twin, seed=seed).losses).backward()
        both[1].step()
        with torch.no_grad():
            theirs.update(step_of(twin, seed=seed).losses)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert weighting.weights.unique().numel() == 3


def test_gradients_scale_with_the_scalar_and_add_up():
    model = network()
    expected, _ = after(made("torchjd/MGDA", model), model)
    model = network()
    weighting = made("torchjd/MGDA", model)
    for _ in range(2):
        (4 * weighting.weigh(step_of(model))).backward()
    found = gradients(model)
    assert_same(found, {name: 8 * each for name, each in expected.items()})


def test_heads_in_one_matrix():
    torch.manual_seed(0)
    model = Network().eval()
    problem = toy()
    step = Step(problem.loss_function, model, problem.train[torch.arange(16)])
    made("torchjd/PCGrad", model, 2).weigh(step).backward()
    found = model.heads.weight.grad.clone()
    model.zero_grad()
    Step(problem.loss_function, model, problem.train[torch.arange(16)]).losses.sum().backward()
    torch.testing.assert_close(found, model.heads.weight.grad, **tolerance(torch.float32, 16))


def test_of_parameters_that_are_not_given_those_are_found_that_tasks_share():
    model = network()
    given, found = made("torchjd/MGDA", model), peers()["torchjd/MGDA"](3)
    assert_same(after(found, model)[0], after(given, model)[0])


def test_classes_have_names_to_import():
    from equipoise.peers import PCGrad

    assert PCGrad is peers()["torchjd/PCGrad"]
    with pytest.raises(ImportError):
        from equipoise.peers import Nothing  # noqa: F401


def test_what_torchjd_refuses_is_said_with_the_name():
    model = network()
    with pytest.raises(UserError, match=r"torchjd/Krum: .*at least 3 rows"):
        after(made("torchjd/Krum", model), model, absent=0)


def test_a_missing_solver_is_named_with_its_command(monkeypatch):
    from torchjd import _mixins

    monkeypatch.setattr(_mixins, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'torchjd/UPGrad: .*pip install "torchjd\[quadprog'):
        peers()["torchjd/UPGrad"](3)
    assert "pip install" in peers()["torchjd/UPGrad"].missing()
    assert peers()["torchjd/PCGrad"].missing() is None


def test_every_method_is_described():
    for kind in peers().values():
        summary = kind.__doc__.splitlines()[0]
        assert summary
        assert not re.search(r"[`<>\n]|:\w+:", summary)
        assert kind.source.startswith("TorchJD 0.")
    costs = {name: peers()[name].passes for name in COMPARED}
    assert costs["torchjd/UW"] == "none"
    assert costs["torchjd/FAMO"] == "forward"
    assert costs["torchjd/PCGrad"] == "tasks backward"
