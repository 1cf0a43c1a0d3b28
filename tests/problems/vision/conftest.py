"""A folder of made-up scenes."""

import pytest
from problems.vision.made_up import scene, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nyuv2")
    write(folder, "train", [scene(seed) for seed in range(20)])
    write(folder, "val", [scene(100 + seed) for seed in range(6)])
    return folder
