import warnings
from contextlib import nullcontext

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from equipoise.directional.layers import layers_without_zeros

LAYERS = {
    "linear": (nn.Linear(3, 4), (5, 3)),
    "linear, no bias, sequences": (nn.Linear(3, 4, bias=False), (2, 5, 3)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, groups=2), (2, 4, 9)),
    "conv2d": (nn.Conv2d(3, 4, 3, padding="same", dilation=2), (2, 3, 5, 6)),
    "conv2d, reflected": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 5, 6)),
    "conv3d, no bias": (nn.Conv3d(2, 3, 2, bias=False), (2, 2, 3, 4, 3)),
    "LayerNorm": (nn.LayerNorm(6), (4, 3, 6)),
    "LayerNorm, two dimensions": (nn.LayerNorm((3, 6), bias=False), (4, 3, 6)),
    "LayerNorm, nothing learned": (nn.LayerNorm(6, elementwise_affine=False), (4, 6)),
}
MOVED = [("inputs",), ("weight",), ("bias",), ("weight", "bias"), ("inputs", "weight", "bias")]
CASES = [
    (name, moved)
    for name, (layer, _) in LAYERS.items()
    for moved in MOVED
    if {*moved} <= {"inputs", *dict(layer.named_parameters())}
]


def through(layer, inputs, tangents, context, after=lambda result: result):
    """Value, tangent and gradients of a layer of which some tensors are moved."""
    tensors = {"inputs": inputs, **dict(layer.named_parameters())}
    with forward_mode.dual_level(), context, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        duals = {
            name: forward_mode.make_dual(tensor, tangents[name]) if name in tangents else tensor
            for name, tensor in tensors.items()
        }
        moved = duals.pop("inputs")
        result = after(torch.func.functional_call(layer, duals, (moved,)))
        value, tangent = forward_mode.unpack_dual(result)
    return value, tangent, torch.autograd.grad(value.cos().sum(), list(tensors.values()))


def setting(name, moved, dtype=torch.float64):
    layer, shape = LAYERS[name]
    layer = layer.to(dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    inputs = torch.randn(shape, dtype=dtype, requires_grad=True)
    tensors = {"inputs": inputs, **dict(layer.named_parameters())}
    return layer, inputs, {each: torch.randn_like(tensors[each]) for each in moved}


@pytest.mark.parametrize(("name", "moved"), CASES, ids=str)
def test_value_tangent_and_gradients_are_those_of_pytorch(name, moved):
    case = setting(name, moved)
    own = through(*case, layers_without_zeros())
    torch.testing.assert_close(own, through(*case, nullcontext()))


@pytest.mark.parametrize("name", ["linear", "conv2d", "LayerNorm"])
def test_what_follows_may_work_in_place(name):
    case = setting(name, ("inputs",))
    own = through(*case, layers_without_zeros(), after=nn.ReLU(inplace=True))
    torch.testing.assert_close(own, through(*case, nullcontext(), after=nn.ReLU()))


@pytest.mark.parametrize(("name", "moved"), CASES, ids=str)
def test_lower_precision(name, moved):
    case = setting(name, moved, torch.float32)
    expected = through(*case, nullcontext())
    with torch.autocast("cpu"):
        own = through(*case, layers_without_zeros())
    assert own[0].dtype == own[1].dtype
    for found, precise in zip(own[:2], expected[:2], strict=True):
        torch.testing.assert_close(found.float(), precise, rtol=0.05, atol=0.1)


class Counted(TorchDispatchMode):
    """How often operations run that make products."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kinds = ("mm", "addmm", "convolution")
        self.count += function.overloadpacket.__name__ in kinds
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("moved", [("inputs",), ("weight", "bias")], ids="+".join)
@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_nothing_is_multiplied_with_zeros(name, moved):
    case = setting(name, moved)

    def products(context):
        with Counted() as counted:
            through(*case, context)
        return counted.count

    assert products(layers_without_zeros()) == products(nullcontext()) - 1


def by_name(weight):
    return functional.linear(input=torch.ones(3, 4), weight=weight)


def in_vmap(weight):
    return torch.vmap(lambda row: functional.linear(row, weight))(torch.ones(3, 4))


def normalised_in_vmap(weight):
    return torch.vmap(lambda row: functional.layer_norm(row, (4,)))(weight.exp())


def in_grad(weight):
    def curved(row):
        return functional.linear(row, weight).sin().sum()

    return functional.linear(torch.func.grad(curved)(torch.ones(3, 4)), weight)


def nested(layout):
    def through_nested(weight):
        parts = [torch.ones(2, 4), torch.ones(3, 4)]
        sequences = torch.nested.nested_tensor(parts, layout=layout)
        longest = functional.linear(sequences, torch.ones(4, 4)).to_padded_tensor(0.0)
        return functional.linear(longest, weight)

    return through_nested


def sparse(weight):
    return functional.linear(torch.ones(3, 4).to_sparse(), torch.ones(4, 4)).to_dense() @ weight.T


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "call",
    [
        by_name,
        in_vmap,
        normalised_in_vmap,
        in_grad,
        nested(torch.strided),
        nested(torch.jagged),
        sparse,
    ],
)
def test_what_is_called_otherwise_goes_on_as_it_would(call):
    weight = torch.randn(5, 4, requires_grad=True)
    tangent = torch.randn_like(weight)

    def found(context):
        with forward_mode.dual_level(), context, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            value, moved = forward_mode.unpack_dual(call(forward_mode.make_dual(weight, tangent)))
        return value, moved, torch.autograd.grad(value.sum(), weight)

    torch.testing.assert_close(found(layers_without_zeros()), found(nullcontext()))


def test_without_tangents_a_layer_is_as_it_is():
    layer, inputs, _ = setting("linear", ("inputs",))
    with layers_without_zeros():
        assert layer(inputs).grad_fn.name() == "AddmmBackward0"


def test_the_functions_come_back_after_an_error():
    usual = functional.linear, functional.layer_norm
    with pytest.raises(ZeroDivisionError), layers_without_zeros():
        1 / 0  # noqa: B018
    assert (functional.linear, functional.layer_norm) == usual
