"""The weights against their definitions: a backward pass for every sample of every task."""

import copy
import itertools

import pytest
import torch
from settings import TRUNKS, setting, squared_errors

from equipoise import L2RW, OLAUX, CosineGate, HydaLearn, SLGate, SLGrad
from equipoise.testing import tolerance

# Alignments are sums over the parameters of some layers, of samples and tasks.
CLOSE = {dtype: tolerance(dtype, 1000) for dtype in (torch.float32, torch.float64)}


def gradients(scalar, parameters):
    found = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    return torch.cat([part.flatten() for part in found])


def by_loops(model, batch, objective, shared=None, at=None):
    """Alignments, one backward pass each; 0 without a label. ``at``: a model moved ahead."""
    shared = list(model[0].parameters() if shared is None else shared)
    ahead = model if at is None else at
    direction = gradients(objective(ahead), list(ahead[0].parameters()))
    losses, mask = squared_errors(model, batch)
    mask = torch.ones_like(losses) > 0 if mask is None else mask
    found = torch.zeros_like(losses)
    for place in itertools.product(*map(range, losses.shape)):
        if mask[place]:
            found[place] = direction @ gradients(losses[place], shared)
    return found, losses.detach(), mask


def main_loss(batch, task=0):
    def objective(model):
        losses, mask = squared_errors(model, batch)
        column = losses[:, task]
        return (column if mask is None else column[mask[:, task]]).mean()

    return objective


def one_batch(trunk, samples, **options):
    """A model and a batch whose first sample has all labels."""
    model, batch = setting(trunk, samples=samples, **options)
    if batch[2] is not None:
        batch[2][0] = True
    return model, batch


