"""Which rows are of the same molecule, and which molecules of the same scaffold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rdkit import Chem, rdBase
from rdkit.Chem import Draw
from rdkit.Chem.Scaffolds import MurckoScaffold

SIDE = 160
"""Of a picture, in pixels."""
_canonical: Callable[[str], str] = Chem.CanonSmiles
_image: Callable[..., Image.Image] = Draw.MolToImage
_scaffold: Callable[[str], str] = MurckoScaffold.MurckoScaffoldSmiles


def molecules_of(smiles: Sequence[str], fingerprints: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A number for each row, equal where canonical SMILES are; 0, 1, … in order of occurrence."""
    # The same molecule has the same fingerprint: what has one of its own needs no canonical SMILES.
    prints = [row.tobytes() for row in fingerprints]
    times = Counter(prints)
    with rdBase.BlockLogs():
        names = [
            _canonical(text) if times[print_] > 1 else print_
            for text, print_ in zip(smiles, prints, strict=True)
        ]
    return _numbered(names)


def scaffolds_of(smiles: Sequence[str]) -> NDArray[np.int64]:
    """A number for each row, equal where Bemis-Murcko scaffolds are; one for all without a ring."""
    with rdBase.BlockLogs():
        return _numbered([_scaffold(text) for text in smiles])


def drawn(smiles: str) -> NDArray[np.uint8]:
    """A picture of a molecule ``(height, width, 3)``."""
    with rdBase.BlockLogs():
        image = _image(Chem.MolFromSmiles(smiles), size=(SIDE, SIDE))
    return np.asarray(image.convert("RGB"))


def _numbered(names: Sequence[str | bytes]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = pd.factorize(pd.Series(names, dtype=object))[0]
    return numbers
