import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import equipoise.losses
from equipoise import present
from equipoise.losses import by_task, read_losses, task_losses, task_names
from equipoise.testing import tolerance

NAMES = ("depth", "normals", "edges")


# Names


@pytest.mark.parametrize(
    ("tasks", "names"),
    [
        (2, ("0", "1")),
        (["b", "a"], ("b", "a")),
        ({"x": 1, "y": 2}, ("x", "y")),
        (iter("ab"), ("a", "b")),
    ],
)
def test_task_names(tasks, names):
    assert task_names(tasks) == names


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("depth", "tasks must be a number of tasks or a list of names, found 'depth'"),
        (True, "tasks must be a number"),
        (2.0, "tasks must be a number"),
        (None, "tasks must be a number"),
        (0, "at least one task"),
        (-1, "at least one task"),
        ([], "at least one task"),
        (["a", ""], "name of task 1 is empty"),
        (["a", " "], "name of task 1 is empty"),
        (["a", 2], "names of tasks must be strings, found 2"),
        (["a", "b", "a"], "names of tasks occur twice: 'a'"),
    ],
)
def test_wrong_names(tasks, message):
    with pytest.raises((TypeError, ValueError), match=message):
        task_names(tasks)


# From samples to tasks


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 999), st.sampled_from([0, 0.5, 1]))
def test_task_losses_are_means_over_the_labels_present(samples, tasks, seed, share):
    generator = torch.Generator().manual_seed(seed)
    losses = torch.randn(samples, tasks, generator=generator, dtype=torch.float64)
    mask = torch.rand(samples, tasks, generator=generator) < share
    close = {"rel": tolerance(torch.float64, samples)["rtol"], "abs": 1e-15}
    leaf = losses.where(mask, torch.nan).requires_grad_()
    found, counts = task_losses(leaf, mask)
    gradient = torch.autograd.grad(found.sum(), leaf)[0]
    for task in range(tasks):
        labels = [losses[i, task].item() for i in range(samples) if mask[i, task]]
        assert counts[task] == len(labels)
        assert found[task].item() == pytest.approx(sum(labels) / max(len(labels), 1), **close)
        expected = [1 / len(labels) if present else 0.0 for present in mask[:, task]]
        assert gradient[:, task].tolist() == pytest.approx(expected, **close)


def test_task_losses_without_a_mask():
    losses = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    found, counts = task_losses(losses)
    assert found.tolist() == [2.0, 3.5]
    assert counts.tolist() == [2, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_task_losses_of_low_precision_are_summed_in_float32(dtype):
    found, _ = task_losses(torch.full((1000, 1), 100.0, dtype=dtype))  # 1e5 is beyond float16
    assert found.dtype == torch.float32
    assert found.item() == 100


def test_nan_among_the_labels_is_not_hidden():
    found, _ = task_losses(torch.tensor([[torch.nan, 1.0], [1.0, 1.0]]))
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("losses", "mask", "message"),
    [
        (torch.ones(3), None, r"losses must be \(samples, tasks\), found shape \(3,\)"),
        (
            torch.ones(3, 2),
            torch.ones(3, dtype=torch.bool),
            "mask must be boolean and of the shape",
        ),
        (torch.ones(3, 2), torch.ones(3, 2), "mask must be boolean .* found torch.float32"),
    ],
)
def test_wrong_shapes(losses, mask, message):
    with pytest.raises(ValueError, match=message):
        task_losses(losses, mask)


# Losses by name


def scalars(**losses):
    return {name: torch.tensor(value, requires_grad=True) for name, value in losses.items()}


def read(losses, mask=None):
    return read_losses(losses, mask, NAMES, per_sample=False)


def test_losses_by_name_come_in_the_order_of_the_tasks():
    losses, mask = read(scalars(edges=3.0, depth=1.0, normals=2.0))
    assert losses.tolist() == [1, 2, 3]
    assert mask is None


