"""Virtual screening: many assays of molecules, most labels missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torchmetrics import MeanSquaredError

from equipoise.errors import UserError
from equipoise.problems.curves import average_precision, roc_auc
from equipoise.problems.frames.columns import some
from equipoise.problems.frames.labels import (
    HELD_OUT,
    UNLEARNABLE,
    Floats,
    counted,
    learnable,
    standardised,
)
from equipoise.problems.frames.reading import called, read_frame
from equipoise.problems.labelled import Labelled
from equipoise.problems.memory import check_labels
from equipoise.problems.metrics import R2, Gathered
from equipoise.problems.molecules.assays import pcba_notes, smiles_column
from equipoise.problems.molecules.labels import Kind, kind_of, read_labels
from equipoise.problems.molecules.network import (
    Losses,
    Network,
    SmallNetwork,
    binary_losses,
    globally_weighted_losses,
    squared_losses,
    trunk_of,
)
from equipoise.problems.parameters import check_seed, check_whole
from equipoise.problems.parts import Parts, Rows, parted, split_by_group
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.scores import Score
from equipoise.problems.table.targets import Target

LEAST = 10
"""Molecules without which a tenth is nothing."""
RECIPE = Recipe(
    steps=900,
    batch_size=40_000,
    lr=3e-4,
    optimizer=partial(torch.optim.Adam, eps=1e-5),
    clip=0.5,
)


def molecules(
    data: Annotated[
        Path | pd.DataFrame, "CSV or CSV.gz file with a column of SMILES and columns of labels"
    ],
    smiles: Annotated[str | None, "the column of SMILES; by default the one called smiles"] = None,
    targets: Annotated[
        tuple[str, ...] | None, "the columns of labels; by default all of numbers but ids"
    ] = None,
    first: Annotated[int | None, "learn only so many targets, the first"] = None,
    labelled_in_first: Annotated[
        int | None, "keep only rows that have a label of one of so many targets, the first"
    ] = None,
    kind: Annotated[
        Literal["auto", "binary", "regression"],
        "what labels are; by default binary if there is nothing but 0 and 1",
    ] = "auto",
    class_weights: Annotated[
        Literal["task", "global"], "whether classes are balanced in each task, or over all tasks"
    ] = "task",
    split: Annotated[
        Literal["random", "scaffold"],
        "what stays whole in the split: molecules, or all molecules of a Bemis-Murcko scaffold",
    ] = "random",
    split_seed: Annotated[int, "seed of the split into training, validation and test"] = 0,
    main: Annotated[str | None, "the task that decides; the others are there to serve it"] = None,
    held_out: Annotated[
        float,
        "with `main`, the share of the training part that is held out for the weightings of "
        "samples, and that no method trains on; 0 for none",
    ] = 0.2,
    recipe: Recipe = RECIPE,
) -> Problem:
    """Virtual screening: assays of molecules from a CSV file, as in the SLAW paper's PCBA study.

    ECFP fingerprints (radius 4, 2,048 bits) go through shared layers of 2000 and 100 and one head
    per task. Labels may be missing: an empty cell counts nowhere. See
    https://arxiv.org/abs/2109.08218.

    Of the molecules a tenth each is held out at random for validation and for the test. Rows of
    the same molecule, by canonical SMILES, are always in the same part; with `split` scaffold so
    are all molecules of a scaffold, the ring systems and what links them, which is harder and
    nearer to the search for new compounds. Scaffolds of more than a twentieth of a file are trained
    on as far as possible. With `main` a share of the training part is held out in the
    same way: rows with a label of the main task.

    Binary labels: cross-entropy; a label of class c of a task weighs n / (2 n_c) with
    the task's n labels in the training part, so that both classes weigh the same and the mean over
    its labels is 1. With `class_weights` global, as in the paper, one pair of weights holds for all
    tasks: the share of the other class among all labels, over the mean weight of a task's labels in
    the batch. Metrics: average precision and area under the ROC curve, of each task and of the
    logits of all labelled pairs of molecule and task pooled. `first` and `labelled_in_first` make
    the paper's studies of 32, 64, 96 and 128 tasks on rows with a label of the first 32.

    Regression: squared error on targets standardised by each task's mean and standard deviation
    in the training part. Metrics: root mean squared error in the units of the file, and R², of each
    task; both, over all tasks, of all labelled pairs pooled, in standardised units.

    A metric of a task is NaN where the part has no label of it, or one class or value only (RMSE
    excepted). What was left out of the file is said in the problem's notes.

    Raises:
        UserError: if the file or its columns cannot be used so.
    """
    check_seed("split_seed", split_seed)
    _check_packages()
    where = called(data)
    texts, labels, left_out = _read(data, smiles, targets, where)
    labels = _first(labels, first, labelled_in_first)
    check_labels(len(labels), labels.shape[1], where)
    kind = kind_of(labels, kind)
    found = _found(texts, labels, where)
    del labels  # of all rows, and hundreds of megabytes
    parts = _parts(found, split, main, held_out, split_seed, where)
    known = learnable(found.labels, found.names, parts.train, main, where)
    names = [name for name, learned in zip(found.names, known, strict=True) if learned]
    numbers = np.full(len(names), kind == "regression")
    values, _, scale = standardised(found.labels[:, known], names, parts.train, numbers, where)
    samples = parts.samples(found.packed, values)
    bits = 8 * found.packed.shape[1]
    return Problem(
        tasks=names,
        train=samples.train,
        validation=samples.validation,
        test=samples.test,
        network=lambda: Network(bits, len(names)),
        shared=trunk_of,
        losses=_losses(kind, class_weights, values[parts.train]),
        scores=_scores(kind, dict(zip(names, scale.tolist(), strict=True))),
        main=main,
        held_out=samples.held_out,
        rows=(1 + found.rows[parts.train]).tolist(),
        recipe=recipe,
        notes=[*left_out, *_notes(found, known, parts)],
        files=_unparsed(texts, found.parsed),
        labelled=partial(_all_labels, found, known, kind),
    )


def _all_labels(found: _Found, known: NDArray[np.bool_], kind: Kind) -> Labelled:
    """All rows with their labels; those of a molecule belong together."""
    from equipoise.problems.molecules.structures import drawn

    names = [name for name, learned in zip(found.names, known, strict=True) if learned]
    classes = ("0", "1") if kind == "binary" else ()
    bits = np.unpackbits(found.packed, axis=1).astype(np.float32)
    std, mean = torch.std_mean(torch.from_numpy(bits), 0)
    return Labelled(
        inputs=bits,
        targets=[
            Target(name, kind, own, classes)
            for name, own in zip(names, found.labels[:, known].T, strict=True)
        ],
        rows=1 + found.rows,
        shown=pd.DataFrame({"smiles": found.smiles}),
        groups=found.molecule,
        pictures=lambda samples: np.stack([drawn(found.smiles[sample]) for sample in samples]),
        network=partial(SmallNetwork, mean, std),
    )


def _read(
    data: Path | pd.DataFrame, smiles: str | None, targets: Sequence[str] | None, where: str
) -> tuple[pd.Series[str], pd.DataFrame, list[str]]:
    """The SMILES and labels of a table, which is not kept; and notes of it."""
    frame = read_frame(data)
    column = smiles_column(frame, smiles, where)
    labels, left_out = read_labels(frame.drop(columns=column), targets, where)
    return frame[column].astype("string"), labels, [*pcba_notes(frame), *left_out]


def _first(labels: pd.DataFrame, tasks: int | None, labelled_in: int | None) -> pd.DataFrame:
    """The first targets, and the rows with a label of some of them."""
    for name, number in {"first": tasks, "labelled_in_first": labelled_in}.items():
        if number is not None:
            check_whole(name, number, 1, labels.shape[1])
    if labelled_in is not None:
        # The others stay where they are, as rows without a label, so that rows keep their numbers.
        labels = labels.where(labels.iloc[:, :labelled_in].notna().any(axis=1))
    return labels.iloc[:, :tasks]


def _losses(kind: Kind, class_weights: Literal["task", "global"], labels: Floats) -> Losses:
    if kind == "regression":
        return squared_losses
    return binary_losses(labels) if class_weights == "task" else globally_weighted_losses(labels)


def _check_packages() -> None:
    try:
        import equipoise.problems.molecules.fingerprints
        import equipoise.problems.molecules.structures  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the problem molecules needs more packages ({error}): "
            "pip install 'equipoise[molecules]'"
        ) from error


@dataclass(frozen=True, eq=False)
class _Found:
    """The rows that have a label and a SMILES that parses."""

    rows: Rows
    """Their places in the table."""
    parsed: NDArray[np.bool_]
    """Of each row of the table, whether its SMILES parses."""
    names: Sequence[str]
    """Of the targets."""
    labels: Floats
    smiles: Sequence[str]
    packed: NDArray[np.uint8]
    """Fingerprints."""
    molecule: Rows
    """A number for each row, equal for rows of the same molecule."""

    def present(self, task: str | None) -> NDArray[np.bool_]:
        """Which rows have a label of a task: none, if there is no such task."""
        if task not in self.names:
            return np.zeros(len(self.rows), bool)
        there: NDArray[np.bool_] = ~np.isnan(self.labels[:, self.names.index(task)])
        return there

    def groups(self, split: Literal["random", "scaffold"]) -> Rows:
        """What stays whole in the split."""
        from equipoise.problems.molecules.structures import scaffolds_of

        return self.molecule if split == "random" else scaffolds_of(self.smiles)


def _found(texts: pd.Series[str], labels: pd.DataFrame, where: str) -> _Found:
    from equipoise.problems.molecules.fingerprints import fingerprints
    from equipoise.problems.molecules.structures import molecules_of

    packed = fingerprints(texts.fillna("").tolist())
    parsed = packed.max(axis=1) > 0
    labelled = labels.notna().any(axis=1).to_numpy()
    rows = np.flatnonzero(parsed & labelled)
    if len(rows) < LEAST:
        raise UserError(
            f"of the rows of {where}, {len(texts):,} in all, {len(rows)} have a label and a SMILES "
            f"that parses, and {LEAST} are needed; check `smiles`, the column {texts.name!r}, and "
            "`targets`"
        )
    packed, kept = packed[rows], texts.iloc[rows].tolist()
    return _Found(
        rows=rows,
        parsed=parsed,
        names=labels.columns.tolist(),
        labels=labels.to_numpy()[rows],
        smiles=kept,
        packed=packed,
        molecule=molecules_of(kept, packed),
    )


def _parts(
    found: _Found,
    split: Literal["random", "scaffold"],
    main: str | None,
    share: float,
    seed: int,
    where: str,
) -> Parts:
    """The split; with a main task, rows with its label are held out, whole groups of them."""
    groups = found.groups(split)
    rows = split_by_group(groups, seed)
    if not all(map(len, rows)):
        raise UserError(f"{where} has too few scaffolds to split by; give random as `split`")
    return parted(rows, groups, found.present(main), share, seed)


def _scores(kind: Kind, units: Mapping[str, float]) -> dict[str, Score]:
    """Of each task, in its units; over all tasks, of all labelled pairs pooled as they are."""
    if kind == "binary":
        functions = {"average precision": average_precision, "ROC-AUC": roc_auc}
        return {
            name: Score(goal="max", metric=make, pooled=make, distinct=2)
            for name, make in ((name, partial(Gathered, each)) for name, each in functions.items())
        }
    rmse = partial(MeanSquaredError, squared=False)
    return {
        "RMSE": Score(goal="min", metric=rmse, pooled=rmse, units=units),
        "R²": Score(goal="max", metric=R2, pooled=R2, distinct=2),
    }


def _notes(found: _Found, known: NDArray[np.bool_], parts: Parts) -> list[str]:
    """What was left out, such as targets that are not ``known``; what there is more than once."""
    unlearnable = [name for name, learned in zip(found.names, known, strict=True) if not learned]
    unparsed = int((~found.parsed).sum())
    return counted(
        {
            "Left out: rows whose SMILES is empty or does not parse, see unparsed.csv": unparsed,
            "Left out: molecules without a label": len(found.parsed) - unparsed - len(found.rows),
            f"{UNLEARNABLE}, {some(unlearnable)}": len(unlearnable),
            "Rows of a molecule that an earlier row has too, all kept in one part of the split": (
                len(found.molecule) - len(np.unique(found.molecule))
            ),
            "Labels of such a molecule, one for each of its targets, on which its rows disagree": (
                _conflicts(found.labels[:, known], found.molecule)
            ),
            HELD_OUT: len(parts.held_out),
        }
    )


def _conflicts(labels: Floats, molecule: Rows) -> int:
    """Pairs of molecule and target that have different labels."""
    repeated = np.bincount(molecule)[molecule] > 1
    groups = pd.DataFrame(labels[repeated]).groupby(molecule[repeated])
    return int((groups.nunique() > 1).sum().sum())


def _unparsed(texts: pd.Series[str], parsed: NDArray[np.bool_]) -> dict[str, str]:
    """The file of SMILES that do not parse, if there are any."""
    (rows,) = np.nonzero(~parsed)
    if not len(rows):
        return {}
    content = pd.DataFrame({"row": rows + 1, "smiles": texts.iloc[rows]}).to_csv(index=False)
    return {"unparsed.csv": content}
