"""A table of one's own: several columns to learn from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from equipoise.errors import UserError, near_match
from equipoise.problems.columns import as_times, check_column, read_table, some
from equipoise.problems.heldout import hold_out_groups, labelled_in
from equipoise.problems.memory import check_labels
from equipoise.problems.problem import OVERALL, Data, Metrics, Problem, Recipe
from equipoise.problems.samples import samples_of
from equipoise.problems.scores import score_of
from equipoise.problems.splits import Rows, split_at_random, split_by_group, split_by_time, strata
from equipoise.problems.table.features import choose_features, fit_encoder
from equipoise.problems.table.kinds import (
    GOALS,
    IN_UNITS,
    SCORES,
    losses,
    predictions,
)
from equipoise.problems.table.network import Network
from equipoise.problems.table.predictions import predicted
from equipoise.problems.table.targets import Target, read_targets

LEAST = 20
"""Rows with a label without which a tenth is next to nothing."""
CHUNK = 8192
"""Rows that are evaluated at once."""


def table(
    data: Annotated[Path, "CSV, CSV.gz or Parquet file: a row a sample, its columns named"],
    targets: Annotated[tuple[str, ...], "the columns to learn"],
    features: Annotated[
        tuple[str, ...] | None, "the columns to learn from; by default all others"
    ] = None,
    leave_out: Annotated[tuple[str, ...], "columns to ignore"] = (),
    kinds: Annotated[
        tuple[str, ...],
        "kinds of targets, where another is meant than the one found: NAME=regression, "
        "NAME=binary or NAME=multiclass",
    ] = (),
    main: Annotated[str | None, "the task that decides; the others are there to serve it"] = None,
    held_out: Annotated[
        float,
        "with --main, the share of the training part that is held out for the weightings of "
        "samples, and that no method trains on; 0 for none",
    ] = 0.2,
    categorical: Annotated[tuple[str, ...], "features whose numbers are names of categories"] = (),
    group: Annotated[
        str | None, "column of groups, such as a patient's rows, that must not be parted"
    ] = None,
    time: Annotated[str | None, "column of times: train on the earliest, test on the last"] = None,
    split_seed: Annotated[int, "seed of the split into training, validation and test"] = 0,
    trunk: Annotated[tuple[str, ...], "widths of the shared layers"] = ("128", "64"),
    head: Annotated[int, "width of a hidden layer of each task's own; 0 for none"] = 0,
) -> Problem:
    """A table of your own: several columns to learn from the others, labels missing or not.

    The kind of each target is found: two values are binary, text and up to 10 whole numbers
    multiclass, other numbers regression. Tasks of a kind stand together. Losses are the squared
    error on targets standardised by the training part, and cross-entropies.

    Numbers are standardised, categories one-hot, rare ones together; missing ones are marked.
    All of that is fitted to the training part only.

    A tenth of the rows each is held out for validation and for the test: at random, with the same
    share of each class as far as classes have the rows for it, or by --group or by --time. Use
    these where rows are not independent, or the test is easier than what the network is for. With
    --main a share of the training part is held out too, whole groups where there are any: rows
    with a label of the main task.

    A task's score is R² (regression), the area under the ROC curve (binary), or the mean recall of
    the classes (multiclass); NaN where the part has one value of it only. The mean of those defined
    decides, or with --main that task's. RMSE is in the units of the file, and over all tasks the
    mean of each one's in units of its standard deviation.

    --predict takes a file with the columns of features; targets and other columns are ignored.
    --predictions gets a row for each of its rows, in order: of a number the mean over the runs, in
    the units of the file; of a binary target NAME the mean probability of the class that is 1, as
    "NAME probability of CLASS"; of a multiclass target the class of the highest mean probability,
    and that as "NAME probability".

    Raises:
        UserError: if the file or its columns cannot be used so.
    """
    if group is not None and time is not None:
        raise UserError("--group and --time are two ways to split; give one of them")
    if main is not None and main not in targets:
        raise UserError(f"--main: {main!r} is none of --targets: {near_match(main, targets)}")
    frame = read_table(data)
    places = [name for name in (group, time) if name is not None]
    _check_columns(frame, targets, features, (*leave_out, *places), data)
    labelled = frame[list(targets)].notna().any(axis=1)
    unlabelled = int((~labelled).sum())
    file_rows = 1 + np.flatnonzero(labelled)
    frame = frame.loc[labelled].reset_index(drop=True)
    if len(frame) < LEAST:
        raise UserError(
            f"{len(frame)} rows of {data} have a label of --targets, and {LEAST} are needed"
        )
    check_labels(len(frame), len(targets), str(data))
    found = read_targets(frame, targets, kinds, data)
    chosen = choose_features(frame, features, categorical, {*targets, *leave_out, *places}, data)
    train, validation, test = _split(frame, found, group, time, split_seed, data)
    own = train[:0]
    useful = labelled_in(frame, main)
    if held_out and useful[train].any():
        groups = np.arange(len(frame)) if group is None else pd.factorize(frame[group])[0]
        train, own = hold_out_groups(train, groups, useful, held_out, split_seed)
    learned = _learnable(found, train, data)
    unlearnable = [target.name for target in found if target not in learned]
    if main in unlearnable:
        raise UserError(
            f"--main: nothing can be learned of {main!r}, which has no two different labels among "
            f"the rows of {data} to train on; choose another task, or another split"
        )
    encoder = fit_encoder(frame, chosen, train)
    inputs = encoder.encode(frame)
    labels, centre, scale = _standardised(learned, train)
    widths = [inputs.shape[1], *_widths(trunk)]
    if head < 0:
        raise UserError(f"--head must be a width, or 0 for none, found {head}")

    parts = [samples_of(inputs[rows], labels[rows]) for rows in (train, validation, test, own)]
    repeated = frame[[*chosen.numbers, *chosen.categories]].duplicated().sum()
    counted = {
        "Left out: rows without a label": unlabelled,
        "Left out: targets without two different labels in the training part, "
        f"{some(unlearnable)}": len(unlearnable),
        "Rows that repeat the features of another, which may be in another part of the split": (
            repeated if not places else 0
        ),
        "Rows held out for the weightings of samples, trained on by no method": len(own),
    }
    kinds_learned = {target.kind for target in learned}
    scores = [name for name, measured in SCORES.items() if kinds_learned & measured.keys()]

    def predict(samples: Path, networks: Sequence[nn.Module]) -> str:
        rows = torch.from_numpy(encoder.encode_new(read_table(samples), samples))
        found = predicted(torch.split(rows, CHUNK), networks, learned, centre, scale)
        return found.to_csv(index=False)

    return Problem(
        tasks=[target.name for target in learned],
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        network=lambda: Network(widths, head, learned),
        shared=_trunk,
        losses=losses,
        metrics=_metrics(scores, learned, scale),
        goals={name: GOALS[name] for name in scores},
        main=main,
        held_out=parts[3] if len(own) else None,
        rows=file_rows[train].tolist(),
        predict=predict,
        recipe=Recipe(
            steps=1_000,
            batch_size=256,
            lr=1e-3,
            optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
        ),
        notes=[
            *_kinds_found(learned),
            f"Features: {len(chosen.numbers):,} columns of numbers and {len(chosen.categories):,} "
            f"of categories, {widths[0]:,} inputs.",
            *chosen.notes,
            *(f"{what}: {count:,}." for what, count in counted.items() if count),
        ],
    )


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()


def _metrics(
    names: Sequence[str], targets: Sequence[Target], scale: NDArray[np.float64]
) -> Callable[[nn.Module, Data], Metrics]:
    """Each score of the tasks that it is for, and its mean over those that it is defined for."""

    def metrics(network: nn.Module, data: Data) -> Metrics:
        inputs, *rest = data[torch.arange(len(data))]
        device = next(network.parameters()).device
        outputs = [predictions(network(chunk.to(device))) for chunk in inputs.split(CHUNK)]
        columns = [each.T for each in (*(part.numpy() for part in rest), np.concatenate(outputs))]
        return {name: measured(name, *columns) for name in names}

    def measured(
        name: str, labels: NDArray[Any], mask: NDArray[np.bool_], outputs: NDArray[np.float64]
    ) -> dict[str, float]:
        rows = [row for row, target in enumerate(targets) if target.kind in SCORES[name]]
        values = np.array(
            [
                score_of(
                    SCORES[name][targets[row].kind],
                    labels[row, mask[row]],
                    outputs[row, mask[row]],
                )
                for row in rows
            ]
        )
        # An output that is no number makes no task undefined.
        defined = values[~np.isnan(values)] if np.isfinite(outputs).all() else values
        units = scale[rows] if name in IN_UNITS else np.ones(len(rows))
        return {
            OVERALL: float(defined.mean()) if len(defined) else float("nan"),
            **{
                targets[row].name: float(each)
                for row, each in zip(rows, units * values, strict=True)
            },
        }

    return metrics


def _standardised(
    targets: Sequence[Target], train: Rows
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Labels with the numbers standardised; mean and standard deviation, 0 and 1 of classes."""
    labels = np.stack([target.values for target in targets], 1)
    numbers = np.array([target.kind == "regression" for target in targets])
    centre = np.where(numbers, np.nanmean(labels[train], 0), 0)
    scale = np.where(numbers, np.nanstd(labels[train], 0), 1)
    return (labels - centre) / scale, centre, scale


