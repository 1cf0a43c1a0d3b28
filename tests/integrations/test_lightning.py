"""Lightning: checkpoints, logs, micro-batches, LBFGS, against plain loops."""

import copy
import csv
import os
import warnings

import pytest
import torch
from gloo import on_two_processes
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from equipoise import SLAW
from equipoise.integrations.lightning import WeightingCallback, closing
from equipoise.testing import tolerance

pytestmark = [
    # Of a tiny run on a machine that could do more, and of a checkpoint in another folder.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # Lightning 2.6 uses what PyTorch 2.13 is about to drop.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]
BATCHES, BATCH = 5, 4


def dataset():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(BATCHES * BATCH, 4, generator=generator)
    return TensorDataset(inputs, torch.randn(len(inputs), 2, generator=generator) * 10)


class Network(LightningModule):
    def __init__(self, *, part=True, optimizer=torch.optim.SGD, parts=False):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        weighting = SLAW(["a", "b"])
        self.hidden = (weighting,)  # where PyTorch does not look for modules
        if part:
            self.weighting = weighting
        self.optimizer, self.parts, self.calls, self.seen = optimizer, parts, 0, []

    def losses(self, batch):
        return (self.layers(batch[0]) - batch[1]).square().mean(0)

    def training_step(self, batch, batch_idx):
        weighting, losses = self.hidden[0], self.losses(batch)
        self.calls += 1
        if not self.parts:
            return weighting(losses)
        with weighting.accumulate(closing=closing(self.trainer, batch_idx)):
            return weighting(losses)

    def on_train_batch_end(self, *_):
        self.seen.append(self.hidden[0].metrics())

    def validation_step(self, batch, batch_idx):
        self.log("val", self.hidden[0](self.losses(batch)))

    def configure_optimizers(self):
        return self.optimizer(self.layers.parameters(), lr=0.01)


def fit(
    module,
    folder,
    *,
    epochs=1,
    data=None,
    size=BATCH,
    resume=None,
    validate=False,
    callback=None,
    **options,
):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback or WeightingCallback(module.hidden[0])],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, "enable_checkpointing": False} | options,
    )
    loader = DataLoader(data or dataset(), size)
    held_out = DataLoader(dataset(), BATCH) if validate else None
    trainer.fit(module, loader, held_out, ckpt_path=resume)
    return trainer


def equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def updates(module):
    return module.hidden[0].moments.updates.tolist()