@pytest.mark.parametrize("absent", [{}, {"normals": None}])
def test_absent_losses(absent):
    given = scalars(edges=3.0, depth=1.0)
    losses, mask = read(given | absent)
    assert losses.tolist() == [1, 0, 3]
    assert mask.tolist() == [True, False, True]
    assert torch.autograd.grad(losses.sum(), list(given.values())) == (1, 1)


def test_absent_losses_and_a_mask_together():
    given = scalars(edges=3.0, depth=1.0)
    for mask in (torch.tensor([False, True, True]), {"depth": torch.tensor(False)}):
        assert read(given, mask)[1].tolist() == [False, False, True]


def test_no_loss_at_all_has_a_graph():
    losses, mask = read({})
    assert losses.tolist() == [0, 0, 0]
    assert not mask.any()
    losses.sum().backward()


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"normal": torch.ones(())}, "no task 'normal'.* did you mean 'normals'"),
        ({"sound": None}, "no task 'sound'.* depth.* normals.* edges"),
        ({0: torch.ones(())}, "no task 0.* depth.* normals.* edges"),
        ({"depth": 1.0}, "loss of task 'depth' must be a tensor, found float"),
        ({"depth": torch.ones(4)}, r"loss of task 'depth' must be a scalar, found shape \(4,\)"),
    ],
)
def test_wrong_mapping(losses, message):
    with pytest.raises((TypeError, ValueError), match=message):
        read(losses)


def test_by_task():
    assert by_task(torch.tensor([0.5, 1.0, 2.0]), NAMES) == {"depth": 0.5, "normals": 1, "edges": 2}


# Missing labels


def test_present_fills_what_is_missing():
    labels = torch.tensor([[1.0, torch.nan], [torch.inf, 0.0]])
    filled, mask = present(labels)
    assert mask.tolist() == [[True, False], [True, True]]
    assert filled.tolist() == [[1.0, 0.0], [torch.inf, 0.0]]
    assert labels.isnan().any()


@pytest.mark.parametrize("labels", [torch.tensor([3, 0]), torch.tensor([True, False])])
def test_labels_that_cannot_be_missing_are_all_present(labels):
    filled, mask = present(labels)
    assert torch.equal(filled, labels)
    assert filled.dtype == labels.dtype
    assert mask.all()


def test_labels_are_a_tensor():
    with pytest.raises(TypeError, match="labels must be a tensor, found list"):
        present([1.0])


def network_gradient(labels, mask):
    weight = torch.ones(2, requires_grad=True)
    task_losses((weight - labels).square(), mask)[0].sum().backward()
    return weight.grad


def test_filled_labels_leave_the_gradient_finite():
    """What task_losses cannot repair: 0 × NaN."""
    labels = torch.tensor([[2.0, torch.nan], [3.0, 5.0]])
    assert network_gradient(labels, ~labels.isnan()).isnan().tolist() == [False, True]
    assert network_gradient(*present(labels)).tolist() == [-3, -8]


@pytest.fixture
def looking(monkeypatch):
    monkeypatch.setattr(equipoise.losses, "_looks", 0)


@pytest.mark.usefixtures("looking")
def test_a_nan_behind_the_mask_is_warned_of_once():
    labels = torch.tensor([[2.0, torch.nan]])
    with pytest.warns(UserWarning, match=r"labels, mask = equipoise.present\(labels\)"):
        network_gradient(labels, ~labels.isnan())
    for _ in range(3):
        network_gradient(labels, ~labels.isnan())  # a warning is an error here


@pytest.mark.usefixtures("looking")
def test_only_the_first_calls_look_behind_the_mask():
    labels = torch.tensor([[2.0, torch.nan]])
    for _ in range(equipoise.losses.LOOKS):
        network_gradient(*present(labels))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        network_gradient(labels, ~labels.isnan())
    assert not said


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("spoilt", ["a label that is there", "without a graph"])
def test_other_nans_are_not_warned_of(spoilt):
    losses = torch.ones(2, 2, requires_grad=spoilt == "a label that is there")
    there = torch.tensor([[True, True], [True, False]])
    bad = there if spoilt == "a label that is there" else ~there
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        task_losses(torch.where(bad, losses * torch.nan, losses), there)
    assert not said
