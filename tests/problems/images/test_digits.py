import math

import numpy as np
import pytest
import torch
from problems.scored import scored
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

from equipoise.errors import UserError
from equipoise.losses import task_losses
from equipoise.problems.images.digits import digits


@pytest.fixture(scope="module")
def problem():
    return digits()


def every(part):
    return part[torch.arange(len(part))]


def parts(problem):
    return problem.train, problem.validation, problem.test


def test_sizes(problem):
    assert [len(part) for part in parts(problem)] == [6_000, 1_000, 1_000]
    images, labels = problem.train[torch.arange(5)]
    assert images.shape == (5, 1, 10, 12)
    assert labels.shape == (5, 2)
    assert problem.network()(images).shape == (5, 2, 10)
    assert all(every(part)[1].unique().tolist() == list(range(10)) for part in parts(problem))
    assert list(problem.tasks) == ["left", "right"]


def test_the_main_task(problem):
    assert problem.main is None
    assert digits(main="right").deciding == "right"


def test_with_a_main_task_pairs_of_other_images_are_held_out(problem):
    assert problem.held_out is None
    assert problem.notes == digits(main="left", held_out=0).notes == []
    served = digits(main="left", held_out=0.3)
    assert [len(part) for part in parts(served)] == [4_200, 1_000, 1_000]
    assert len(served.held_out) == 1_800
    assert served.notes[0].endswith("trained on by no method: 1,800.")
    own, train = (_sides(part)["left"] for part in (served.held_out, served.train))
    assert len(own & train) < 0.02 * len(own)
    assert len(digits(main="left").held_out) == 1_200
    with pytest.raises(UserError, match="`held_out`"):
        digits(main="left", held_out=1)


def _sides(part):
    """The images that are seen: left and right columns that do not overlap, with their labels."""
    images, labels = every(part)
    return {
        side: {
            (canvas.numpy().tobytes(), int(label))
            for canvas, label in zip(images[:, 0, :, columns], labels[:, index], strict=True)
        }
        for index, (side, columns) in enumerate(
            {"left": slice(0, 4), "right": slice(8, 12)}.items()
        )
    }


def test_canvases_are_digits_of_their_labels(problem):
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) / 16
    known = {"left": set(), "right": set()}
    for image, label in zip(images, labels, strict=True):
        for row in range(3):
            canvas = np.zeros((10, 8), np.float32)
            canvas[row : row + 8] = image
            known["left"].add((canvas[:, :4].tobytes(), int(label)))
            known["right"].add((canvas[:, 4:].tobytes(), int(label)))
    for part in parts(problem):
        for side, seen in _sides(part).items():
            assert seen <= known[side]


def test_where_digits_overlap_the_brighter_is_seen(problem):
    images = load_digits().images
    canvas, _ = every(problem.test)
    canvas = canvas[0, 0].numpy() * 16
    pairs = [
        (left, right)
        for left in _candidates(images, canvas[:, :4], slice(0, 4))
        for right in _candidates(images, canvas[:, 8:], slice(4, 8))
    ]
    overlaps = [np.maximum(left[:, 4:], right[:, :4]) for left, right in pairs]
    assert any((overlap == canvas[:, 4:8]).all() for overlap in overlaps)


def _candidates(images, seen, columns):
    for image in images:
        for row in range(3):
            canvas = np.zeros((10, 8))
            canvas[row : row + 8] = image
            if (canvas[:, columns] == seen).all():
                yield canvas


def test_parts_have_images_of_their_own(problem):
    """Halves of different images are rarely equal; halves of shared images would be many."""
    train, validation, test = (_sides(part)["left"] for part in parts(problem))
    assert len(train & test) < 0.02 * len(test)
    assert len(train & validation) < 0.02 * len(validation)
    assert len(validation & test) < 0.02 * len(test)


def test_is_of_its_seed(problem):
    for same, part in zip(parts(digits()), parts(problem), strict=True):
        assert torch.equal(every(same)[0], every(part)[0])
    assert not torch.equal(every(digits(data_seed=1).test)[0], every(problem.test)[0])


def test_losses_equal_a_loop(problem):
    network = problem.network().double()
    images, labels = problem.train[torch.arange(6)]
    losses, mask = problem.loss_function(network, (images.double(), labels))
    logits = network(images.double()).tolist()
    assert mask is None
    for row in range(6):
        for task in range(2):
            own = logits[row][task]
            expected = math.log(sum(map(math.exp, own))) - own[labels[row, task]]
            assert losses[row, task].item() == pytest.approx(expected)


def test_it_learns_and_metrics_are_scikit_learns(problem):
    torch.manual_seed(0)
    network = problem.network()
    optimizer = problem.recipe.optimizer(network.parameters(), problem.recipe.lr)
    for indices in torch.randperm(6_000).split(problem.recipe.batch_size) * 2:
        losses, mask = problem.loss_function(network, problem.train[indices])
        optimizer.zero_grad()
        task_losses(losses, mask)[0].sum().backward()
        optimizer.step()
    images, labels = every(problem.test)
    with torch.no_grad():
        found = scored(problem, network, problem.test)["accuracy"]
        chosen = network(images).argmax(2)
    own = [accuracy_score(labels[:, task], chosen[:, task]) for task in range(2)]
    assert [found["left"], found["right"]] == pytest.approx(own)
    assert found["all"] == pytest.approx(np.mean(own))
    assert found["all"] > 0.6


def test_wrong_labels_are_those_of_the_main_task():
    clean, noisy = digits(main="left"), digits(main="left", noise=0.4, held_out_noise=0.2)
    for part, share in (("train", 0.4), ("held_out", 0.2)):
        wrong = every(getattr(clean, part))[1] != every(getattr(noisy, part))[1]
        assert wrong[:, 0].float().mean() == pytest.approx(share, abs=0.04)
        assert not wrong[:, 1].any()
        assert torch.equal(every(getattr(clean, part))[0], every(getattr(noisy, part))[0])
        if part == "train":
            assert torch.equal(wrong, noisy.corrupted)
    assert torch.equal(every(clean.test)[1], every(noisy.test)[1])
    both = digits(main="left", noise=0.4, noisy="all").corrupted.float().mean(0)
    assert both.tolist() == pytest.approx([0.4, 0.4], abs=0.04)
    with pytest.raises(UserError, match="`held_out_noise` must be from 0 to 1"):
        digits(main="left", held_out_noise=2)
    with pytest.raises(UserError, match="`noise` is of what a main task learns"):
        digits(noise=0.1)


def test_all_pairs_can_be_audited():
    found = digits(main="left", noise=0.4, held_out_noise=0.2).labelled()
    assert found.inputs.shape == (8_000, 120)
    assert found.held_out.sum() == 1_200
    by_part = {
        part: found.wrong[rows, 0].mean()
        for part, rows in found.shown.groupby("part").indices.items()
    }
    assert by_part == pytest.approx(
        {"train": 0.4, "held out": 0.2, "validation": 0, "test": 0}, abs=0.04
    )
