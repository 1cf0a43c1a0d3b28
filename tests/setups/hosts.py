"""The same training in the loops of others: what each found, step by step, and a plain loop's.

Each is a pair of functions of a method. They give task weights and gradients, ``(steps, …)``; after
LBFGS, whose gradients are those of many looks, and from scikit-learn, which shows none, weights and
parameters.
"""

import tempfile
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule, Trainer
from peft import LoraConfig, get_peft_model
from setups.loop import (
    LR,
    STEPS,
    TASKS,
    Network,
    batch,
    losses,
    made,
    plain,
    recorded,
    step_of,
)
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, SequentialSampler
from transformers import TrainerCallback, TrainingArguments

import equipoise
from equipoise.integrations.lightning import WeightingCallback
from equipoise.integrations.transformers import WeightedTrainer
from equipoise.sklearn import MultiTaskRegressor

RANK = 2


def network_and_weighting(method):
    network = Network().double()
    return network, made(method, network, network.shared).double()


def descent(network, weighting):
    return torch.optim.SGD([*network.parameters(), *weighting.parameters()], lr=LR)


def state(weighting, network):
    """Weights and parameters, as a vector."""
    parameters = parameters_to_vector(network.parameters()).detach()
    return torch.cat([weighting.task_weights.detach(), parameters]).double()


class Module(LightningModule):
    def __init__(self, method, optimizer):
        super().__init__()
        self.network, self.weighting = network_and_weighting(method)
        self.optimizer, self.gradients, self.states = optimizer, [], []

    def training_step(self, numbers, batch_idx):
        return self.weighting.weigh(step_of(int(numbers), self.network))

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append(recorded(self.weighting, self.network.parameters()))

    def on_train_batch_end(self, *_):
        self.states.append(state(self.weighting, self.network))

    def configure_optimizers(self):
        return self.optimizer(self.network, self.weighting)


def fitted(method, optimizer):
    module = Module(method, optimizer)
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=1,
        callbacks=[WeightingCallback()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(range(STEPS)))
    return module


def lightning(method):
    return torch.stack(fitted(method, descent).gradients)


def with_history(network, weighting):
    return torch.optim.LBFGS([*network.parameters(), *weighting.parameters()], lr=LR, max_iter=4)


def lbfgs(method):
    return torch.stack(fitted(method, with_history).states)


def lbfgs_by_hand(method):
    network, weighting = network_and_weighting(method)
    optimizer = with_history(network, weighting)
    found = []
    for number in range(STEPS):
        weighting.weigh(step_of(number, network))
        weights = weighting.task_weights

        def closure(number=number, weights=weights):
            optimizer.zero_grad()
            total = step_of(number, network).losses.dot(weights)
            total.backward()
            return total

        optimizer.step(closure)
        found.append(state(weighting, network))
    return torch.stack(found)


def fabric(method):
    host = Fabric(accelerator="cpu", devices=1, precision="64-true")
    network = Network()
    model = host.setup(network)
    weighting = made(method, model, network.shared).double()
    optimizer = host.setup_optimizers(descent(network, weighting))
    return stepped(model, [*network.parameters()], weighting, optimizer, host.backward)


def accelerate(method):
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    host = Accelerator(cpu=True)
    network = Network().double()
    model = host.prepare(network)
    weighting = made(method, model, network.shared).double()
    optimizer = host.prepare(descent(network, weighting))
    return stepped(model, [*network.parameters()], weighting, optimizer, host.backward)


def stepped(model, parameters, weighting, optimizer, backward=Tensor.backward):
    """Task weights and gradients, step by step."""
    found = []
    for number in range(STEPS):
        optimizer.zero_grad()
        backward(weighting.weigh(step_of(number, model)))
        found.append(recorded(weighting, parameters))
        optimizer.step()
    return torch.stack(found)


