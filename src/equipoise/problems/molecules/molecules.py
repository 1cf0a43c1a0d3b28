"""Virtual screening: many assays of molecules, most labels missing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from equipoise.errors import UserError
from equipoise.losses import LossFunction
from equipoise.problems.columns import check_column, kind_of, read_labels, read_table, some, varied
from equipoise.problems.heldout import hold_out_groups, labelled_in
from equipoise.problems.problem import OVERALL, Data, Metrics, Problem, Recipe
from equipoise.problems.samples import samples_of
from equipoise.problems.scores import Score, score_of
from equipoise.problems.splits import split_by_group

WIDTH, FEATURES = 2000, 100
LEAST = 10
"""Molecules without which a tenth is nothing."""
CHUNK = 4096
"""Molecules that are evaluated at once."""

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Packed fingerprints, labels and the mask of the labels present."""

SCORES: dict[str, dict[str, Score]] = {
    "binary": {"average precision": (average_precision_score, 2), "ROC-AUC": (roc_auc_score, 2)},
    "regression": {"RMSE": (root_mean_squared_error, 1), "R²": (r2_score, 2)},
}
GOALS: dict[str, dict[str, Literal["min", "max"]]] = {
    "binary": {"average precision": "max", "ROC-AUC": "max"},
    "regression": {"RMSE": "min", "R²": "max"},
}


def molecules(
    data: Annotated[Path, "CSV or CSV.gz file with a column of SMILES and columns of labels"],
    smiles: Annotated[str | None, "the column of SMILES; by default the one called smiles"] = None,
    targets: Annotated[
        tuple[str, ...] | None, "the columns of labels; by default all of numbers but ids"
    ] = None,
    kind: Annotated[
        Literal["auto", "binary", "regression"],
        "what labels are; by default binary if there is nothing but 0 and 1",
    ] = "auto",
    split: Annotated[
        Literal["random", "scaffold"],
        "what stays whole in the split: molecules, or all molecules of a Bemis-Murcko scaffold",
    ] = "random",
    split_seed: Annotated[int, "seed of the split into training, validation and test"] = 0,
    main: Annotated[str | None, "the task that decides; the others are there to serve it"] = None,
    held_out: Annotated[
        float,
        "with --main, the share of the training part that is held out for the weightings of "
        "samples, and that no method trains on; 0 for none",
    ] = 0.2,
) -> Problem:
    """Virtual screening: assays of molecules from a CSV file, as in the SLAW paper's PCBA study.

    ECFP fingerprints (radius 4, 2,048 bits) go through shared layers of 2000 and 100 and one head
    per task. Labels may be missing: an empty cell counts nowhere. See
    https://arxiv.org/abs/2109.08218.

    Of the molecules a tenth each is held out at random for validation and for the test. Rows of
    the same molecule, by canonical SMILES, are always in the same part; with --split scaffold so
    are all molecules of a scaffold, the ring systems and what links them, which is harder and
    nearer to the search for new compounds. Scaffolds of more than a twentieth of a file are trained
    on as far as possible. With --main a share of the training part is held out in the
    same way: rows with a label of the main task.

    Binary labels: cross-entropy; a label of class c of a task weighs n / (2 n_c) with
    the task's n labels in the training part, so that both classes weigh the same and the mean over
    its labels is 1. Metrics: average precision and area under the ROC curve, of each task and of
    the logits of all labelled pairs of molecule and task pooled.

    Regression: squared error on targets standardised by each task's mean and standard deviation
    in the training part. Metrics: root mean squared error in the units of the file, and R², of each
    task; both, over all tasks, of all labelled pairs pooled, in standardised units.

    A metric of a task is NaN where the part has no label of it, or one class or value only (RMSE
    excepted). What was left out of the file is said in the problem's notes.

    Raises:
        UserError: if the file or its columns cannot be used so.
    """
    try:
        from equipoise.problems.molecules.fingerprints import BITS, fingerprints
        from equipoise.problems.molecules.structures import molecules_of, scaffolds_of
    except ImportError as error:
        raise UserError(
            f"the problem molecules needs more packages ({error}): "
            "pip install 'equipoise[molecules]'"
        ) from error

    frame = read_table(data)
    smiles = _smiles_column(frame, smiles, data)
    labels, left_out = read_labels(frame.drop(columns=smiles), targets, data)
    kind = kind_of(labels, kind)
    texts = frame[smiles].astype("string").fillna("")
    packed = fingerprints(texts.tolist())

    parsed = packed.max(axis=1) > 0
    labelled = labels.notna().any(axis=1).to_numpy()
    kept = np.flatnonzero(parsed & labelled)
    if len(kept) < LEAST:
        raise UserError(
            f"of the rows of {data}, {len(frame):,} in all, {len(kept)} have a label and a SMILES "
            f"that parses, and {LEAST} are needed; check the columns of --smiles, {smiles!r}, and "
            "of --targets"
        )
    packed, labels, texts = packed[kept], labels.iloc[kept], texts.iloc[kept]
    molecule = molecules_of(texts.tolist(), packed)
    groups = molecule if split == "random" else scaffolds_of(texts.tolist())
    train, validation, test = split_by_group(groups, split_seed)
    if not len(train) or not len(validation):
        raise UserError(f"{data} has too few scaffolds to split by; use --split random")
    own = train[:0]
    useful = labelled_in(labels, main)
    if held_out and useful[train].any():
        train, own = hold_out_groups(train, groups, useful, held_out, split_seed)
    learnable = varied(labels.iloc[train])
    if not learnable.any():
        raise UserError(
            f"no target in {data} has two different labels among the molecules to train on; "
            "choose others with --targets"
        )
    unlearnable, labels = labels.columns[~learnable], labels.loc[:, learnable]
    names, values = list(labels.columns), labels.to_numpy()
    if kind == "binary":
        scale, losses = np.ones(len(names)), binary_losses(values[train])
    else:
        scale, losses = np.nanstd(values[train], 0), _squared_losses
        values = (values - np.nanmean(values[train], 0)) / scale
    parts = [samples_of(packed[rows], values[rows]) for rows in (train, validation, test, own)]
    counted = {
        "Left out: rows whose SMILES is empty or does not parse, see unparsed.csv": (~parsed).sum(),
        "Left out: molecules without a label": (parsed & ~labelled).sum(),
        "Left out: targets without two different labels in the training part, "
        f"{some(unlearnable)}": len(unlearnable),
        "Rows of a molecule that an earlier row has too, all kept in one part of the split": (
            len(molecule) - len(np.unique(molecule))
        ),
        "Labels of such a molecule, one for each of its targets, on which its rows disagree": (
            _conflicts(labels, molecule)
        ),
        "Rows held out for the weightings of samples, trained on by no method": len(own),
    }
    return Problem(
        tasks=names,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        network=lambda: Network(BITS, len(names)),
        shared=_trunk,
        losses=losses,
        metrics=_metrics(SCORES[kind], names, scale),
        goals=GOALS[kind],
        main=main,
        held_out=parts[3] if len(own) else None,
        rows=(1 + kept[train]).tolist(),
        recipe=Recipe(
            steps=900,
            batch_size=40_000,
            lr=3e-4,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
        ),
        notes=[*left_out, *(f"{what}: {count:,}." for what, count in counted.items() if count)],
        files={} if parsed.all() else {"unparsed.csv": _unparsed(frame[smiles], parsed)},
    )


