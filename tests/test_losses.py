import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipoise.losses import by_task, stack_losses, task_losses, task_names

NAMES = ("depth", "normals", "edges")
CPU = torch.device("cpu")


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
    leaf = losses.where(mask, torch.nan).requires_grad_()
    found, counts = task_losses(leaf, mask)
    gradient = torch.autograd.grad(found.sum(), leaf)[0]
    for task in range(tasks):
        labels = [losses[i, task].item() for i in range(samples) if mask[i, task]]
        assert counts[task] == len(labels)
        assert found[task].item() == pytest.approx(sum(labels) / max(len(labels), 1))
        expected = [1 / len(labels) if present else 0.0 for present in mask[:, task]]
        assert gradient[:, task].tolist() == pytest.approx(expected)


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


def test_losses_by_name_come_in_the_order_of_the_tasks():
    losses, present = stack_losses(scalars(edges=3.0, depth=1.0, normals=2.0), NAMES, CPU)
    assert losses.tolist() == [1, 2, 3]
    assert present is None


@pytest.mark.parametrize("absent", [{}, {"normals": None}])
def test_absent_losses(absent):
    given = scalars(edges=3.0, depth=1.0)
    losses, present = stack_losses(given | absent, NAMES, CPU)
    assert losses.tolist() == [1, 0, 3]
    assert present.tolist() == [True, False, True]
    assert torch.autograd.grad(losses.sum(), list(given.values())) == (1, 1)


def test_no_loss_at_all_has_a_graph():
    losses, present = stack_losses({}, NAMES, CPU)
    assert losses.tolist() == [0, 0, 0]
    assert not present.any()
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
        stack_losses(losses, NAMES, CPU)


def test_by_task():
    assert by_task(torch.tensor([0.5, 1.0, 2.0]), NAMES) == {"depth": 0.5, "normals": 1, "edges": 2}