class Model(nn.Module):
    """One whose forward pass gives losses, as those of Transformers do."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs, labels):
        return {"losses": losses(self.network, (inputs, labels))[0]}


class Recorder(TrainerCallback):
    def __init__(self, weighting):
        self.weighting, self.found = weighting, []

    def on_pre_optimizer_step(self, *_, model, **__):
        self.found.append(recorded(self.weighting, model.parameters()))


class InOrder(WeightedTrainer):
    def _get_train_sampler(self, data=None):
        return SequentialSampler(self.train_dataset)


def transformers(method):
    network, weighting = network_and_weighting(method)
    pairs = [batch(number, slice(None), torch.float64) for number in range(STEPS)]
    rows = [{"inputs": x, "labels": y} for pair in pairs for x, y in zip(*pair, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            per_device_train_batch_size=len(pairs[0][0]),
            num_train_epochs=1,
            learning_rate=LR,
            lr_scheduler_type="constant",
            optim="sgd",
            max_grad_norm=0,
            save_strategy="no",
        )
        recorder = Recorder(weighting)
        InOrder(
            Model(network),
            arguments,
            weighting=weighting,
            train_dataset=rows,
            callbacks=[recorder],
        ).train()
    return torch.stack(recorder.found)


class Adapted(nn.Module):
    """A frozen layer, and beside it what PEFT calls an adapter."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, RANK, bias=False)
        self.up = nn.Linear(RANK, layer.out_features, bias=False)

    def forward(self, inputs):
        return self.layer(inputs) + self.up(self.down(inputs))


def adapted_by_hand(method):
    network = Network()
    network.first, network.second = Adapted(network.first), Adapted(network.second)
    adapters = [network.first.down, network.first.up, network.second.down, network.second.up]
    return with_adapters(method, network, [each.weight for each in adapters])


def peft(method):
    network = Network()
    settings = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=["first", "second"], modules_to_save=["head"]
    )
    model = get_peft_model(network, settings)
    adapters = [each for name, each in model.named_parameters() if "lora_" in name]
    return with_adapters(method, model, adapters)


def with_adapters(method, model, adapters):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # as after a few steps; they begin at 0
        for each in adapters:
            each.copy_(torch.randn(each.shape, generator=generator))
    model.double()
    torch.manual_seed(1)  # of PCGrad's order
    weighting = made(method, model, adapters).double()
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD([*parameters, *weighting.parameters()], lr=LR)
    return stepped(model, parameters, weighting, optimizer)


def table_rows():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 4))
    return inputs, inputs @ rng.normal(size=(4, TASKS)) + rng.normal(size=(40, TASKS))


in_order = patch.object(torch, "randperm", lambda size, **_: torch.arange(size))
"""With rows, and the gradients of PCGrad, in their own order."""


def estimator(method, steps=20, lr=0.01):
    kind = method if "/" in method else getattr(equipoise, method)
    return MultiTaskRegressor(
        kind,
        hidden_layer_sizes=(8, 8),
        steps=steps,
        batch_size=40,  # all rows, whose order does not matter
        learning_rate_init=lr,
        validation_fraction=0,
        random_state=0,
    ).fit(*table_rows())


@in_order
def scikit_learn(method):
    found = estimator(method)
    weights = torch.tensor([*found.weights_by_target_.values()])
    return torch.cat([weights, parameters_to_vector(found._trained.network.parameters()).detach()])


@in_order
def scikit_learn_by_hand(method):
    start = estimator(method, steps=1, lr=1e-300)._trained.network.float()
    inputs, targets = (
        torch.tensor((each - each.mean(0)) / each.std(0)).float() for each in table_rows()
    )

    def errors(network, rows):
        return (network(rows[0])["regression"] - rows[1]) ** 2, None

    shared = list(start.trunk.parameters())
    weighting = made(method, start, shared, errors)
    optimizer = torch.optim.Adam([*start.parameters(), *weighting.parameters()], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        weighting.weigh(equipoise.Step(errors, start, (inputs, targets))).backward()
        optimizer.step()
    return state(weighting, start)


HOSTS = {
    "LoRA (PEFT)": (peft, adapted_by_hand),
    "Lightning": (lightning, plain),
    "Lightning, LBFGS": (lbfgs, lbfgs_by_hand),
    "Fabric": (fabric, plain),
    "Accelerate": (accelerate, plain),
    "Transformers": (transformers, plain),
    "scikit-learn": (scikit_learn, scikit_learn_by_hand),
}
