"""The dilated ResNet-50, and the weights it may begin with."""

import sys

import pytest
import torch

from equipoise.errors import UserError
from equipoise.problems.vision.network import network_of, trunk_of


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return network_of("resnet50")().trunk


def test_it_is_the_one_of_transformers_with_dilations_in_place_of_strides(encoder):
    plain = type(encoder.model)(encoder.model.config).eval()
    plain.load_state_dict(encoder.model.state_dict())
    encoder.eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        dense = encoder(images)
        thinned = plain((images - encoder.mean) / encoder.deviation).last_hidden_state
    assert dense.shape == (1, 2048, 8, 12)
    assert thinned.shape == (1, 2048, 2, 3)
    # At every fourth place the same pixels are weighed in the same way.
    torch.testing.assert_close(dense[:, :, ::4, ::4], thinned, rtol=1e-3, atol=1e-4)


def test_its_trunk_has_the_parameters_of_a_resnet50():
    network = network_of("resnet50")()
    assert sum(each.numel() for each in trunk_of(network)) == 23_508_032  # 25,557,032 less fc


@pytest.mark.parametrize(("suffix", "prefix"), [(".safetensors", "resnet."), (".bin", "")])
def test_weights_of_a_file_are_those_of_the_encoder(encoder, tmp_path, suffix, prefix):
    from safetensors.torch import save_file

    state = {f"{prefix}{name}": value for name, value in encoder.model.state_dict().items()}
    if prefix:
        state |= {"classifier.1.weight": torch.zeros(3)}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    torch.manual_seed(1)
    found = network_of("resnet50", path)().trunk.model.state_dict()
    for name, value in encoder.model.state_dict().items():
        assert torch.equal(found[name], value)


def saved(content):
    return lambda path: torch.save(content, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "cannot read .*weights.bin as safetensors.*No such file"),
        (lambda path: path.write_text("weights"), "cannot read"),
        (saved({"a": 1}), "holds no tensors by name"),
        (saved(print), "cannot read"),
        (saved({"a": torch.ones(2)}), "not those of transformers' ResNetModel of 50 layers"),
    ],
)
def test_weights_that_are_none_get_one_sentence(tmp_path, write, message):
    write(tmp_path / "weights.bin")
    with pytest.raises(UserError, match=message) as raised:
        network_of("resnet50", tmp_path / "weights.bin")
    assert "\n" not in str(raised.value)


def test_weights_are_of_one_network(tmp_path):
    with pytest.raises(UserError, match="`weights` are of `network` resnet50, found `network` sm"):
        network_of("small", tmp_path / "weights.bin")


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'equipoise\[vision\]'"):
        network_of("resnet50")
