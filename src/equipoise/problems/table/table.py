"""A table of one's own: several columns to learn from the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from equipoise.errors import UserError
from equipoise.problems.answers import read_answers
from equipoise.problems.frames.columns import as_times, as_truth, some
from equipoise.problems.frames.labels import HELD_OUT, UNLEARNABLE, counted
from equipoise.problems.frames.reading import Source, called, read_frame
from equipoise.problems.labelled import Labelled
from equipoise.problems.memory import check_labels
from equipoise.problems.parameters import check_seed
from equipoise.problems.parts import (
    Parts,
    Rows,
    parted,
    split_at_random,
    split_by_group,
    split_by_time,
    strata,
)
from equipoise.problems.problem import Problem, Recipe
from equipoise.problems.table.features import Encoder, Features, choose_features, fit_encoder
from equipoise.problems.table.kinds import losses
from equipoise.problems.table.learned import Learned, learn
from equipoise.problems.table.network import Network, check_layers, check_size
from equipoise.problems.table.predictions import predicted
from equipoise.problems.table.roles import Roles
from equipoise.problems.table.scores import answers_of, scores_of
from equipoise.problems.table.targets import Target, read_targets

ENOUGH = 10
"""Looked-up labels of each class, or numbers, below which a judge may do harm."""
LEAST = 20
"""Rows with a label without which a tenth is next to nothing."""
CHUNK = 8192
"""Rows that are predicted at once."""
RECIPE = Recipe(
    steps=1_000,
    batch_size=256,
    lr=1e-3,
    optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
)


def table(
    data: Annotated[
        Path | pd.DataFrame, "CSV, CSV.gz or Parquet file: a row a sample, its columns named"
    ],
    targets: Annotated[tuple[str, ...], "the columns to learn"],
    features: Annotated[tuple[str, ...] | None, "what to learn from; by default all others"] = None,
    leave_out: Annotated[tuple[str, ...], "columns to ignore"] = (),
    kinds: Annotated[
        tuple[str, ...],
        "kinds of targets, where another is meant than the one found: NAME=regression, "
        "NAME=binary or NAME=multiclass",
    ] = (),
    main: Annotated[str | None, "the task that decides; the others are there to serve it"] = None,
    held_out: Annotated[
        float,
        "with `main`, the share of the training part that is held out for the weightings of "
        "samples, and that no method trains on; 0 for none",
    ] = 0.2,
    categorical: Annotated[tuple[str, ...], "features whose numbers are names of categories"] = (),
    group: Annotated[
        str | None, "column of groups, such as a patient's rows, that must not be parted"
    ] = None,
    time: Annotated[str | None, "column of times: train on the earliest, test on the last"] = None,
    trusted: Annotated[
        str | None, "column that is 1, true or yes where the labels of a row are known to be right"
    ] = None,
    judge: Annotated[
        Path | pd.DataFrame | None,
        "with `main`, the file of looked-up labels of an audit: they are right, and the rows with "
        "one of the main task are held out for the weightings of samples in place of a share",
    ] = None,
    split_seed: Annotated[int, "seed of the split into training, validation and test"] = 0,
    trunk: Annotated[tuple[int, ...], "widths of the shared layers"] = (128, 64),
    head: Annotated[int, "width of a hidden layer of each task's own; 0 for none"] = 0,
    recipe: Recipe = RECIPE,
) -> Problem:
    """A table of your own: several columns to learn from the others, labels missing or not.

    The kind of each target is found: two values are binary, text and up to 10 whole numbers
    multiclass, other numbers regression. Tasks of a kind stand together. Losses are the squared
    error on targets standardised by the training part, and cross-entropies.

    Numbers are standardised, categories one-hot, rare ones together; missing ones are marked.
    All of that is fitted to the training part only.

    A tenth of the rows each is held out for validation and for the test: at random, with the same
    share of each class as far as classes have the rows for it, or by `group` or by `time`. Use
    these where rows are not independent, or the test is easier than what the network is for. With
    `main` a share of the training part is held out too, whole groups where there are any: rows
    with a label of the main task. With `trusted` the step is chosen on the trusted rows of the
    validation part alone, if there are 20.

    A task's score is R² (regression), the area under the ROC curve (binary), or the mean recall of
    the classes (multiclass); NaN where the part has one value of it only. The mean of those defined
    decides, or with `main` that task's. RMSE is in the units of the file, and over all tasks the
    mean of each one's in units of its standard deviation.

    New rows to predict need the columns of features; targets and other columns are ignored. The
    predictions have a row for each of them, in order: of a number the mean over the runs, in the
    units of the file; of a binary target NAME the mean probability of the class that is 1, as
    "NAME probability of CLASS"; of a multiclass target the class of the highest mean probability,
    and that as "NAME probability".

    Raises:
        UserError: if the file or its columns cannot be used so.
    """
    check_seed("split_seed", split_seed)
    check_layers(trunk, head)
    told: list[str] = []
    roles = Roles(targets, main, features, categorical, leave_out, group, time, trusted)
    where = called(data)
    whole = read_frame(data)
    frame = _labelled(whole, roles, where)
    found = read_targets(frame, targets, kinds, where)
    parts = _parts(frame, found, roles, 0 if judge is not None else held_out, split_seed, where)
    if judge is not None:
        found, parts, told = _judged(judge, frame, found, parts, main)
    parts, rests_on = _choosing(parts, frame, roles, where)
    learned = learn(found, parts.train, main, where)
    encoder = fit_encoder(frame, choose_features(frame, roles, where), parts.train, where)
    samples = parts.samples(encoder.encode(frame, where), learned.labels)
    widths = [samples.train.tensors[0].shape[1], *trunk]
    check_size(widths, head, learned.targets)
    return Problem(
        tasks=learned.names,
        train=samples.train,
        validation=samples.validation,
        test=samples.test,
        network=lambda: Network(widths, head, learned.targets),
        shared=_trunk,
        losses=losses,
        answers=answers_of(learned.targets),
        scores=scores_of(learned),
        main=main,
        held_out=samples.held_out,
        rows=(1 + frame.index[parts.train]).tolist(),
        predict=partial(_predict, encoder, learned),
        labelled=partial(_all_labels, frame, encoder, found, roles, parts.held_out, where),
        recipe=recipe,
        notes=[*_notes(whole, frame, encoder.columns, roles, parts, learned), rests_on, *told],
    )


def _labelled(frame: pd.DataFrame, roles: Roles, where: str) -> pd.DataFrame:
    """The rows with a label, their index the place in the table."""
    roles.check(frame, where)
    targets = roles.targets
    found = frame.loc[frame[list(targets)].notna().any(axis=1)]
    if len(found) < LEAST:
        raise UserError(
            f"{len(found)} rows of {where} have a label of `targets`, and {LEAST} are needed"
        )
    check_labels(len(found), len(targets), where)
    return found


def _predict(
    encoder: Encoder, learned: Learned, data: Source, networks: Sequence[nn.Module]
) -> pd.DataFrame:
    rows = torch.from_numpy(encoder.encode_new(read_frame(data), called(data)))
    return predicted(torch.split(rows, CHUNK), networks, learned)


def _all_labels(
    frame: pd.DataFrame,
    encoder: Encoder,
    targets: Sequence[Target],
    roles: Roles,
    held_out: Rows,
    where: str,
) -> Labelled:
    return Labelled(
        inputs=encoder.encode(frame, where),
        targets=targets,
        rows=1 + frame.index.to_numpy(np.int64),
        shown=frame[list(encoder.columns.names)].reset_index(drop=True),
        groups=None if roles.group is None else pd.factorize(frame[roles.group])[0],
        trusted=None if roles.trusted is None else as_truth(frame[roles.trusted], where),
        main=roles.main,
        held_out=np.isin(np.arange(len(frame)), held_out) if len(held_out) else None,
    )


def _choosing(parts: Parts, frame: pd.DataFrame, roles: Roles, where: str) -> tuple[Parts, str]:
    """The parts with rows to choose the step on that are right, and a sentence on what they are."""
    rows = parts.validation
    said = f"The step whose network counts is chosen on {len(rows):,} rows, with labels as given"
    if roles.trusted is None:
        return parts, f"{said}: wrong ones choose worse; `trusted` names rows that are right."
    right = rows[as_truth(frame[roles.trusted], where)[rows]]
    if len(right) < LEAST:
        return parts, f"{said}: only {len(right)} of them are trusted, and {LEAST} are needed."
    chosen = replace(parts, validation=right)
    return chosen, f"The step whose network counts is chosen on {len(right):,} trusted rows."


def _judged(
    judge: Source,
    frame: pd.DataFrame,
    targets: Sequence[Target],
    parts: Parts,
    main: str | None,
) -> tuple[list[Target], Parts, list[str]]:
    """The targets with answers in place of what was wrong, the parts, and a note of what judges."""
    if main is None:
        raise UserError("`judge` is for a main task, which its labels judge: name one with `main`")
    rows = 1 + frame.index.to_numpy(np.int64)
    nothing = np.zeros((len(rows), 0), np.float32)
    shown = pd.DataFrame(index=rows)
    answers = read_answers(judge, Labelled(nothing, targets, rows, shown), "judge")
    corrected = [
        replace(target, values=answers.corrected(place)) for place, target in enumerate(targets)
    ]
    place = next(place for place, target in enumerate(targets) if target.name == main)
    judging = np.flatnonzero(~np.isnan(answers.values[:, place]))
    if not len(judging):
        raise UserError(f"`judge`: {called(judge)} has no answer for the main task {main!r}")
    return corrected, parts.judged_by(judging), _few(targets[place], answers.values[judging, place])


def _few(target: Target, answers: NDArray[np.float64]) -> list[str]:
    """A sentence on how many labels judge, which says so if they are too few."""
    if not target.classes:
        least, each = len(answers), f"{len(answers)}"
    else:
        counts = np.bincount(answers.astype(int), minlength=len(target.classes)).tolist()
        least = min(counts)
        each = ", ".join(f"{name} {n}" for name, n in zip(target.classes, counts, strict=True))
    note = f"Looked-up labels of {target.name} that judge: {each}."
    if least < ENOUGH:
        note += (
            f" Fewer than {ENOUGH} of a class can make weightings of samples worse than equal "
            "weights: look up more."
        )
    return [note]


def _trunk(network: nn.Module) -> Iterable[nn.Parameter]:
    assert isinstance(network, Network)
    return network.trunk.parameters()


def _parts(
    frame: pd.DataFrame,
    targets: Sequence[Target],
    roles: Roles,
    share: float,
    seed: int,
    where: str,
) -> Parts:
    """The split; with a main task, rows with its label are held out, whole groups of them."""
    split = _split(frame, targets, roles, seed, where)
    useful, groups = np.zeros(len(frame), bool), np.arange(len(frame))
    if roles.main is not None:
        useful = frame[roles.main].notna().to_numpy(bool)
    if roles.group is not None:
        groups = pd.factorize(frame[roles.group])[0]
    return parted(split, groups, useful, share, seed)


def _split(
    frame: pd.DataFrame, targets: Sequence[Target], roles: Roles, seed: int, where: str
) -> tuple[Rows, Rows, Rows]:
    if roles.group is not None:
        if frame[roles.group].isna().any():
            raise UserError(
                f"`group`: column {roles.group!r} of {where} has empty cells; fill them"
            )
        split = split_by_group(pd.factorize(frame[roles.group])[0], seed)
    elif roles.time is not None:
        split = split_by_time(as_times(frame[roles.time], where))
    else:
        split = split_at_random(strata(map(_strata_of, targets), len(frame)), seed)
    if not all(map(len, split)):
        raise UserError(
            f"column {roles.group or roles.time!r} of {where} has too few different values, or too "
            "many rows of one, to split into training, validation and test"
        )
    return split


def _strata_of(target: Target) -> NDArray[np.int64]:
    """The class of each row; of a number, whether there is one."""
    if target.kind == "regression":
        return np.isnan(target.values).astype(np.int64)
    return np.nan_to_num(target.values, nan=-1).astype(np.int64)


def _notes(
    whole: pd.DataFrame,
    frame: pd.DataFrame,
    features: Features,
    roles: Roles,
    parts: Parts,
    learned: Learned,
) -> list[str]:
    """What is learned of what, what was left out or held out, and whether rows are repeated."""
    repeated = 0 if roles.places else int(frame[features.names].duplicated().sum())
    counts = {
        "Left out: rows without a label": len(whole) - len(frame),
        f"{UNLEARNABLE}, {some(learned.left_out)}": len(learned.left_out),
        "Rows that repeat the features of another, which may be in another part of the split": (
            repeated
        ),
        HELD_OUT: len(parts.held_out),
    }
    return [*_kinds_found(learned.targets), *features.notes, *counted(counts)]


def _kinds_found(targets: Sequence[Target]) -> list[str]:
    """What is learned as what, which a user may want otherwise."""
    notes = []
    for kind, group in groupby(targets, lambda target: target.kind):
        names = [_described(target) for target in group]
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" * (len(names) > 10))
        notes.append(f"Learned as {kind}: {shown}.")
    return [*notes, "Another kind is given with `kinds`, as in NAME=regression."]


def _described(target: Target) -> str:
    if target.kind == "binary":
        return f"{target.name!r} ({target.classes[1]!r} is 1)"
    return f"{target.name!r}" + (f" ({len(target.classes)} classes)" if target.classes else "")
