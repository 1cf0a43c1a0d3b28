"""Wrong labels, found by an audit and by cleanlab, on table after table and error after error.

    python benchmarks/audit.py FOLDER [--seeds 3] [--tables wine,enb] [--jobs 2]

Labels are made wrong at random, a tenth of each target: classes become any other one, or the next
one only; numbers become another row's, ten times as large, or negative. Of cleanlab the best of its
usual set-ups is shown, chosen with the truth, which no user has: classes by logistic regression, a
random forest, boosting or a multilayer perceptron, cross-validated in five folds; numbers by
`CleanLearning` with linear regression, a random forest or boosting. The data files are those of a
folder, by the names below; what is not there is left out and said.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from cleanlab.regression.learn import CleanLearning
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from equipoise import audit
from equipoise.problems.molecules.fingerprints import fingerprints

RATE = 0.1
ROWS = 4_000
"""At most, of a table."""
ASSAYS = ("NR-AhR", "SR-MMP", "NR-Aromatase")
OF_CLASSES: Mapping[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    "forest": lambda: RandomForestClassifier(200, random_state=0),
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "perceptron": lambda: make_pipeline(
        StandardScaler(), MLPClassifier(early_stopping=True, max_iter=200, random_state=0)
    ),
}
OF_NUMBERS: Mapping[str, Callable[[], Any]] = {
    "linear": lambda: LinearRegression(),
    "forest": lambda: RandomForestRegressor(100, random_state=0),
    "boosting": lambda: HistGradientBoostingRegressor(random_state=0),
}

Labels = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Data:
    """A table: its features and targets, and the rows of each that have a label."""

    inputs: NDArray[Any]
    labels: Labels
    classes: bool
    smiles: list[str] | None = None
    """Of molecules, which the audit reads itself."""


@dataclass(frozen=True)
class Found:
    """How well wrong labels were found."""

    precision: float
    """Average precision."""
    flags: int
    right: float
    """Of the flags, the share that is wrong indeed."""
    said: float
    seconds: float


def tables(folder: Path) -> dict[str, Callable[[], Data]]:
    """How each table is read."""
    return {
        "breast cancer": lambda: bundled(load_breast_cancer()),
        "wine": lambda: bundled(load_wine()),
        "digits": digits,
        "adult": lambda: adult(folder / "adult.csv.gz"),
        "Tox21": lambda: tox21(folder / "tox21.csv.gz"),
        "diabetes": lambda: bundled(load_diabetes(), classes=False),
        "enb": lambda: numbers(folder / "enb.csv", ["Y1", "Y2"]),
        "sarcos": lambda: numbers(
            folder / "sarcos_inv_test.csv.gz", ["tau1", "tau2", "tau3"], ROWS // 2
        ),
    }


def bundled(data: Any, classes: bool = True) -> Data:
    """A table that comes with scikit-learn."""
    return Data(data.data, {"target": data.target}, classes)


def digits() -> Data:
    """Images of digits: which, and whether it is odd."""
    data = load_digits()
    return Data(data.data, {"digit": data.target, "odd": data.target % 2}, classes=True)


def adult(path: Path) -> Data:
    """Adult, without what tells whether somebody is single."""
    frame = pd.read_csv(path).sample(ROWS, random_state=0)
    labels = {
        "income": (frame["income"] == ">50K").to_numpy(int),
        "single": (frame["marital_status"] == "Never-married").to_numpy(int),
    }
    features = frame.drop(columns=["income", "split", "marital_status", "relationship"])
    return Data(pd.get_dummies(features).to_numpy(float), labels, classes=True)


def tox21(path: Path) -> Data:
    """Fingerprints of molecules, and three assays, most labels of which are there."""
    frame = pd.read_csv(path).sample(ROWS // 2, random_state=0)
    bits = np.unpackbits(fingerprints(frame["smiles"].tolist()), axis=1)
    parsed = bits.any(1)
    labels = {name: frame[name].to_numpy(float)[parsed] for name in ASSAYS}
    smiles = frame["smiles"][parsed].tolist()
    return Data(bits[parsed].astype(float), labels, classes=True, smiles=smiles)


def numbers(path: Path, targets: Sequence[str], rows: int | None = None) -> Data:
    """A table of numbers."""
    frame = pd.read_csv(path).iloc[:rows]
    features = [name for name in frame.columns if not name.startswith(("Y", "tau"))]
    labels = {name: frame[name].to_numpy(float) for name in targets}
    return Data(frame[features].to_numpy(float), labels, classes=False)


def made_wrong(data: Data, error: str, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """The labels with a tenth of them wrong, and which are."""
    given, wrong = {}, {}
    for name, labels in data.labels.items():
        chosen = (rng.random(len(labels)) < RATE) & ~np.isnan(labels)
        number = int(chosen.sum())
        found = labels.astype(float)
        classes = len(np.unique(labels[~np.isnan(labels)]))
        if error == "any other":
            found[chosen] = (found[chosen] + rng.integers(1, classes, number)) % classes
        if error == "the next":
            found[chosen] = (found[chosen] + 1) % classes
        if error == "another row's":
            found[chosen] = labels[rng.integers(0, len(labels), number)]
        if error == "× 10":
            found[chosen] *= 10
        if error == "negative":
            found[chosen] *= -1
        given[name] = found
        wrong[name] = chosen & (found != labels)
    return given, wrong


def by_audit(data: Data, given: Labels, wrong: Labels, jobs: int) -> dict[str, Found]:
    """What an audit finds of each target."""
    labels = pd.DataFrame(given)
    if data.classes:
        labels = labels.astype("Int64").astype("string")
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        usual: dict[str, Any] = {"jobs": jobs, "out": folder, "progress": False}
        if data.smiles is None:
            found = audit(data.inputs, labels, **usual)
        else:
            table = labels.assign(smiles=data.smiles)
            found = audit("molecules", options={"data": table}, **usual)
    seconds = (time.perf_counter() - start) / len(given)
    return {
        str(target): _found(
            wrong[target],
            part["row"].to_numpy() - 1,
            part["probability wrong"].to_numpy(),
            part["flagged"].to_numpy(bool),
            float(part.loc[part["flagged"] == 1, "probability wrong"].mean()),
            seconds,
        )
        for target, part in found.labels.groupby("target", sort=False)
    }


def by_cleanlab(
    data: Data, given: NDArray[Any], wrong: NDArray[Any], jobs: int
) -> Iterator[tuple[str, Found]]:
    """What cleanlab finds with each set-up."""
    rows = np.flatnonzero(~np.isnan(given))
    inputs, labels = data.inputs[rows], given[rows]
    for name, make in (OF_CLASSES if data.classes else OF_NUMBERS).items():
        start = time.perf_counter()
        if data.classes:
            integers = labels.astype(int)
            folds = StratifiedKFold(5, shuffle=True, random_state=0)
            probabilities = cross_val_predict(
                make(), inputs, integers, cv=folds, method="predict_proba", n_jobs=jobs
            )
            scores = 1 - get_label_quality_scores(integers, probabilities)
            flagged = find_label_issues(integers, probabilities, n_jobs=1)
        else:
            issues = CleanLearning(make(), seed=0).find_label_issues(inputs, labels)
            scores = 1 - issues["label_quality"].to_numpy()
            flagged = issues["is_label_issue"].to_numpy()
        seconds = time.perf_counter() - start
        yield name, _found(wrong, rows, scores, flagged, float("nan"), seconds)


def _found(
    wrong: NDArray[Any],
    rows: NDArray[Any],
    scores: NDArray[Any],
    flagged: NDArray[Any],
    said: float,
    seconds: float,
) -> Found:
    known = wrong[rows]
    right = float(known[flagged].mean()) if flagged.any() else float("nan")
    precision = float(average_precision_score(known, scores)) if known.any() else float("nan")
    return Found(precision, int(flagged.sum()), right, said, seconds)


def mean(found: Sequence[Found]) -> Found:
    """Over seeds; of flags, where there were any."""
    values = np.array(
        [[each.precision, each.flags, each.right, each.said, each.seconds] for each in found]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        precision, flags, right, said, seconds = np.nanmean(values, 0)
    return Found(precision, round(flags), right, said, seconds)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", help="some of them, by name, with commas between")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    console = Console(width=140)
    table = Table(
        "labels",
        "wrong",
        "audit",
        "cleanlab's best",
        "lead",
        "flags: audit",
        "cleanlab",
        "seconds: audit",
        "cleanlab",
    )
    leads: list[float] = []
    warnings.simplefilter("ignore")
    for name, read in tables(asked.folder).items():
        if asked.tables and name not in asked.tables.split(","):
            continue
        try:
            data = read()
        except FileNotFoundError as error:
            console.print(f"left out: {name}, for want of {error.filename}")
            continue
        errors = (
            ("none", "any other", "the next")
            if data.classes
            else ("none", "another row's", "× 10", "negative")
        )
        if data.classes and max(len(np.unique(y[~np.isnan(y)])) for y in data.labels.values()) < 3:
            errors = errors[:2]
        for error in errors:
            for row, lead in lines(data, error, asked.seeds, asked.jobs):
                table.add_row(f"{name}, {row[0]}", error, *row[1:])
                console.print(name, error, *row, f"{lead:+.3f}", highlight=False)
                leads += [lead] if error != "none" else []
    console.print(table)
    console.print(
        f"average precision above cleanlab's best: {np.mean(leads):+.3f} on average, "
        f"{np.min(leads):+.3f} at worst, of {len(leads)}"
    )


def lines(data: Data, error: str, seeds: int, jobs: int) -> Iterator[tuple[list[str], float]]:
    """For each target a line of the table, and the lead."""
    ours: dict[str, list[Found]] = {name: [] for name in data.labels}
    theirs: dict[str, dict[str, list[Found]]] = {name: {} for name in data.labels}
    for seed in range(seeds):
        given, wrong = made_wrong(data, error, np.random.default_rng(seed))
        for target, found in by_audit(data, given, wrong, jobs).items():
            ours[target].append(found)
        for target in data.labels:
            with threadpool_limits(1):
                for name, found in by_cleanlab(data, given[target], wrong[target], jobs):
                    theirs[target].setdefault(name, []).append(found)
    for target, found in ours.items():
        own = mean(found)
        others = {name: mean(each) for name, each in theirs[target].items()}
        best = max(others, key=lambda name: np.nan_to_num(others[name].precision))
        other, lead = others[best], own.precision - others[best].precision
        yield (
            [
                target,
                f"{own.precision:.3f}",
                f"{other.precision:.3f} ({best})",
                f"{lead:+.3f}",
                f"{own.flags}, {own.right:.2f} wrong, {own.said:.2f} said",
                f"{other.flags}, {other.right:.2f} wrong",
                f"{own.seconds:.0f}",
                f"{other.seconds:.0f}",
            ],
            lead,
        )


if __name__ == "__main__":
    main()
