"""What the SLAW paper's screening needs of a file, and what PCBA is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from equipoise.errors import UserError
from equipoise.problems.frames.columns import check_column, some
from equipoise.problems.frames.reading import called, read_frame
from equipoise.problems.molecules.labels import read_labels

PREFIX = "PCBA-"
"""Of the names of PCBA's columns of labels, in the file of MoleculeNet."""
ASSAYS, MOLECULES = 128, 437_929


def smiles_column(frame: pd.DataFrame, smiles: str | None, where: str) -> str:
    """The column of SMILES: the one that is named, or else the one called so.

    Raises:
        UserError: if there is none, or more than one.
    """
    if smiles is not None:
        check_column(smiles, frame, "`smiles`", where)
        return smiles
    found = [name for name in frame.columns if name.lower() == "smiles"]
    if len(found) != 1:
        raise UserError(
            f"{where} has {len(found) or 'no'} columns called smiles; name the column of SMILES "
            f"with `smiles`, one of {some(frame.columns)}"
        )
    return str(found[0])


def check_assays(data: Path, least: int) -> None:
    """Refuse a file without a column of SMILES, or with fewer columns of labels.

    Raises:
        UserError: in a sentence, also if it cannot be read.
    """
    frame, where = read_frame(data), called(data)
    labels, _ = read_labels(frame.drop(columns=smiles_column(frame, None, where)), None, where)
    if labels.shape[1] < least:
        raise UserError(
            f"{where} has {labels.shape[1]} columns of labels, and {least} are needed: "
            f"{some(labels.columns)}"
        )


def pcba_notes(frame: pd.DataFrame) -> list[str]:
    """Whether a table with columns of PCBA is all of it; none where it has no such column."""
    assays = sum(name.startswith(PREFIX) for name in frame.columns)
    if not assays:
        return []
    whole = f"{ASSAYS} assays and {MOLECULES:,} molecules"
    if (assays, len(frame)) == (ASSAYS, MOLECULES):
        return [f"This is PCBA as MoleculeNet has it: {whole}."]
    return [
        f"PCBA has {whole} in MoleculeNet's file; this one has {assays:,} of the columns and "
        f"{len(frame):,} rows."
    ]
