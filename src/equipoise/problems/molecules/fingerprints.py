"""ECFP fingerprints of molecules, computed once and kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import rdkit
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator
from rich.console import Console
from rich.progress import track

from equipoise.problems.cache import cache_folder

RADIUS, BITS = 4, 2048
BATCH = 1_000
MANY = 30_000
"""Molecules beyond which it pays to start processes: one alone does about 5,000 a second."""

Packed: TypeAlias = NDArray[np.uint8]
"""Bits by eight to a byte, the first one highest, as ``numpy.packbits`` packs them."""


def fingerprints(smiles: Sequence[str]) -> Packed:
    """ECFP of radius 4 and 2,048 bits, from the cache where they are in it.

    The cache is the folder that the environment variable ``EQUIPOISE_CACHE`` names, or else the
    user's own for Equipoise.

    Returns:
        uint8 ``(molecules, 256)``, 2,048 bits packed. A molecule has a bit at least: a row without
        any stands for a SMILES that is empty or does not parse.
    """
    path = cache_folder() / f"ecfp-{_key(smiles)}.npz"
    packed = _load(path, len(smiles))
    if packed is None:
        packed = _compute(smiles)
        # A cache that cannot be written costs time, not the result.
        with contextlib.suppress(OSError):
            _store(path, packed)
    return packed


def _key(smiles: Sequence[str]) -> str:
    content = json.dumps([rdkit.__version__, RADIUS, BITS, *smiles])
    return hashlib.sha256(content.encode()).hexdigest()


def _load(path: Path, molecules: int) -> Packed | None:
    """What is in the cache; ``None`` if that is nothing, or nothing whole."""
    try:
        # NumPy leaves a path open that it finds damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            packed: Packed = arrays["packed"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    whole = packed.dtype == np.uint8 and packed.shape == (molecules, BITS // 8)
    return packed if whole else None


def _store(path: Path, packed: Packed) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder, path.name)
        np.savez_compressed(whole, packed=packed)
        os.replace(whole, path)


def _compute(smiles: Sequence[str]) -> Packed:
    batches = [smiles[start : start + BATCH] for start in range(0, len(smiles), BATCH)]
    parallel = Parallel(n_jobs=-1 if len(smiles) > MANY else 1, return_as="generator")
    console = Console(stderr=True)
    computed = track(
        parallel(delayed(_ecfp)(batch) for batch in batches),
        description="Fingerprints",
        total=len(batches),
        console=console,
        transient=console.is_terminal,
    )
    return np.concatenate([np.empty((0, BITS // 8), np.uint8), *computed])


def _ecfp(smiles: Sequence[str]) -> Packed:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    packed = np.zeros((len(smiles), BITS // 8), np.uint8)
    with rdBase.BlockLogs():
        for row, molecule in zip(packed, map(Chem.MolFromSmiles, smiles), strict=True):
            if molecule is not None:
                row[:] = np.packbits(generator.GetFingerprintAsNumPy(molecule))
    return packed