def split(batch, size):
    first, rest = zip(*((part[:size], part[size:]) for part in batch[:2]), strict=True)
    masks = (None, None) if batch[2] is None else (batch[2][:size], batch[2][size:])
    if masks[1] is not None:
        masks[1][0] = True
    return (*first, masks[0]), (*rest, masks[1])


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize(
    "options",
    [
        {"samples": 16},
        {"samples": 16, "missing": False},
        {"samples": 9, "missing": False},
        {"samples": 16, "tasks": 1, "missing": False},
    ],
    ids=["missing labels", "all labels", "one sample", "one task"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_slgrad(trunk, options, dtype):
    model, whole = one_batch(trunk, dtype=dtype, **options)
    batch, held_out = split(whole, options["samples"] - 8)
    twin = copy.deepcopy(model)
    alignments, _, _ = by_loops(twin, batch, main_loss(held_out))
    gains = alignments.clamp(min=0)

    tasks = batch[1].shape[1]
    slgrad = SLGrad(squared_errors, model, main=0, shared=model[0], tasks=tasks).to(dtype)
    slgrad(batch, held_out)

    size = gains.max()
    assert size > 0
    torch.testing.assert_close(slgrad.alignments / size, alignments / size, **CLOSE[dtype])
    torch.testing.assert_close(slgrad.weights, tasks * gains / gains.sum(), **CLOSE[dtype])


def moved_ahead(model, batch, weights, lr):
    """One step of SGD on a copy of the model."""
    ahead = copy.deepcopy(model)
    losses, mask = squared_errors(ahead, batch)
    means = [losses[mask[:, task], task].mean() for task in range(losses.shape[1])]
    total = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
    total.backward()
    torch.optim.SGD(ahead.parameters(), lr=lr).step()
    return ahead


@pytest.mark.parametrize("trunk", ["mlp", "batchnorm"])
def test_look_ahead(trunk):
    model, whole = one_batch(trunk, 16)
    batch, held_out = split(whole, 8)
    slgrad = SLGrad(squared_errors, model, main=0, shared=model[0], lookahead=0.5, tasks=3).double()
    weights = torch.ones(3)
    for _ in range(3):
        before = [each.clone() for each in (*model.parameters(), *model.buffers())]
        twin = copy.deepcopy(model)
        expected, _, _ = by_loops(
            twin, batch, main_loss(held_out), at=moved_ahead(twin, batch, weights, 0.5)
        )
        plain, _, _ = by_loops(copy.deepcopy(model), batch, main_loss(held_out))
        slgrad(batch, held_out)
        torch.testing.assert_close(slgrad.alignments, expected, **CLOSE[torch.float64])
        assert not torch.allclose(expected, plain, rtol=1e-2)
        weights = slgrad.task_weights
        for parameter, old in zip(model.parameters(), before, strict=False):
            assert torch.equal(parameter, old)


@pytest.mark.parametrize("maximize", [False, True])
def test_objective_of_ones_own(maximize):
    model, whole = one_batch("mlp", 16)
    batch, held_out = split(whole, 8)

    def margin(model, inputs):
        return torch.sigmoid(model(inputs)).mean() - model(inputs)[:, 1].abs().mean()

    alignments, _, _ = by_loops(model, batch, lambda model: margin(model, held_out[0]))
    gains = (-alignments if maximize else alignments).clamp(min=0)
    slgrad = SLGrad(
        squared_errors,
        model,
        main=0,
        shared=model[0],
        objective=margin,
        maximize=maximize,
        tasks=3,
    ).double()
    slgrad(batch, held_out[0])
    expected = 3 * gains / gains.sum()
    torch.testing.assert_close(slgrad.weights, expected, **CLOSE[torch.float64])


@pytest.mark.parametrize(
    ("fallback", "weight"), [("zero", (0, 0)), ("uniform", (1 / 2, 1 / 2)), ("main", (3 / 2, 0))]
)
def test_step_in_which_no_sample_helps(fallback, weight):
    model, whole = one_batch("mlp", 10, missing=False)
    batch, held_out = split(whole, 2)

    def away(model, batch):  # whatever lowers a training loss raises this one
        losses, _ = squared_errors(model, batch)
        return -losses.sum()

    options = {"main": 0, "shared": model[0], "tasks": 3, "fallback": fallback}
    slgrad = SLGrad(squared_errors, model, objective=away, **options)
    first = tuple(part[:1] if part is not None else None for part in batch)
    # One sample of one task against itself.
    single = SLGrad(
        lambda model, batch: squared_errors(model, batch)[0][:, :1],
        model,
        main=0,
        shared=model[0],
        objective=lambda model, inputs: -((model(inputs) - first[1])[:, 0] ** 2).sum(),
        fallback=fallback,
        tasks=1,
    )
    assert single(first, first[0]).item() == pytest.approx(
        0 if fallback == "zero" else squared_errors(model, first)[0][0, 0].item()
    )
    slgrad(batch, held_out)
    alignments = torch.full((2, 3), -1.0)
    found = slgrad.weigh_samples(alignments, torch.full((2, 3), 1 / 2))
    expected = torch.tensor(weight)[:, None].expand(2, 2).T
    torch.testing.assert_close(found[:, :2], expected.float())


@pytest.mark.parametrize("missing", [True, False])
def test_slgate(missing):
    model, whole = one_batch("mlp", 40, missing=missing)
    whole[1][:, 0] += 3
    whole[1][1:7, 0] -= 30  # wrong
    batch, held_out = split(whole, 30)
    alignments, _, mask = by_loops(model, batch, main_loss(held_out))
    slgate = SLGate(squared_errors, model, main=0, shared=model[0], tasks=3)
    slgate(batch, held_out)

    main, *others = [column[there] for column, there in zip(alignments.T, mask.T, strict=True)]
    helping = main[main > 0]
    limit = ((helping**2).sum() / len(helping)).sqrt()
    harm = -main[main < -limit].sum()
    kept = alignments >= (-limit if harm > helping.sum() / 2 else -torch.inf)
    for task, values in enumerate(others, start=1):
        standard_error = ((values**2).sum() / len(values)).sqrt() / len(values) ** 0.5
        kept[:, task] = values.sum() / len(values) >= -standard_error
    expected = torch.where(mask & kept, 1 / mask.sum(0), 0)
    torch.testing.assert_close(slgate.weights, expected, **tolerance(torch.float32))
    assert 0 < slgate.weights.sum() < 3


@pytest.mark.parametrize(
    ("main", "kept"),
    [
        # What helps has a root mean square of 5 and a sum of 8.
        ([1, 7, -5, -6], [1, 1, 1, 0]),
        ([1, 7, -4, -5], [1, 1, 1, 1]),
        ([7, 1, -5.1, 0], [1, 1, 0, 1]),
        # More helps by more, and little harms beyond: sums of 40 and 6.
        ([7, 1, 7, 1, 7, 1, 7, 1, 7, 1, -6], [1] * 11),
        # Where nothing helps everything that harms goes.
        ([-1, 0, -2], [0, 1, 0]),
    ],
)
def test_samples_that_slgate_keeps(main, kept):
    model, whole = one_batch("mlp", 12)
    slgate = SLGate(squared_errors, model, main=1, shared=model[0], tasks=3)
    slgate(*split(whole, 8))
    alignments = torch.ones(len(main), 3)
    alignments[:, 1] = torch.tensor(main)
    uniform = torch.full(alignments.shape, 0.25)
    found = slgate.weigh_samples(alignments, uniform) * 4
    assert found.T.tolist() == [[1] * len(main), kept, [1] * len(main)]


def test_tasks_that_slgate_keeps():
    model, _ = setting("mlp")
    slgate = SLGate(squared_errors, model, main=0, shared=model[0], tasks=4)
    # Means of -4, -1 and -2, standard errors of 2, 2.8 and 2.
    alignments = torch.tensor([[1.0, -4, 5, -4], [1, -4, 1, 0], [1, -4, -10, -4], [1, -4, 0, 0]])
    found = slgate.weigh_samples(alignments, torch.full((4, 4), 1 / 4)) * 4
    assert found[0].tolist() == [1, 0, 1, 0]
    alignments[2, 2] = torch.nan
    assert slgate.weigh_samples(alignments, torch.full((4, 4), 1 / 4))[:, 2].isnan().all()


def test_l2rw_is_slgrad_of_one_task():
    model, whole = one_batch("mlp", 16)
    batch, held_out = split(whole, 8)
    everything = list(model.parameters())
    direction = gradients(main_loss(held_out)(model), everything)
    losses, mask = squared_errors(model, batch)
    products = torch.stack([direction @ gradients(loss, everything) for loss in losses[:, 0]])
    gains = torch.where(mask[:, 0], products.clamp(min=0), 0)
    l2rw = L2RW(squared_errors, model, main=0, shared=model, tasks=3).double()
    l2rw(batch, held_out)
    expected = 3 * gains / gains.sum()
    torch.testing.assert_close(l2rw.weights[:, 0], expected, **CLOSE[torch.float64])
    assert not l2rw.weights[:, 1:].any()


def task_alignments(alignments, mask):
    return torch.where(mask, alignments, 0).sum(0) / mask.sum(0)


def test_hydalearn():
    model, whole = one_batch("mlp", 40)
    batch, held_out = split(whole, 30)
    alignments, _, mask = by_loops(model, batch, main_loss(held_out))
    gains = task_alignments(alignments, mask).clamp(min=0)
    hydalearn = HydaLearn(squared_errors, model, main=0, shared=model[0], tasks=3).double()
    hydalearn(batch, held_out)
    expected = 3 * gains / gains.sum()
    torch.testing.assert_close(hydalearn.task_weights, expected, **CLOSE[torch.float64])
    each = mask * expected / mask.sum(0)
    torch.testing.assert_close(hydalearn.weights, each, **CLOSE[torch.float64])


def test_hydalearn_is_the_gain_of_a_small_step_on_each_task():
    """As the paper has it: train on one task, and measure the main one."""
    model, whole = one_batch("mlp", 40)
    batch, held_out = split(whole, 30)
    gains = []
    for task in range(3):
        ahead = copy.deepcopy(model)
        trunk = list(ahead[0].parameters())
        found = torch.autograd.grad(main_loss(batch, task)(ahead), trunk)
        with torch.no_grad():
            for parameter, gradient in zip(trunk, found, strict=True):
                parameter -= 1e-6 * gradient
        gains.append((main_loss(held_out)(model) - main_loss(held_out)(ahead)).item())
    gains = torch.tensor(gains).clamp(min=0)
    hydalearn = HydaLearn(squared_errors, model, main=0, shared=model[0], tasks=3)
    hydalearn(batch, held_out)
    # Steps of 1e-6 are small, and their gains differences of numbers of the size of 1.
    expected = (3 * gains / gains.sum()).float()
    torch.testing.assert_close(hydalearn.task_weights, expected, rtol=1e-3, atol=1e-4)


def cosines_of(model, batch, main=0):
    trunk = list(model[0].parameters())
    own = [gradients(main_loss(batch, task)(model), trunk) for task in range(3)]
    return torch.stack([torch.cosine_similarity(own[main], each, 0) for each in own])


@pytest.mark.parametrize("weighted", [False, True])
def test_cosine_gate(weighted):
    gates = []
    for seed in range(5):
        torch.manual_seed(seed)
        model, batch = one_batch("mlp", 8)
        cosines = cosines_of(model, batch)
        gate = CosineGate(
            squared_errors, model, main=0, shared=model[0], weighted=weighted, tasks=3
        ).double()
        gate(batch)
        expected = cosines.clamp(min=0) if weighted else (cosines > 0).double()
        torch.testing.assert_close(gate.task_weights, expected, **CLOSE[torch.float64])
        each = batch[2] * expected / batch[2].sum(0)
        torch.testing.assert_close(gate.weights, each, **CLOSE[torch.float64])
        gates.extend(expected[1:].tolist())
    assert min(gates) == 0
    assert max(gates) > (0.1 if weighted else 0.9)
    assert weighted or set(gates) == {0, 1}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_cosine_gate_leaves_the_heads_their_own_losses(weighted, scale):
    """Gated is what a task does to the trunk: each part of the network by a loop over the tasks."""
    torch.manual_seed(4)
    model, batch = one_batch("mlp", 8)
    cosines = cosines_of(model, batch)
    assert cosines.min() < 0 < cosines[1:].max(), "one gate closed, and one open"
    gate = CosineGate(
        squared_errors, model, main=0, shared=model[0], weighted=weighted, tasks=3
    ).double()
    total = gate(batch)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale > 1)
    scaler.scale(total).backward()

    gates = cosines.clamp(min=0) if weighted else (cosines > 0).double()
    for part, weights in ((model[0], gates), (model[1], torch.ones(3))):
        for parameter in part.parameters():
            expected = sum(
                weight * torch.autograd.grad(main_loss(batch, task)(model), parameter)[0]
                for task, weight in enumerate(weights.double())
            )
            torch.testing.assert_close(parameter.grad / scale, expected, **CLOSE[torch.float64])
    # The value is that of the shared parameters.
    losses = torch.stack([main_loss(batch, task)(model) for task in range(3)])
    torch.testing.assert_close(total, (gates * losses).sum(), **CLOSE[torch.float64])


def test_olaux():
    model, _ = one_batch("mlp", 8)
    options = {"main": 1, "shared": model[0], "lr": 0.05, "horizon": 2, "tasks": 3}
    olaux = OLAUX(squared_errors, model, **options).double()
    trunk = list(model[0].parameters())
    learned, sums = torch.ones(3).double(), torch.zeros(3).double()
    history = []
    for step in range(8):
        torch.manual_seed(step)
        _, batch = one_batch("mlp", 8)
        own = [gradients(main_loss(batch, task)(model), trunk) for task in range(3)]
        sums += torch.stack([own[1] @ each for each in own])
        if step % 2:
            learned = (learned + 0.05 * sums).clamp(min=0)
            learned[1] = 1
            sums.zero_()
        olaux(batch)
        torch.testing.assert_close(olaux.task_weights, learned, **CLOSE[torch.float64])
        history.append(learned.clone())
    assert (history[0] == 1).all()
    assert not torch.equal(history[-1], history[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fallback": "none"}, "fallback must be one of zero, uniform, main"),
        ({"lookahead": 0}, "lookahead must be a positive number"),
    ],
)
def test_wrong_options_of_slgrad(options, message):
    model, _ = setting("mlp")
    with pytest.raises(ValueError, match=message):
        SLGrad(squared_errors, model, main=0, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": -1}, "lr must be a positive"), ({"horizon": 0}, "horizon must be an integer")],
)
def test_wrong_options_of_olaux(options, message):
    model, _ = setting("mlp")
    with pytest.raises(ValueError, match=message):
        OLAUX(squared_errors, model, main=0, **options)
