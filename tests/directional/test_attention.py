import warnings

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as imported

from equipoise.directional.attention import fused_attention

HIDDEN = torch.tensor([[True, False, True, True], [False] * 4, [True, True, False, False]])
CASES = {
    "plain": {},
    "scaled": {"scale": 0.3},
    "causal": {"is_causal": True},
    "rows with nothing to attend to": {"attn_mask": HIDDEN},
    "added mask": {"attn_mask": torch.randn(2, 1, 3, 4, dtype=torch.float64)},
    "learned mask": {"attn_mask": torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)},
}
# Two sequences and two heads; three queries, four keys, values of another width.
SHAPES = ((2, 2, 3, 8), (2, 2, 4, 8), (2, 2, 4, 5))


def parts(dtype=torch.float64, shapes=SHAPES):
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def dual(tensors, tangents, attend=None, **options):
    """Value and tangent of attention, where those without a tangent are no duals."""
    with forward_mode.dual_level(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        inputs = [
            tensor if tangent is None else forward_mode.make_dual(tensor, tangent)
            for tensor, tangent in zip(tensors, tangents, strict=True)
        ]
        result = (attend or functional.scaled_dot_product_attention)(*inputs, **options)
        return tuple(forward_mode.unpack_dual(result))


def by_math(*arguments, **options):
    with sdpa_kernel(SDPBackend.MATH):
        return dual(*arguments, **options)


@pytest.mark.parametrize("moved", [(0,), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_value_gradient_and_tangent_are_those_of_the_math_kernel(case, moved):
    tensors = parts()
    tangents = [torch.randn_like(each) if i in moved else None for i, each in enumerate(tensors)]
    leaves = [*tensors, *(each for each in CASES[case].values() if torch.is_tensor(each))]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]

    with fused_attention(), sdpa_kernel(SDPBackend.MATH):
        found = dual(tensors, tangents, **CASES[case])
    expected = by_math(tensors, tangents, **CASES[case])

    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    factors = torch.randn_like(found[0])
    torch.testing.assert_close(
        torch.autograd.grad(found[0], leaves, factors),
        torch.autograd.grad(expected[0], leaves, factors),
    )


def test_dropout_draws_once_for_value_and_tangent():
    tensors, tangents = parts(), parts()

    def found(context):
        torch.manual_seed(1)
        with context, sdpa_kernel(SDPBackend.MATH):
            return dual(tensors, tangents, dropout_p=0.5)

    torch.testing.assert_close(found(fused_attention()), found(warnings.catch_warnings()))


def test_grouped_queries():
    tensors, tangents = (parts(shapes=((2, 4, 3, 8), *SHAPES[1:])) for _ in range(2))
    with fused_attention(), sdpa_kernel(SDPBackend.MATH):
        found = dual(tensors, tangents, enable_gqa=True)
    torch.testing.assert_close(found, by_math(tensors, tangents, enable_gqa=True))


def test_an_imported_name_gets_the_kernels_inside():
    tensors, tangents = parts(), parts()
    with fused_attention(), sdpa_kernel(SDPBackend.MATH):
        found = dual(tensors, tangents, imported)
    torch.testing.assert_close(found, by_math(tensors, tangents))


def test_without_tangents_the_enabled_kernels_are_taken_as_they_are():
    tensors = parts(shapes=[(1, 2, 64, 8)] * 3)
    expected = functional.scaled_dot_product_attention(*tensors)
    with fused_attention(), sdpa_kernel(SDPBackend.MATH):
        found = functional.scaled_dot_product_attention(*tensors)
    assert found.grad_fn.name() == expected.grad_fn.name()
    assert torch.equal(found, expected)


def test_graph_serves_twice():
    tensors = parts()
    with fused_attention():
        result = functional.scaled_dot_product_attention(*tensors).sum()
    first = torch.autograd.grad(result, tensors, retain_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(result, tensors))


def test_no_attention_weights_are_kept():
    kept = []
    long = [(1, 1, 300, 8)] * 3
    tensors, tangents = parts(torch.float32, long), parts(torch.float32, long)

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with fused_attention(), sdpa_kernel(SDPBackend.MATH):
            dual(tensors, tangents)
        fused, kept = kept, []
        by_math(tensors, tangents)
    assert max(fused) < 300**2 <= max(kept)


def test_lower_precision():
    tensors, tangents = parts(torch.float32), parts(torch.float32)
    expected = by_math(tensors, tangents)
    with fused_attention(), torch.autocast("cpu"):
        found = dual(tensors, tangents)
    assert [each.dtype for each in found] == [torch.bfloat16] * 2
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each.float(), other, rtol=0.05, atol=0.05)


def test_the_function_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), fused_attention():
        1 / 0  # noqa: B018
    assert functional.scaled_dot_product_attention is imported
