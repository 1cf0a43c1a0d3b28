"""What models that never saw a row predict for it: five folds, each predicted from the others."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Memory, Parallel, delayed
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.members import OF_CLASSES, OF_NUMBERS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 5
MOST_OTHERS = 50
"""Other targets that serve as inputs, those that most samples have a label of."""
FARTHEST = 5.0
"""Of another target's numbers, in robust standard deviations from their median."""


@dataclass(frozen=True)
class Fit:
    """A model to fit to one target, on all folds but one."""

    target: int
    member: str
    others: tuple[int, ...]
    """Other targets that are inputs too."""
    train: Ints
    test: Ints


def fits_of(
    targets: Sequence[Target],
    groups: Ints | None,
    copies: NDArray[np.bool_],
    seed: int,
    *,
    without: Collection[str] = (),
) -> list[Fit]:
    """All that are needed, target by target.

    Args:
        targets: with the labels to learn from.
        groups: a number for each sample, of those that stay in one fold.
        copies: pairs of targets that are one another, ``(targets, targets)``.
        seed: of the folds.
        without: models that are left out, for a quick look.
    """
    labels = [np.count_nonzero(~np.isnan(target.values)) for target in targets]
    most = np.argsort(labels, kind="stable")[::-1]
    fits = []
    for place, target in enumerate(targets):
        others = [int(each) for each in most if each != place and not copies[place, each]]
        chosen = tuple(sorted(others[:MOST_OTHERS]))
        fits += [
            Fit(place, member, beside, train, test)
            for train, test in folds_of(target, groups, seed)
            for beside in ([(), chosen] if chosen else [()])
            for member in (OF_CLASSES if target.classes else OF_NUMBERS)
            if member not in without
        ]
    return fits


def out_of_fold(
    labelled: Labelled,
    targets: Sequence[Target],
    fits: Sequence[Fit],
    *,
    seed: int,
    jobs: int,
    cache: Path,
) -> Iterator[Floats]:
    """What each fit predicts for the rows of its fold.

    Args:
        labelled: the samples.
        targets: of them, with the labels to learn from.
        fits: see :func:`fits_of`.
        seed: of the models.
        jobs: fits at once.
        cache: folder of what is done, which is not done again.

    Yields:
        Of classes probabilities ``(rows, classes)``, of numbers predictions ``(rows,)``.
    """
    predictions = Memory(cache, verbose=0).cache(_predictions, ignore=["inputs"])
    encoded = [_encoded(target) for target in targets]
    nothing = np.zeros((len(labelled.inputs), 0), np.float32)
    key = inputs_key(labelled)

    def calls() -> Iterator[object]:
        for fit in fits:
            target = targets[fit.target]
            beside = np.hstack([nothing, *(encoded[place] for place in fit.others)])
            yield delayed(kept)(
                predictions,
                labelled.inputs,
                key,
                beside,
                target.values,
                len(target.classes),
                fit,
                seed,
            )

    yield from Parallel(jobs, return_as="generator")(calls())


def inputs_key(labelled: Labelled) -> str:
    """Tells a cache which inputs these are, instead of all their bytes."""
    return hashlib.sha256(np.ascontiguousarray(labelled.inputs).data).hexdigest()


def kept(predictions: Callable[..., Floats], *arguments: object) -> Floats:
    """What is predicted, or was before."""
    with warnings.catch_warnings():
        # A busy disk is no fault of the user's.
        warnings.filterwarnings("ignore", "Persisting input arguments took")
        return predictions(*arguments)


def _predictions(
    inputs: NDArray[np.float32],
    _: str,
    beside: NDArray[np.float32],
    labels: Floats,
    classes: int,
    fit: Fit,
    seed: int,
) -> Floats:
    """What a model of the other folds predicts for those of one."""
    model = (OF_CLASSES if classes else OF_NUMBERS)[fit.member](seed, len(fit.train))
    train, test = (np.hstack([inputs[rows], beside[rows]]) for rows in (fit.train, fit.test))
    # The models' own threads wait for each other, which takes minutes on a busy machine.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Not quite converged is near enough for probabilities that are calibrated afterwards.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, labels[fit.train])
        if not classes:
            predicted: Floats = model.predict(test)
            return predicted
        # A class that no training row has gets no probability.
        probabilities = np.zeros((len(test), classes))
        probabilities[:, model.classes_.astype(int)] = model.predict_proba(test)
        return probabilities


def folds_of(target: Target, groups: Ints | None, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Rows to train on and to predict, of those with a label; classes alike in all folds."""
    rows = np.flatnonzero(~np.isnan(target.values))
    group = rows if groups is None else groups[rows]
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    labels = target.values[rows][first]
    splitter = (KFold if target.kind == "regression" else StratifiedKFold)(
        FOLDS, shuffle=True, random_state=seed
    )
    for _, chosen in splitter.split(labels, labels):
        test = np.isin(member, chosen)
        yield rows[~test], rows[test]


def _encoded(target: Target) -> NDArray[np.float32]:
    """Labels as inputs: a column a class, or robustly scaled numbers; and which are missing."""
    there = ~np.isnan(target.values)
    if target.classes:
        columns = target.values[:, None] == np.arange(len(target.classes))
    else:
        centre, spread = scale_of(target)
        scaled = np.clip((target.values - centre) / spread, -FARTHEST, FARTHEST)
        columns = np.where(there, scaled, 0)[:, None]
    return np.hstack([columns, ~there[:, None]]).astype(np.float32)


def scale_of(target: Target) -> tuple[float, float]:
    """The median of a target's numbers, and a robust standard deviation that is not 0."""
    there = target.values[~np.isnan(target.values)]
    low, centre, high = np.percentile(there, [25, 50, 75])
    return float(centre), float((high - low) / 1.35 or there.std() or 1.0)
