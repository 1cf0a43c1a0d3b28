"""Scores against plain formulas and scikit-learn, batch by batch."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from gloo import on_two_processes
from problems.scored import scored
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score
from study.toy import toy
from torch import nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError
from torchmetrics.classification import MulticlassJaccardIndex

from equipoise.errors import UserError
from equipoise.problems import Score
from equipoise.problems.curves import average_precision, roc_auc
from equipoise.problems.metrics import R2, Averaged, BalancedAccuracy, Gathered
from equipoise.problems.scores import columns
from equipoise.study.measure import MOST_ROWS, rows_at_once

# Metrics of one task


def fed(metric, predictions, targets, size=7):
    for pair in zip(predictions.split(size), targets.split(size), strict=True):
        metric.update(*pair)
    return float(metric.compute())


@pytest.mark.parametrize(("unit", "offset"), [(1, 0), (1e-6, 0), (1e6, 1e9), (1, 1e7)])
def test_r2_is_scikit_learns_in_any_unit(unit, offset):
    generator = torch.Generator().manual_seed(0)
    targets = unit * torch.randn(50, generator=generator, dtype=torch.double) + offset
    errors = unit * torch.randn(50, generator=generator, dtype=torch.double)
    found = fed(R2().set_dtype(torch.double), targets + 0.1 * errors, targets)
    assert found == pytest.approx(r2_score(targets, targets + 0.1 * errors), rel=1e-9)


def test_balanced_accuracy_is_of_the_classes_that_occur():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (50,), generator=generator) * 2
    logits = torch.randn(50, 6, generator=generator)
    hits = logits.argmax(1) == targets
    expected = np.mean([float(hits[targets == each].double().mean()) for each in (0, 2, 4)])
    assert fed(BalancedAccuracy(6), logits, targets) == pytest.approx(expected)


def test_gathered_and_averaged_see_every_sample():
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(50, generator=generator) > 0.7).double()
    predictions = torch.randn(50, generator=generator, dtype=torch.double)
    found = fed(Gathered(roc_auc_score), predictions, targets)
    assert found == roc_auc_score(targets, predictions)
    averaged = Averaged(lambda one, other: (one - other).abs())
    expected = np.abs(predictions.numpy() - targets.numpy()).mean()
    assert fed(averaged.set_dtype(torch.double), predictions, targets) == pytest.approx(expected)


@pytest.mark.parametrize("distinct", [2, 5, 10_000])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_areas_are_scikit_learns(distinct, share, dtype):
    for seed in range(5):
        generator = np.random.default_rng(seed)
        labels = (generator.random(200) < share).astype(dtype)
        labels[:2] = 0, 1
        predictions = (generator.integers(distinct, size=200) - labels).astype(dtype)
        for own, theirs in (
            (roc_auc, roc_auc_score),
            (average_precision, average_precision_score),
        ):
            assert own(labels, predictions) == pytest.approx(theirs(labels, predictions), rel=1e-12)


# Over the tasks


def with_scores(**options):
    return toy(scores={"error": Score(goal="min", metric=MeanSquaredError, **options)})


def errors_of(problem, network):
    """Squared errors of the labelled samples of each task of the test part."""
    inputs, targets, mask = problem.test.tensors
    with torch.no_grad():
        squares = (network.eval()(inputs).double() - targets.double()).square()
    return [squares[mask[:, task], task] for task in range(2)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda a, b: (a.mean() + b.mean()) / 2),
        ({"over_tasks": max}, lambda a, b: max(a.mean(), b.mean())),
        ({"over_tasks": np.var}, lambda a, b: ((a.mean() - b.mean()) / 2) ** 2),
        ({"pooled": MeanSquaredError}, lambda a, b: torch.cat([a, b]).mean()),
        ({"metric": {"b": MeanSquaredError}}, lambda a, b: b.mean()),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 7, 20, 100])
def test_the_value_over_all_tasks(options, expected, batch_size):
    score = Score(**{"goal": "min", "metric": MeanSquaredError, **options})
    problem = toy(scores={"error": score})
    network = problem.network()
    found = scored(problem, network, problem.test, batch_size)["error"]
    errors = errors_of(problem, network)
    assert found["all"] == pytest.approx(float(expected(*errors)), rel=1e-12)
    for task, own in zip("ab", errors, strict=True):
        if task in found:
            assert found[task] == pytest.approx(float(own.mean()), rel=1e-12)
    assert list(found) == ["all", *score.metrics("ab").keys() - {"all"}] or "metric" not in options


def test_units_are_of_the_tasks_and_not_of_all():
    plain, scaled = with_scores(), with_scores(units={"a": 3.0})
    network = plain.network()
    one, other = (scored(problem, network, plain.test)["error"] for problem in (plain, scaled))
    assert other == pytest.approx({**one, "a": 3 * one["a"]})


def test_a_score_of_all_tasks_alone():
    problem = with_scores(by_task=False)
    assert list(scored(problem, problem.network(), problem.test)["error"]) == ["all"]


# Where a score is undefined


@pytest.mark.parametrize("metric", [R2, partial(Gathered, roc_auc_score), MeanSquaredError])
@pytest.mark.parametrize("pooled", [True, False])
def test_too_few_distinct_labels(metric, pooled):
    score = Score(goal="max", metric=metric, distinct=2, pooled=metric if pooled else None)
    problem = toy(scores={"error": score})
    _, targets, mask = problem.test.tensors
    targets[:] = (targets > 0).float()
    targets[mask[:, 1], 1] = 1.0
    found = scored(problem, problem.network(), problem.test)["error"]
    assert math.isnan(found["b"])
    assert math.isfinite(found["a"])
    assert math.isfinite(found["all"])
    assert found["all"] == found["a"] or pooled
    mask[:] = False
    found = scored(problem, problem.network(), problem.test)["error"]
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_output_that_is_not_finite_is_seen_wherever_it_is(value):
    problem = with_scores()
    problem.test.tensors[2][:] = True

    def outputs(network, batch):
        found = network(batch[0])
        found[batch[0][:, 0] == problem.test.tensors[0][11, 0], 1] = value
        return found

    found = scored(replace(problem, outputs=outputs), problem.network(), problem.test)["error"]
    assert math.isfinite(found["a"])
    assert math.isnan(found["b"])
    assert math.isnan(found["all"])


# Forms


def test_columns_of_the_usual_batches():
    outputs, labels = torch.rand(4, 2), torch.rand(4, 2)
    mask = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=torch.bool)
    found = columns(outputs, (None, labels), ["a", "b"])
    assert torch.equal(found["b"][1], labels[:, 1])
    found = columns(outputs, (None, labels, mask), ["a", "b"])
    assert torch.equal(found["a"][0], outputs[[0, 2], 0])
    assert torch.equal(found["b"][1], labels[[1, 2], 1])


@pytest.mark.parametrize(
    ("outputs", "batch"),
    [
        (torch.rand(4, 3), (None, torch.rand(4, 3))),
        (torch.rand(4, 2), (None, torch.rand(4, 1))),
        (torch.rand(4), (None, torch.rand(4))),
        (torch.rand(4, 2, 5), (None, torch.rand(4, 2, 5))),
        ({"a": torch.rand(4)}, (None, torch.rand(4, 2))),
        (torch.rand(4, 2), (None, torch.rand(4, 2), None)),
        (torch.rand(4, 2), {"labels": torch.rand(4, 2)}),
        (torch.rand(4, 2), (None, *[torch.rand(4, 2)] * 3)),
    ],
)
def test_other_forms_ask_for_answers(outputs, batch):
    with pytest.raises(UserError, match="give the problem answers"):
        columns(outputs, batch, ["a", "b"])


@pytest.mark.parametrize(
    ("shape", "batch_size", "rows"),
    [((3,), 16, MOST_ROWS), ((3,), 10_000, 10_000), ((1_000,), 16, 2**24 // 4_000)],
)
def test_rows_at_once_are_more_where_samples_are_small(shape, batch_size, rows):
    data = torch.utils.data.TensorDataset(torch.zeros(2, *shape))
    assert rows_at_once(data, batch_size) == rows
    assert rows_at_once(torch.utils.data.TensorDataset(torch.zeros(2, 3, 2_000, 2_000)), 4) == 4


# Dense outputs

CLASSES, HEIGHT, WIDTH, SAMPLES = 5, 24, 32, 30
IGNORED = 255


class Scenes:
    """Pixels, classes, depths and normals made up on demand; counts the rows asked for at once."""

    def __init__(self):
        self.most = 0
        self.asked = 0

    def __len__(self):
        return SAMPLES

    def __getitem__(self, indices):
        self.most = max(self.most, len(indices))
        self.asked += len(indices)
        return tuple(map(torch.stack, zip(*map(scene, indices.tolist()), strict=True)))


def scene(index):
    generator = torch.Generator().manual_seed(index)
    pixels = torch.rand(3, HEIGHT, WIDTH, generator=generator)
    classes = torch.randint(0, CLASSES, (HEIGHT, WIDTH), generator=generator)
    classes[:2] = IGNORED
    depth = torch.rand(HEIGHT, WIDTH, generator=generator)
    depth[depth < 0.2] = 0  # not measured
    normals = torch.randn(3, HEIGHT, WIDTH, generator=generator)
    return pixels, classes, depth, normals / normals.norm(dim=0)


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3, padding=1)
        self.heads = nn.Conv2d(4, CLASSES + 1 + 3, 1)

    def forward(self, pixels):
        outputs = self.heads(self.trunk(pixels)).split([CLASSES, 1, 3], 1)
        return dict(zip(("classes", "depth", "normals"), outputs, strict=True))


def angles(predictions, targets):
    """In degrees, of vectors ``(pixels, 3)``."""
    cosines = nn.functional.cosine_similarity(predictions, targets, dim=1)
    return cosines.clamp(-1, 1).acos().rad2deg()


def dense(data):
    def losses(outputs, batch):
        _, classes, depth, normals = batch
        return {
            "classes": nn.functional.cross_entropy(
                outputs["classes"], classes, ignore_index=IGNORED, reduction="none"
            ).mean((1, 2)),
            "depth": (outputs["depth"][:, 0] - depth).abs().mean((1, 2)),
            "normals": (outputs["normals"] - normals).square().mean((1, 2, 3)),
        }

    def answers(outputs, batch):
        _, classes, depth, normals = batch
        there = depth > 0
        return {
            "classes": (outputs["classes"], classes),
            "depth": (outputs["depth"][:, 0][there], depth[there]),
            "normals": tuple(
                each.movedim(1, -1).flatten(0, 2) for each in (outputs["normals"], normals)
            ),
        }

    overlap = partial(MulticlassJaccardIndex, CLASSES, ignore_index=IGNORED)
    return toy(
        tasks=["classes", "depth", "normals"],
        train=data,
        validation=data,
        test=data,
        network=Dense,
        losses=losses,
        answers=answers,
        scores={
            "mean IoU": Score(goal="max", metric={"classes": overlap}),
            "absolute error": Score(goal="min", metric={"depth": MeanAbsoluteError}),
            "angle": Score(goal="min", metric={"normals": partial(Averaged, angles)}),
        },
    )


def test_dense_outputs_are_measured_with_the_memory_of_a_batch():
    data = Scenes()
    problem = dense(data)
    torch.manual_seed(0)
    network = problem.network()
    found = scored(problem, network, data, 4)
    assert data.most == 4
    assert data.asked == SAMPLES
    pixels, classes, depth, normals = (part.double() for part in data[torch.arange(SAMPLES)])
    with torch.no_grad():
        outputs = network.double()(pixels)
    guessed, counted = outputs["classes"].argmax(1), classes != IGNORED
    overlaps = []
    for each in range(CLASSES):
        one, other = (guessed == each) & counted, (classes == each) & counted
        overlaps.append(float((one & other).sum() / (one | other).sum()))
    overlap = np.mean(overlaps)
    assert found["mean IoU"] == pytest.approx({"all": overlap, "classes": overlap}, rel=1e-3)
    error = float((outputs["depth"][:, 0] - depth)[depth > 0].abs().mean())
    assert found["absolute error"] == pytest.approx({"all": error, "depth": error}, rel=1e-5)
    cosines = (outputs["normals"] * normals).sum(1) / outputs["normals"].norm(dim=1)
    angle = float(torch.rad2deg(torch.acos(cosines)).mean())
    assert found["angle"] == pytest.approx({"all": angle, "normals": angle}, rel=1e-5)


def test_dense_losses_reach_the_study():
    data = Scenes()
    problem = dense(data)
    losses = problem.loss_function(problem.network(), data[torch.arange(3)])
    assert {name: tuple(each.shape) for name, each in losses.items()} == dict.fromkeys(
        problem.tasks, (3,)
    )


# Several processes


def first_alone(rank):
    """What the first of two processes measures by itself, with every kind of metric."""
    problem = several()
    torch.manual_seed(0)
    found = scored(problem, problem.network(), problem.test) if rank == 0 else {}
    return {f"{name} {task}": value for name, each in found.items() for task, value in each.items()}


def several():
    return toy(
        scores={
            "error": Score(goal="min", metric=MeanSquaredError, pooled=MeanSquaredError),
            "R²": Score(goal="max", metric=R2, distinct=2),
            "largest": Score(goal="min", metric=partial(Gathered, lambda *pair: np.max(pair))),
        }
    )


def test_one_of_two_processes_measures_alone(tmp_path):
    found, nothing = on_two_processes(first_alone, tmp_path)
    assert found == first_alone(0)
    assert nothing == {}
