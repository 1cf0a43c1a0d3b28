"""Predictions of new samples by the networks of a study's best method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from equipoise.errors import UserError
from equipoise.problems.problem import Problem
from equipoise.study.folder import (
    NETWORK,
    check_free,
    read_network,
    read_runs,
    run_folder,
    run_folders,
    write_text,
)
from equipoise.study.statistics import Summary


def check_predictions(name: str, problem: Problem, samples: Path | None, path: Path | None) -> None:
    """Try what ``--predict`` asks for, if it does, with a network that has learned nothing.

    Args:
        name: of the problem.
        problem: that is to predict.
        samples: the file of new samples, of ``--predict``.
        path: the file to write, of ``--predictions``.

    Raises:
        UserError: if they cannot be made.
    """
    if samples is None and path is None:
        return
    if samples is None or path is None:
        raise UserError(
            "--predict FILE, the new samples, and --predictions OUT.csv, the file to write, go "
            "together: give both or neither"
        )
    if problem.predict is None:
        raise UserError(
            f"{name} cannot predict new samples, as it has no predict: leave out --predict and "
            "--predictions"
        )
    check_free("--predictions", path)
    _predict(problem, samples, [problem.network()])
    path.parent.mkdir(parents=True, exist_ok=True)


def check_networks(out: Path) -> None:
    """Raise a :class:`UserError` if a finished run of the folder of a study has no network."""
    without = [folder for folder in run_folders(out) if not (folder / NETWORK).exists()]
    if without:
        raise UserError(
            f"{len(without)} of the finished runs, such as {without[0]}, have no {NETWORK}, as an "
            "earlier Equipoise made them: delete the folders of these runs, and the same command "
            "makes them anew"
        )


def write_predictions(
    problem: Problem, summary: Summary, out: Path, samples: Path, path: Path, device: torch.device
) -> str:
    """Write what the networks of the best method predict, whole or not at all.

    Args:
        problem: that can predict.
        summary: of the study.
        out: the study's folder.
        samples: the file of new samples.
        path: the file to write, not there yet.
        device: where to predict.

    Returns:
        A line that says which networks predicted.

    Raises:
        UserError: if no method can be chosen, or a network cannot be read.
    """
    if not summary.eligible:
        raise UserError(
            f"no method has a finite {summary.criterion}, so none can predict {samples}"
        )
    method = summary.eligible[0].method
    networks = [
        _trained(problem, run_folder(out, method, run.seed, None)).to(device)
        for run in read_runs(out)
        if run.method == method
    ]
    text = _predict(problem, samples, networks)
    check_free("--predictions", path)
    write_text(path, text)
    runs = "the run" if len(networks) == 1 else f"the {len(networks)} runs"
    return f"predictions: {path}, by {runs} of {method}"


def _predict(problem: Problem, samples: Path, networks: Sequence[nn.Module]) -> str:
    assert problem.predict is not None
    with torch.no_grad():
        frame = problem.predict(samples, [network.eval() for network in networks])
    return frame.to_csv(index=False)


def _trained(problem: Problem, folder: Path) -> nn.Module:
    network = problem.network()
    try:
        network.load_state_dict(read_network(folder))
    except RuntimeError as error:
        raise UserError(
            f"{folder / NETWORK} is not of this problem's network: delete {folder}, and the same "
            "command makes it anew"
        ) from error
    return network
