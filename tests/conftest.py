import os

import hypothesis
import pytest
import torch

import equipoise.losses

torch.set_num_threads(int(os.environ.get("EQUIPOISE_THREADS", "1")))
hypothesis.settings.register_profile(
    "equipoise", deadline=None, max_examples=40, database=None, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("equipoise")


@pytest.fixture(autouse=True)
def _seed(monkeypatch):
    torch.manual_seed(0)
    # Or what a test is warned of would depend on those that ran before it.
    monkeypatch.setattr(equipoise.losses, "_looks", equipoise.losses.LOOKS)
