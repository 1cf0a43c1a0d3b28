import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EQUIPOISE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def data_folder():
    folder = Path(os.environ.get("EQUIPOISE_DATA", SHARED))
    if not (folder / "clintox.csv.gz").is_file():
        pytest.skip(f"no data sets in {folder}; EQUIPOISE_DATA names their folder")
    return folder
