import os

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "equipoise", deadline=None, max_examples=40, database=None, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("equipoise")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