@pytest.mark.parametrize("part", [True, False], ids=["part of the module", "beside it"])
def test_stopped_and_resumed_is_as_never_stopped(part, tmp_path):
    straight, stopped, resumed = (Network(part=part) for _ in range(3))
    fit(straight, tmp_path, epochs=4)
    fit(stopped, tmp_path, epochs=2).save_checkpoint(tmp_path / "last.ckpt")
    fit(resumed, tmp_path, epochs=4, resume=tmp_path / "last.ckpt")
    assert updates(resumed) == [4 * BATCHES] * 2
    assert equal(straight.hidden[0].state_dict(), resumed.hidden[0].state_dict())
    assert equal(straight.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("part", [True, False])
def test_the_state_is_in_a_checkpoint_once(part, tmp_path):
    module = Network(part=part)
    fit(module, tmp_path).save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    inside = any(name.startswith("weighting.") for name in saved["state_dict"])
    beside = any("WeightingCallback" in name for name in saved["callbacks"])
    assert (inside, beside) == (part, not part)


def test_a_name_serves_as_the_weighting(tmp_path):
    module = Network()
    callback = WeightingCallback("weighting")
    fit(module, tmp_path, callback=callback)
    assert callback.weighting is module.weighting
    with pytest.raises(TypeError, match="layers is Sequential"):
        fit(module, tmp_path, callback=WeightingCallback("layers"))


def test_several_are_told_apart(tmp_path):
    module = Network(part=False)
    module.other = (SLAW(2),)
    callbacks = [WeightingCallback(f"{name}.0") for name in ("hidden", "other")]
    assert len({each.state_key for each in callbacks}) == 2


@pytest.mark.parametrize("part", [True, False])
def test_validation_does_not_enter(part, tmp_path):
    module, alone = Network(part=part), Network(part=part)
    fit(module, tmp_path, validate=True, val_check_interval=2, num_sanity_val_steps=2)
    fit(alone, tmp_path)
    assert module.hidden[0].training
    assert equal(alone.hidden[0].state_dict(), module.hidden[0].state_dict())


def test_one_that_does_not_learn_goes_on_not_to(tmp_path):
    module = Network(part=False)
    module.hidden[0].eval()
    fit(module, tmp_path, validate=True)
    assert updates(module) == [0, 0]
    assert not module.hidden[0].training


@pytest.mark.parametrize("limit", [1.0, 3])
def test_micro_batches_make_a_step_together(limit, tmp_path):
    module = Network(parts=True)
    layers, weighting = copy.deepcopy(module.layers), SLAW(2)
    fit(module, tmp_path, epochs=3, accumulate_grad_batches=2, limit_train_batches=limit)

    optimizer = torch.optim.SGD(layers.parameters(), lr=0.01)
    parts = list(DataLoader(dataset(), BATCH))[: BATCHES if limit == 1.0 else limit]
    for _ in range(3):
        for start in range(0, len(parts), 2):
            step = parts[start : start + 2]
            inputs, targets = (torch.cat(each) for each in zip(*step, strict=True))
            losses = (layers(inputs) - targets).square().mean(0)
            optimizer.zero_grad()
            # Lightning divides by two, also where an epoch ends with one.
            (weighting.weights.dot(losses) * len(step) / 2).backward()
            optimizer.step()
            weighting(losses.detach())
    assert updates(module) == [3 * -(-len(parts) // 2)] * 2
    close = tolerance(torch.float32, 1000)
    torch.testing.assert_close(module.layers.state_dict(), layers.state_dict(), **close)
    torch.testing.assert_close(module.weighting.weights, weighting.weights, **close)


def test_lbfgs_enters_a_batch_once(tmp_path):
    module = Network(optimizer=torch.optim.LBFGS)
    first, losses = [], module.losses

    def recorded(batch):
        if len(first) < len(module.seen) + 1:
            first.append(losses(batch).detach())
        return losses(batch)

    module.losses = recorded
    fit(module, tmp_path)
    assert module.calls > 2 * BATCHES
    assert updates(module) == [BATCHES] * 2
    weighting = SLAW(2)
    for each in first:
        weighting(each)
    torch.testing.assert_close(module.weighting.weights, weighting.weights)


def test_manual_optimization_is_left_alone(tmp_path):
    class Manual(Network):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            for _ in range(2):
                self.manual_backward(self.weighting(self.losses(batch)))

    module = Manual()
    fit(module, tmp_path)
    assert updates(module) == [2 * BATCHES] * 2


def test_an_interruption_leaves_it_learning(tmp_path):
    module = Network(part=False)
    module.on_after_backward = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fit(module, tmp_path)
    assert module.hidden[0].training


def test_metrics_are_logged_as_often_as_the_rest(tmp_path):
    module, logger = Network(), CSVLogger(tmp_path)
    fit(module, tmp_path, epochs=2, logger=logger, log_every_n_steps=3)
    with open(f"{logger.log_dir}/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 5, 8]
    for row in rows:
        expected = module.seen[int(row["step"])]
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-6)


def work(rank, folder):
    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    module = Network(parts=True)
    rows = torch.arange(BATCHES * BATCH).view(BATCHES, 2, -1)[:, rank].flatten()
    trainer = fit(
        module,
        folder,
        epochs=2,
        data=Subset(dataset(), rows.tolist()),
        size=BATCH // 2,
        accumulate_grad_batches=2,
        strategy="ddp",
        devices=2,
        use_distributed_sampler=False,  # which shuffles
    )
    assert trainer.world_size == 2
    return {**module.state_dict()}


def test_two_processes_train_as_one(tmp_path):
    first, second = on_two_processes(work, tmp_path, str(tmp_path))
    assert equal(first, second)
    alone = Network(parts=True)
    fit(alone, tmp_path, epochs=2, accumulate_grad_batches=2)
    torch.testing.assert_close(first, {**alone.state_dict()}, **tolerance(torch.float32, 1000))
