"""Alignments through LoRA adapters, against a backward pass for every sample of every task."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from equipoise import SLGate, alignments
from equipoise.directional import random_direction
from equipoise.testing import tolerance

# PEFT 0.21 asks Transformers 5.24 by the name that version 6 is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
WORDS, LENGTH, SAMPLES = 20, 5, 4
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
HOSTS = {
    "bert": (
        lambda: BertModel(BertConfig(**SIZES), add_pooling_layer=False),
        ["query", "value"],
    ),
    "llama": (
        lambda: LlamaModel(LlamaConfig(num_key_value_heads=1, **SIZES)),
        ["q_proj", "v_proj", "down_proj"],
    ),
}


class Network(nn.Module):
    """A language model with adapters, and a head for two tasks."""

    def __init__(self, host):
        super().__init__()
        make, targets = HOSTS[host]
        self.body = get_peft_model(make(), LoraConfig(r=2, target_modules=targets))
        self.heads = nn.Linear(SIZES["hidden_size"], 2)
        with torch.no_grad():  # as after a few steps; adapters begin at 0
            for parameter in self.adapters():
                parameter.normal_(std=0.3)

    def adapters(self):
        return [each for name, each in self.body.named_parameters() if "lora_" in name]

    def forward(self, words):
        return self.heads(self.body(input_ids=words).last_hidden_state[:, -1])


def losses(network, batch):
    words, targets = batch
    return (network(words) - targets).square()


def setting(host, dtype):
    network = Network(host).to(dtype).eval()
    words = torch.randint(WORDS, (2, SAMPLES, LENGTH))
    return network, *zip(words, torch.randn(2, SAMPLES, 2, dtype=dtype), strict=True)


def close(host, dtype):
    # Llama's norms compute in float32, whatever its parameters are.
    return tolerance(torch.float32 if host == "llama" else dtype, 1000)


def by_loops(network, batch, direction, shared):
    """Alignments ``(samples, tasks)``, of batches of one sample each."""
    found = torch.zeros_like(batch[1])
    for sample, (words, targets) in enumerate(zip(*batch, strict=True)):
        for task, loss in enumerate(losses(network, (words[None], targets[None]))[0]):
            gradients = torch.autograd.grad(loss, shared, retain_graph=True)
            pairs = zip(gradients, direction, strict=True)
            found[sample, task] = sum((gradient * part).sum() for gradient, part in pairs)
    return found


def held_out_gradient(network, held_out, shared):
    return torch.autograd.grad(losses(network, held_out)[:, 0].mean(), shared)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("host", HOSTS)
def test_along_any_direction(host, dtype):
    network, batch, _ = setting(host, dtype)
    shared = network.adapters()
    assert shared
    assert all(each.requires_grad for each in shared)
    direction = random_direction(shared)
    _, _, found = alignments(losses, network, batch, direction, shared=shared)
    expected = by_loops(network, batch, direction, shared)
    torch.testing.assert_close(found, expected, **close(host, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", ["adapters", "border", "all"])
def test_with_the_held_out_gradient(host, dtype, kind):
    network, batch, held_out = setting(host, dtype)
    adapters = network.adapters()
    shared = adapters if kind == "adapters" else kind
    gate = SLGate(losses, network, main=0, shared=shared, tasks=2).to(dtype)
    gate(batch, held_out).backward()
    parameters = list(gate._shared)
    # The heads do not share, and what is frozen learns nothing.
    assert set(parameters) <= set(adapters)
    assert (len(parameters) < len(adapters)) == (kind == "border")
    direction = held_out_gradient(network, held_out, parameters)
    expected = by_loops(network, batch, direction, parameters)
    torch.testing.assert_close(gate.alignments, expected, **close(host, dtype))
    assert all(each.grad is not None for each in adapters)