def _learnable(targets: Sequence[Target], train: Rows, data: Path) -> list[Target]:
    """The targets with two different labels in the training part."""
    learnable = [
        target
        for target in targets
        if np.nanmax(target.values[train], initial=-np.inf)
        > np.nanmin(target.values[train], initial=np.inf)
    ]
    if not learnable:
        raise UserError(
            f"no target in {data} has two different labels among the rows to train on; choose "
            "others with --targets, or another split"
        )
    return learnable


def _split(
    frame: pd.DataFrame,
    targets: Sequence[Target],
    group: str | None,
    time: str | None,
    seed: int,
    data: Path,
) -> tuple[Rows, Rows, Rows]:
    if group is not None:
        if frame[group].isna().any():
            raise UserError(f"--group: column {group!r} of {data} has empty cells; fill them")
        parts = split_by_group(pd.factorize(frame[group])[0], seed)
    elif time is not None:
        parts = split_by_time(as_times(frame[time], data))
    else:
        parts = split_at_random(strata(map(_strata_of, targets), len(frame)), seed)
    if not all(map(len, parts)):
        raise UserError(
            f"column {group or time!r} of {data} has too few different values, or too many rows of "
            "one, to split into training, validation and test"
        )
    return parts


def _strata_of(target: Target) -> NDArray[np.int64]:
    """The class of each row; of a number, whether there is one."""
    if target.kind == "regression":
        return np.isnan(target.values).astype(np.int64)
    return np.nan_to_num(target.values, nan=-1).astype(np.int64)


