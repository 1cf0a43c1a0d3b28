"""Where what is computed once is kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """What the environment variable ``EQUIPOISE_CACHE`` names, or the user's own for Equipoise."""
    return Path(os.environ.get("EQUIPOISE_CACHE") or platformdirs.user_cache_dir("equipoise"))