class Network(nn.Module):
    """Shared ReLU layers of 2000 and 100 and linear heads: ``(samples, bytes) → (samples, tasks)``.

    Fingerprints come packed, uint8, and are unpacked to one input a bit: they stay an eighth as
    large in memory and on the way to the device.
    """

    shifts: Tensor

    def __init__(self, bits: int, tasks: int) -> None:
        super().__init__()
        self.register_buffer("shifts", torch.arange(7, -1, -1, dtype=torch.uint8), persistent=False)
        self.trunk = nn.Sequential(
            nn.Linear(bits, WIDTH), nn.ReLU(), nn.Linear(WIDTH, FEATURES), nn.ReLU()
        )
        self.heads = nn.Linear(FEATURES, tasks)

    def forward(self, packed: Tensor) -> Tensor:
        """Logits of the tasks, or standardised predictions, ``(samples, tasks)``."""
        bits = (packed[:, :, None] >> self.shifts) & 1
        outputs: Tensor = self.heads(self.trunk(bits.flatten(1).to(self.heads.weight.dtype)))
        return outputs


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()


def binary_losses(labels: NDArray[np.float64]) -> LossFunction:
    """Cross-entropy with both classes of ``labels`` ``(samples, tasks)`` of the same weight."""
    counts = np.stack([(labels == 0).sum(0), (labels == 1).sum(0)])
    weights = torch.from_numpy((counts.sum(0) / (2 * counts)).astype(np.float32))
    # Moved to a device once, not in every step.
    weights_on: Callable[[torch.device], Tensor] = functools.cache(weights.to)

    def losses(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        packed, labels, mask = batch
        negative, positive = weights_on(labels.device)
        weight = torch.where(labels > 0, positive, negative)
        logits = network(packed)
        return binary_cross_entropy_with_logits(logits, labels, weight, reduction="none"), mask

    return losses


def _squared_losses(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    packed, labels, mask = batch
    return (network(packed) - labels).square(), mask


def _metrics(
    scores: Mapping[str, Score], names: Sequence[str], scale: NDArray[np.float64]
) -> Callable[[nn.Module, Data], Metrics]:
    """Each score of each task, labels and outputs times its scale, and of all pairs as they are."""

    def metrics(network: nn.Module, data: Data) -> Metrics:
        packed, *rest = data[torch.arange(len(data))]
        device = next(network.parameters()).device
        chunks = [network(chunk.to(device)) for chunk in packed.split(CHUNK)]
        outputs = torch.cat(chunks).double().cpu().numpy()
        labels, mask = (each.numpy() for each in rest)
        pairs = {OVERALL: (labels[mask], outputs[mask])}
        for name, unit, present, label, output in zip(
            names, scale, mask.T, labels.T, outputs.T, strict=True
        ):
            pairs[name] = (unit * label[present], unit * output[present])
        return {
            metric: {name: score_of(score, *pair) for name, pair in pairs.items()}
            for metric, score in scores.items()
        }

    return metrics


def _smiles_column(frame: pd.DataFrame, smiles: str | None, data: Path) -> str:
    if smiles is not None:
        check_column(smiles, frame, "--smiles", data)
        return smiles
    found = [name for name in frame.columns if name.lower() == "smiles"]
    if len(found) != 1:
        raise UserError(
            f"{data} has {len(found) or 'no'} columns called smiles; name the column of SMILES "
            f"with --smiles, one of {some(frame.columns)}"
        )
    return str(found[0])


def _conflicts(labels: pd.DataFrame, molecule: NDArray[np.int64]) -> int:
    """Pairs of molecule and target that have different labels."""
    repeated = np.bincount(molecule)[molecule] > 1
    return int((labels[repeated].groupby(molecule[repeated]).nunique() > 1).sum().sum())


def _unparsed(texts: pd.Series[str], parsed: NDArray[np.bool_]) -> str:
    (rows,) = np.nonzero(~parsed)
    return pd.DataFrame({"row": rows + 1, "smiles": texts.iloc[rows]}).to_csv(index=False)
