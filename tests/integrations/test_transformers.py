"""The Trainer: checkpoints, logs, evaluation and micro-batches, against plain loops."""

import math
import os
import warnings

import pytest
import torch
from gloo import on_two_processes
from torch import nn
from transformers import TrainerCallback, TrainingArguments

import equipoise
from equipoise import SLAW, Constant, SLGrad, Uncertainty
from equipoise.integrations.transformers import WeightedTrainer
from equipoise.testing import tolerance

TASKS = ["a", "b"]
SAMPLES = 48


class Network(nn.Module):
    """One whose forward takes any argument, as those of the library do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2))

    def forward(self, inputs, labels, **_):
        outputs = self.layers(inputs)
        errors = (outputs - labels).square().mean(0)
        return {"losses": dict(zip(TASKS, errors, strict=True)), "outputs": outputs}


class Seen(TrainerCallback):
    """What there is before and after each step of the optimizer."""

    def __init__(self, weighting):
        self.weighting, self.gradients, self.weights = weighting, [], []

    def on_pre_optimizer_step(self, *_, model, **__):
        self.gradients.append([each.grad.clone() for each in model.parameters()])

    def on_step_end(self, *_, **__):
        self.weights.append(self.weighting.weights)


def data():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(SAMPLES, 4, generator=generator)
    labels = torch.randn(SAMPLES, 2, generator=generator) * torch.tensor([10.0, 1.0])
    return [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]


def trainer(folder, weighting, *, dropout=0.1, given=None, **options):
    model = Network()
    model.layers[2].p = dropout
    defaults = {
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "max_grad_norm": 1e9,
        "logging_steps": 1,
        "save_strategy": "no",
        "num_train_epochs": 1,
    }
    arguments = TrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, report_to="none", **defaults | options
    )
    return WeightedTrainer(
        model,
        arguments,
        weighting=weighting,
        train_dataset=data(),
        eval_dataset=data(),
        callbacks=[Seen(weighting)],
        **given or {},
    )


def seen(trained):
    return next(each for each in trained.callback_handler.callbacks if isinstance(each, Seen))


def equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", [SLAW, Uncertainty])
@pytest.mark.parametrize("parts", [1, 2])
def test_stopped_and_resumed_is_as_never_stopped(kind, parts, tmp_path):
    options = {
        "num_train_epochs": 2,
        "gradient_accumulation_steps": parts,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    straight = trainer(tmp_path / "straight", kind(TASKS), **options)
    straight.train()

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 5

    stopped = trainer(tmp_path / "stopped", kind(TASKS), **options)
    stopped.add_callback(Stop())
    stopped.train()
    resumed = trainer(tmp_path / "stopped", kind(TASKS), **options)
    resumed.train(resume_from_checkpoint=True)

    assert resumed.state.global_step == straight.state.global_step == 24 // parts
    assert equal(straight.weighting.state_dict(), resumed.weighting.state_dict())
    assert equal(straight.model.state_dict(), resumed.model.state_dict())
    saved = torch.load(tmp_path / "stopped" / "checkpoint-5" / "equipoise.pt", weights_only=True)
    assert equal(stopped.weighting.state_dict(), saved)


def test_gradients_of_micro_batches_are_those_of_the_whole(tmp_path):
    options = {"dropout": 0, "optim": "sgd"}
    whole = trainer(tmp_path, Constant(TASKS), per_device_train_batch_size=16, **options)
    parts = trainer(tmp_path, Constant(TASKS), gradient_accumulation_steps=4, **options)
    for each in (whole, parts):
        each.train()
    assert len(seen(whole).gradients) == len(seen(parts).gradients) == 3
    for pair in zip(seen(whole).gradients, seen(parts).gradients, strict=True):
        torch.testing.assert_close(*pair, **tolerance(torch.float32, 1000))


def test_micro_batches_enter_the_statistics_together(tmp_path):
    # Without a step of the network the losses of both are the same.
    options = {"dropout": 0, "learning_rate": 0.0, "num_train_epochs": 3}
    whole = trainer(tmp_path, SLAW(TASKS), per_device_train_batch_size=16, **options)
    parts = trainer(tmp_path, SLAW(TASKS), gradient_accumulation_steps=4, **options)
    for each in (whole, parts):
        each.train()
    found, expected = (torch.stack(seen(each).weights) for each in (parts, whole))
    assert len(found.unique(dim=0)) > 5
    torch.testing.assert_close(found, expected, **tolerance(torch.float32, 10_000))


def test_the_last_step_of_an_epoch_may_have_fewer(tmp_path):
    trained = trainer(tmp_path, SLAW(TASKS), gradient_accumulation_steps=5, num_train_epochs=2)
    trained.train()
    assert trained.weighting.moments.updates.tolist() == [6, 6]


def test_evaluation_does_not_enter(tmp_path):
    alone = trainer(tmp_path, SLAW(TASKS), dropout=0)
    alone.train()
    measured = {
        "compute_metrics": lambda found: {"shape": sum(found.predictions.shape)},
    }
    both = trainer(
        tmp_path, SLAW(TASKS), dropout=0, eval_strategy="steps", eval_steps=5, given=measured
    )
    both.model.config = type("Config", (), {"keys_to_ignore_at_inference": ["losses"]})
    both.train()
    before = {name: each.clone() for name, each in both.weighting.state_dict().items()}
    found = both.evaluate()
    assert found["eval_shape"] == SAMPLES + len(TASKS)
    assert math.isfinite(found["eval_loss"])
    assert equal(before, both.weighting.state_dict())
    assert equal(alone.weighting.state_dict(), both.weighting.state_dict())


def test_losses_and_weights_are_logged_with_the_loss(tmp_path):
    trained = trainer(tmp_path, SLAW(TASKS), logging_steps=3)
    trained.train()
    logs = [each for each in trained.state.log_history if "loss" in each]
    assert [each["step"] for each in logs] == [3, 6, 9, 12]
    names = {f"{kind}/{task}" for kind in ("loss", "weight") for task in TASKS}
    assert all(names <= set(each) for each in logs)
    for each in logs:
        weights = seen(trained).weights[each["step"] - 1].tolist()
        assert [each[f"weight/{task}"] for task in TASKS] == weights
    assert not names & set(trained.state.log_history[-1])


def test_parameters_of_its_own_are_learned(tmp_path):
    trained = trainer(tmp_path, Uncertainty(TASKS))
    trained.train()
    assert not torch.equal(trained.weighting.weights, torch.ones(2))


def test_one_that_looks_at_more_than_losses_is_refused(tmp_path):
    model = Network()
    slgrad = SLGrad(lambda model, batch: model(**batch), model, main="a")
    with pytest.raises(TypeError, match="SLGrad takes more than losses"):
        trainer(tmp_path, slgrad)


def test_another_host_trainer_behind_it(tmp_path):
    class Steps(equipoise.integrations.transformers.Trainer):
        steps = 0

        def training_step(self, *arguments, **options):
            self.steps += 1
            return super().training_step(*arguments, **options)

    class Both(WeightedTrainer, Steps):
        pass

    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, disable_tqdm=True, report_to="none", max_steps=3
    )
    both = Both(Network(), arguments, weighting=SLAW(TASKS), train_dataset=data())
    both.train()
    assert both.steps == 3
    assert both.weighting.moments.updates.tolist() == [3, 3]


def work(rank, folder):
    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    options = {"per_device_train_batch_size": 2, "ddp_backend": "gloo"}
    trained = trainer(folder, SLAW(TASKS), dropout=0, gradient_accumulation_steps=2, **options)
    assert trained.args.world_size == 2
    trained.train()
    return torch.stack(seen(trained).weights)


def test_two_processes_train_as_one(tmp_path):
    first, second = on_two_processes(work, tmp_path, str(tmp_path))
    assert torch.equal(first, second)
    alone = trainer(tmp_path, SLAW(TASKS), dropout=0, gradient_accumulation_steps=2)
    alone.train()
    expected = torch.stack(seen(alone).weights)
    torch.testing.assert_close(first, expected, **tolerance(torch.float32, 10_000))
