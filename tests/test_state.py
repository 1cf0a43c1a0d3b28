import copy

import pytest
import torch
from torch import nn

from equipoise import Constant
from equipoise.state import Stateful


class Keeping(Stateful):
    """State of every kind."""

    def __init__(self, size=3):
        super().__init__(size)
        self.add_state("number", 0.1)
        self.add_state("count", 2)
        self.add_state("tensor", torch.tensor([0.1, 0.7], dtype=torch.float64))
        self.add_state("flags", torch.tensor([True, False]))
        self.add_state("learned", torch.tensor([1.0, 2.0]), learned=True)
        self.add_state("hidden", 1.0, persistent=False)
        self.add_state("unknown", None)
        self.add_state("parts", [])


def used():
    """One in which nothing is as it was when new."""
    keeping = Keeping()
    with torch.no_grad():
        keeping.number += 1
        keeping.count += 1
        keeping.tensor.mul_(3)
        keeping.flags.logical_not_()
        keeping.learned += 5
    keeping.unknown = torch.arange(4.0)
    keeping.parts = [torch.ones(2), torch.zeros(3, 1)]
    return keeping


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        assert value.dtype == other[name].dtype, name


def test_new_state_has_its_defaults():
    keeping = Keeping()
    assert keeping.number.tolist() == [torch.tensor(0.1).item()] * 3
    assert keeping.count.tolist() == [2, 2, 2]
    assert keeping.count.dtype == torch.int64
    assert keeping.tensor.dtype == torch.float32
    assert keeping.flags.dtype == torch.bool
    assert keeping.unknown is None
    assert keeping.parts == []
    assert [name for name, _ in keeping.named_parameters()] == ["learned"]
    assert "hidden" not in keeping.state_dict()


def test_of_unknown_size_a_number_is_nothing_yet():
    keeping = Keeping(None)
    assert keeping.number is keeping.count is None
    keeping._size = 2
    keeping.reset()
    assert keeping.count.tolist() == [2, 2]


def test_reset_is_as_new_and_in_place():
    keeping = used()
    number, learned = keeping.number, keeping.learned
    keeping.reset()
    assert_same(keeping.state_dict(), Keeping().state_dict())
    assert keeping.number is number
    assert keeping.learned is learned
    assert keeping.unknown is None
    assert keeping.parts == []


def test_reset_reaches_state_inside():
    outer = Keeping()
    outer.inner = used()
    outer.reset()
    assert_same(outer.inner.state_dict(), Keeping().state_dict())


def test_defaults_are_not_what_was_given():
    given = torch.ones(2)
    keeping = Stateful()
    keeping.add_state("kept", given)
    given += 1
    keeping.kept += 5
    keeping.reset()
    assert keeping.kept.tolist() == [1, 1]


@pytest.mark.parametrize("cast", ["half", "bfloat16"])
def test_floats_stay_float32_at_least(cast):
    parent = getattr(nn.ModuleList([used()]), cast)()
    assert_same(parent[0].state_dict(), used().state_dict())


def test_double_precision_is_of_all_floats():
    keeping = used().double()
    floats = [*keeping.state_dict().values(), *keeping.parts, keeping.hidden]
    assert {each.dtype for each in floats if each.is_floating_point()} == {torch.float64}
    assert keeping.count.dtype == torch.int64
    assert_same(used().double().float().state_dict(), used().state_dict())


def test_defaults_have_all_their_digits_in_double_precision():
    keeping = Keeping().double()
    assert keeping.tensor.tolist() == [0.1, 0.7]
    keeping.tensor += 1
    keeping.reset()
    assert keeping.tensor.tolist() == [0.1, 0.7]
    assert keeping.number.tolist() == [0.1] * 3


def test_everything_moves():
    keeping = used().to("meta")
    tensors = [*keeping.buffers(), *keeping.parameters(), *keeping.parts]
    assert len(tensors) > 8
    assert all(each.is_meta for each in tensors)


@pytest.mark.parametrize("target", [Keeping, used])
@pytest.mark.parametrize("double", [False, True])
def test_what_is_saved_comes_back(target, double):
    weighting, other = Weighted(used()), Weighted(target())
    if double:
        weighting.double()
        other.double()
    state = copy.deepcopy(weighting.state_dict())
    other.load_state_dict(state)
    assert_same(other.state_dict(), state)
    other.inner.parts[0] += 1
    other.inner.number += 1
    assert_same(weighting.state_dict(), state)


def test_nothing_comes_back_as_nothing():
    weighting, other = Weighted(Keeping()), Weighted(used())
    other.load_state_dict(weighting.state_dict())
    assert other.inner.unknown is None
    assert other.inner.parts == []


class Weighted(Constant):
    """A weighting with such state."""

    def __init__(self, inner):
        super().__init__(3)
        self.inner = inner


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("inner.number", torch.ones(2)),
        ("inner.number", torch.ones(())),
        ("inner.tensor", torch.ones(3)),
        ("inner.learned", torch.ones(2, 1)),
        ("_task_weights", torch.ones(4)),
    ],
)
def test_wrong_shapes_are_refused_before_anything_is_loaded(name, tensor):
    weighting = Weighted(Keeping())
    state = Weighted(used()).state_dict()
    state[name] = tensor
    with pytest.raises(ValueError, match=f"the state's {name} must be "):
        weighting.load_state_dict(state)
    assert_same(weighting.state_dict(), Weighted(Keeping()).state_dict())


@pytest.mark.parametrize("name", ["inner.number", "inner.learned", "_task_weights", "_extra_state"])
def test_part_of_a_state_is_refused(name):
    weighting = Weighted(Keeping())
    state = dict(Weighted(used()).state_dict())
    del state[name]
    with pytest.raises((ValueError, RuntimeError), match=name):
        weighting.load_state_dict(state)
    assert_same(weighting.state_dict(), Weighted(Keeping()).state_dict())


def test_state_from_elsewhere_is_refused():
    weighting = Constant(3)
    state = weighting.state_dict()
    for other in (torch.tensor([1.0, 2.0]), torch.tensor([255], dtype=torch.uint8), {"tasks": 3}):
        with pytest.raises(ValueError, match="this state is none of a weighting of this version"):
            weighting.load_state_dict({**state, "_extra_state": other})