def _check_columns(
    frame: pd.DataFrame,
    targets: Sequence[str],
    features: Sequence[str] | None,
    others: Sequence[str],
    data: Path,
) -> None:
    roles = {
        "--targets": targets,
        "--features": features or (),
        "--leave-out, --group or --time": others,
    }
    for option, names in roles.items():
        for name in names:
            check_column(name, frame, option, data)
    for (one, names), (other, more) in combinations(roles.items(), 2):
        both = set(names) & set(more)
        if both:
            raise UserError(
                f"{one} and {other} both name {some(sorted(both))}: take it out of one of them"
            )


def _widths(trunk: Sequence[str]) -> list[int]:
    if not trunk or not all(width.isdecimal() and int(width) for width in trunk):
        raise UserError(f"--trunk must be widths, such as 128,64, found {','.join(trunk)!r}")
    return [int(width) for width in trunk]


def _kinds_found(targets: Sequence[Target]) -> list[str]:
    """What is learned as what, which a user may want otherwise."""
    notes = []
    for kind, group in groupby(targets, lambda target: target.kind):
        names = [_described(target) for target in group]
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" * (len(names) > 10))
        notes.append(f"Learned as {kind}: {shown}.")
    return [*notes, "Another kind is given by --kinds NAME=KIND."]


def _described(target: Target) -> str:
    if target.kind == "binary":
        return f"{target.name!r} ({target.classes[1]!r} is 1)"
    return f"{target.name!r}" + (f" ({len(target.classes)} classes)" if target.classes else "")
