"""What a weighting of samples costs: time and peak memory of a whole step, over a plain step.

    python benchmarks/sample_cost.py

The held-out batch is as large as the training batch, or where that is said 16 samples. Steps take
turns, and a ratio is the median over rounds, as in ``step_cost.py``; memory is counted as in
``memory.py``. A plain step is the sum over the tasks of their mean losses. The second table is the
time of the alignments alone, with the losses: from the forward engine, from a backward pass for
each sample of each task, and from the gradients of all of them at once by ``vmap``.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
from memory import peak_of
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from settings import Setting, threads, virtual_screening
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import BertConfig, BertModel

from equipoise import HeldOutWeighting, SLGate, SLGrad, alignments, task_losses
from equipoise.directional import random_direction
from equipoise.problems.images.lenet import LeNet
from equipoise.problems.memory import free_memory, gigabytes

ROUNDS = 30
FEW = 16
"""Samples of a small held-out batch."""
PASSES = 40
"""Backward passes of the loop that are timed; all of them take as much longer as they are more."""


class Transformer(nn.Module):
    """Two layers of width 128 on sequences of 32, and a head for each of 4 tasks."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0, batch_first=True)
        self.trunk = nn.TransformerEncoder(layer, 2)
        self.heads = nn.Linear(128, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(samples, tasks)``."""
        return self.heads(self.trunk(inputs).mean(1))


def losses(network: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, None]:
    """Cross-entropies ``(samples, tasks)``."""
    inputs, labels = batch
    return binary_cross_entropy_with_logits(network(inputs), labels, reduction="none"), None


def convolutional(samples: int) -> Setting:
    """A LeNet on images of 32 × 32 with 10 tasks."""
    images = torch.randint(0, 256, (samples, 3, 32, 32), dtype=torch.uint8)
    batch = images, _labels(samples, 10)
    return _setting(f"convolutions, {samples} × 10", LeNet(images, (10,)), batch)


def transformer() -> Setting:
    """The transformer on 32 sequences."""
    return _setting(
        "transformer, 32 × 4", Transformer(), (torch.randn(32, 32, 128), _labels(32, 4))
    )


class Adapted(nn.Module):
    """A small BERT whose attention has adapters of rank 8, and a head for each of 4 tasks.

    What the tasks share begins in the attention of its last layer, not behind it, so that a quarter
    of the network follows.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
        config = BertConfig(vocab_size=1_000, intermediate_size=512, **sizes)
        lora = LoraConfig(r=8, target_modules=["query", "value"])
        self.trunk = get_peft_model(BertModel(config, add_pooling_layer=False), lora)
        self.heads = nn.Linear(128, 4)

    def forward(self, words: Tensor) -> Tensor:
        """Logits ``(samples, tasks)``."""
        return self.heads(self.trunk(input_ids=words).last_hidden_state.mean(1))


def lora() -> Setting:
    """The adapters of a BERT on 32 sequences."""
    batch = torch.randint(0, 1_000, (32, 32)), _labels(32, 4)
    network = Adapted().eval()  # without dropout, as the transformer
    return _setting("LoRA, 32 × 4", network, batch)


def _labels(samples: int, tasks: int) -> Tensor:
    return torch.randint(0, 2, (samples, tasks)).float()


def _setting(name: str, network: nn.Module, batch: tuple[Tensor, ...]) -> Setting:
    return Setting(
        name=name,
        tasks=batch[1].shape[1],
        network=network,
        shared=[each for each in network.trunk.parameters() if each.requires_grad],
        losses=losses,
        batch=batch,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9),
        rounds=ROUNDS,
    )


