"""Metrics go into TensorBoard, as into any logger that takes names and numbers."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from equipoise import SLAW

NAMES = ("loss/depth", "loss/normals", "weight/depth", "weight/normals")


def test_metrics_are_scalars(tmp_path):
    weighting, expected = SLAW(["depth", "normals"]), []
    with SummaryWriter(tmp_path) as writer:
        for step in range(5):
            losses = torch.rand(2) * torch.tensor([100.0, 1.0])
            weighting(losses)
            for name, value in weighting.metrics().items():
                writer.add_scalar(name, value, step)
            weights = weighting.weights.tolist()
            expected.append(dict(zip(NAMES, [*losses.tolist(), *weights], strict=True)))
    written = EventAccumulator(str(tmp_path)).Reload()
    assert set(written.Tags()["scalars"]) == set(NAMES)
    for name in NAMES:
        found = [event.value for event in written.Scalars(name)]
        assert found == pytest.approx([step[name] for step in expected], rel=1e-6)
