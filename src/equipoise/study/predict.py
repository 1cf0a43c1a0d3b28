"""Predictions of new samples by the networks of a study's best method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from equipoise.errors import UserError
from equipoise.problems import BUILT_IN
from equipoise.problems.problem import Problem
from equipoise.study.asked import check_device
from equipoise.study.configuration import Study
from equipoise.study.files import HASH
from equipoise.study.folder import place_of
from equipoise.study.modules import users_own
from equipoise.study.results import open_study
from equipoise.study.runs import Run
from equipoise.study.settings import PathLike
from equipoise.study.sources import ProblemLike, Source


def predict(
    folder: PathLike,
    rows: PathLike | pd.DataFrame,
    *,
    problem: ProblemLike | pd.DataFrame | None = None,
    method: str | None = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """What the networks of a study predict for new samples, together.

    Args:
        folder: of a study, of a problem that can predict.
        rows: the new samples: a file, or a data frame for a problem that takes one.
        problem: the study's, if it is not one that its name stands for, or its files have moved;
            then with the study's options.
        method: whose networks; by default those of the best method of a finished study.
        device: where to predict.

    Returns:
        A row for each sample, in order; for its columns see the problem.

    Raises:
        UserError: if the problem cannot predict, is not the study's, no method can be chosen, or a
            network is not finite.
    """
    results = open_study(folder)
    if results.study.splits is not None:
        raise UserError(
            f"{folder} is a study with `splits`, whose networks were trained on different parts: "
            "predict with one without"
        )
    found = _problem_of(results.study, problem)
    if found.predict is None:
        raise UserError(f"{results.study.problem} cannot predict new samples")
    check_device(device)
    chosen = results.best if method is None else method
    if chosen is None:
        raise UserError(f"{folder} names no best method: {results.verdict} Give a `method`")
    for each in results.damaged:
        if each.path.parent == place_of(results.folder, results.study, chosen, 0, None).parent:
            raise UserError(
                f"{each.path} cannot be trusted ({each.reason}): the command that made the study "
                "trains it anew"
            )
    runs = [run for run in results.deciding_runs if run.facts.method == chosen and run.has_network]
    if not runs:
        raise UserError(f"{folder} has no networks of {chosen}")
    networks = [_trained(found, run).to(device).eval() for run in runs]
    with torch.no_grad(), users_own(results.study.problem):
        return found.predict(rows if isinstance(rows, pd.DataFrame) else Path(rows), networks)


def _problem_of(study: Study, problem: ProblemLike | pd.DataFrame | None) -> Problem:
    """The problem that the study was of."""
    options: dict[str, Any] = {**study.options, **study.files}
    options.pop("source", None)
    if isinstance(problem, pd.DataFrame):
        problem, options = "table", {**options, "data": problem}
    elif problem is None:
        if not _named(study) or any(str(each).startswith(HASH) for each in options.values()):
            raise UserError(
                "the study was made with an object of a program: give it as `problem` too"
            )
        problem = study.problem
    source = Source.of(problem)
    made = {} if isinstance(source.made, Problem) else source.options(options)
    found = source.make(made)
    if source.identity(made, found) != study.options:
        raise UserError(
            f"{source.name} is not as it was when the study was made: its options, files or text "
            "differ"
        )
    return found


def _named(study: Study) -> bool:
    return study.problem in BUILT_IN or ":" in study.problem


def _trained(problem: Problem, run: Run) -> nn.Module:
    """The network of a run.

    Raises:
        UserError: if it is of another problem, or cannot predict anything.
    """
    network, state = problem.network(), run.network()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"the network of {run.name} is not of this problem's kind") from error
    if not all(_finite(each) for each in state.values()):
        raise UserError(
            f"the network of {run.name} has parameters that are not finite: it predicts nothing"
        )
    return network


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