def steps(setting: Setting) -> dict[str, Callable[[], None]]:
    """By name, what takes a whole step."""
    held_out = tuple(part.flip(0) for part in setting.batch)
    few = tuple(part[:FEW] for part in held_out)

    def made(kind: type[HeldOutWeighting], **options: Any) -> HeldOutWeighting:
        usual = {"main": 0, "shared": setting.shared, "tasks": setting.tasks}
        return kind(setting.losses, setting.network, **{**usual, **options})

    weightings = {
        "slgrad": (made(SLGrad), held_out),
        "slgate": (made(SLGate), held_out),
        f"slgate, {FEW} held out": (made(SLGate), few),
        "slgate, border": (made(SLGate, shared="border"), held_out),
        f"slgate, border, {FEW} held out": (made(SLGate, shared="border"), few),
        "slgate, reverse": (made(SLGate, engine="reverse"), held_out),
        "slgrad, look-ahead": (made(SLGrad, lookahead=1e-3), held_out),
    }

    def step_of(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def step() -> None:
            setting.optimizer.zero_grad()
            loss().backward()
            setting.optimizer.step()

        return step

    def plain() -> Tensor:
        means, _ = task_losses(*setting.losses(setting.network, setting.batch))
        return means.sum()

    weighed = {
        name: step_of(partial(weighting, setting.batch, each))
        for name, (weighting, each) in weightings.items()
    }
    return {"plain": step_of(plain), **weighed, "plain, again": step_of(plain)}


def times(setting: Setting, work: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of every step, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(-3, setting.rounds):
        for name in list(work)[:: 1 if number % 2 else -1]:
            taken = _seconds(work[name])
            if number >= 0:  # the rounds before warm up
                seconds[name].append(taken)
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def of_alignments(setting: Setting) -> dict[str, str]:
    """Milliseconds of the alignments from each of three ways."""
    direction = random_direction(setting.shared, 0)

    def forward() -> None:
        alignments(
            setting.losses,
            setting.network,
            setting.batch,
            direction,
            shared=setting.shared,
            engine="forward",
            check=False,
        )

    forward()
    one_pass = statistics.median(_seconds(forward) for _ in range(10))

    values, _ = setting.losses(setting.network, setting.batch)
    chosen = list(product(*map(range, values.shape)))[:PASSES]

    def loop() -> None:
        for place in chosen:
            gradients = torch.autograd.grad(values[place], setting.shared, retain_graph=True)
            sum((one * part).sum() for one, part in zip(gradients, direction, strict=True))

    passes = _seconds(loop) / len(chosen) * values.numel()
    return {
        "forward engine": f"{1000 * one_pass:,.1f} ms",
        "backward passes": f"{1000 * passes:,.0f} ms, {passes / one_pass:,.0f} times as long",
        "vmap": _by_vmap(setting, direction, one_pass),
    }


def _by_vmap(setting: Setting, direction: list[Tensor], one_pass: float) -> str:
    samples = len(setting.batch[0])
    need = samples * setting.jacobian
    if 2 * need > free_memory():
        return f"needs {gigabytes(need)}"
    names = {parameter: name for name, parameter in setting.network.named_parameters()}
    shared = {names[parameter]: parameter.detach() for parameter in setting.shared}

    def of_one(shared: dict[str, Tensor], *sample: Tensor) -> Tensor:
        batch = tuple(part[None] for part in sample)

        def of_network(inputs: Tensor) -> Tensor:
            return functional_call(setting.network, shared, (inputs,))

        return setting.losses(of_network, batch)[0][0]

    def run() -> None:
        jacobians = vmap(jacrev(of_one), in_dims=(None, *[0] * len(setting.batch)))(
            shared, *setting.batch
        )
        sum(
            (jacobians[names[parameter]] * part).flatten(2).sum(2)
            for parameter, part in zip(setting.shared, direction, strict=True)
        )

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        run()
        taken = _seconds(run)
    return f"{1000 * taken:,.0f} ms, {taken / one_pass:,.0f} times as long"


def main() -> None:
    """Measure, and print the tables."""
    console = Console(highlight=False, width=180)
    convolutions = [convolutional(64), convolutional(256)]
    settings = [*convolutions, virtual_screening(617, ROUNDS), transformer(), lora()]
    columns = []
    for setting in settings:
        work = steps(setting)
        seconds = times(setting, work)
        peaks = {name: peak_of(step, setting.network) for name, step in work.items()}
        columns.append(
            {
                name: f"{_ratio(own, seconds['plain'])}, {peaks[name] / peaks['plain']:.2f}"
                for name, own in seconds.items()
            }
            | {"plain step, ms": f"{1000 * statistics.median(seconds['plain']):.1f}"}
        )
    names = [setting.name for setting in settings]
    title = f"Time and peak memory of a step over a plain one, {threads()}"
    _print(console, title, names, columns)
    alone = [of_alignments(setting) for setting in settings]
    _print(console, "The alignments alone", names, alone)


def _ratio(own: list[float], plain: list[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(own, plain, strict=True)):.2f}"


def _print(console: Console, title: str, names: list[str], columns: list[dict[str, str]]) -> None:
    table = Table("", *names, title=title)
    for row in columns[0]:
        table.add_row(row, *(column[row] for column in columns))
    console.print(table)


if __name__ == "__main__":
    main()
