"""What the commands do, once their options are read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from equipoise.cli.console import Progress, detection_lines, plain_console, summary_table
from equipoise.cli.options import ProblemSource
from equipoise.errors import UserError
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.audit import audit_table, check_audit, findings
from equipoise.study.folder import Study, check_free, open_study, write_corrupted, write_text
from equipoise.study.jobs import check_sources, jobs_of, run_jobs, write_results
from equipoise.study.loop import WEIGHT_ERROR
from equipoise.study.memory import check_memory
from equipoise.study.methods import check_methods, default_methods
from equipoise.study.predict import check_networks, check_predictions, write_predictions
from equipoise.study.statistics import Summary, verdict


def compare(
    source: ProblemSource,
    values: dict[str, Any],
    *,
    methods: str | None,
    seeds: int,
    steps: int | None,
    batch_size: int | None,
    lr: float | None,
    single_task: bool,
    device: str,
    out: Path | None,
    predict: Path | None,
    predictions: Path | None,
) -> None:
    """Train the methods, or what is left of that, and write results and predictions."""
    console = plain_console()
    place = _device(device)
    problem = source.make(values)
    text = default_methods(problem) if methods is None else methods
    chosen = check_methods(text, problem)
    recipe = _recipe(problem, steps, batch_size, lr)
    check_memory(problem, chosen, recipe, place)
    check_predictions(source.name, problem, predict, predictions)
    study = _study(source, values, problem, recipe)
    folder = out or Path("results") / re.sub(r"[^\w.-]", "-", source.name)
    open_study(folder, study)
    jobs = jobs_of(chosen, problem, seeds, single_task)
    check_sources(jobs, folder)
    if predict and predictions:
        check_networks(folder)
    for name, text in problem.files.items():
        write_text(folder / name, text)
    write_corrupted(folder, problem)
    _say_what_is_trained(console, study, problem, f"{len(chosen)} methods, {seeds} seeds")
    try:
        with Progress(console, study, recipe.steps, len(jobs)) as progress:
            for _ in run_jobs(jobs, problem, recipe, place, folder, progress):
                pass
    except KeyboardInterrupt:
        console.print(
            f"stopped; the same command goes on from here, and `equipoise report {folder}` shows "
            "what is finished",
            markup=False,
        )
        raise SystemExit(130) from None
    summary = finish(folder, study)
    if predict and predictions:
        said = write_predictions(problem, summary, folder, predict, predictions, place)
        console.print(said, markup=False)


def audit(
    source: ProblemSource,
    values: dict[str, Any],
    *,
    method: str,
    seeds: int,
    steps: int | None,
    batch_size: int | None,
    lr: float | None,
    device: str,
    out: Path,
) -> None:
    """Train, and write the table of suspicious labels."""
    console = plain_console()
    place = _device(device)
    problem = source.make(values)
    chosen = check_audit(method, problem)
    recipe = _recipe(problem, steps, batch_size, lr)
    check_memory(problem, [chosen], recipe, place)
    check_free("--out", out)
    out.parent.mkdir(parents=True, exist_ok=True)
    study = _study(source, values, problem, recipe)
    _say_what_is_trained(console, study, problem, f"{chosen.label}, {seeds} seeds")
    with Progress(console, study, recipe.steps, seeds) as progress:
        table = audit_table(problem, chosen, recipe, seeds, place, progress)
    check_free("--out", out)
    write_text(out, table.to_csv(index=False))
    for line in findings(table):
        console.print(line, markup=False)
    console.print(f"labels: {out}", markup=False)


def _recipe(
    problem: Problem, steps: int | None, batch_size: int | None, lr: float | None
) -> Recipe:
    usual = problem.recipe
    return replace(
        usual,
        steps=steps or usual.steps,
        batch_size=batch_size or usual.batch_size,
        lr=lr or usual.lr,
    )


def _say_what_is_trained(console: Console, study: Study, problem: Problem, runs: str) -> None:
    steps, batch_size = study.recipe["steps"], study.recipe["batch_size"]
    console.print(
        f"{study.problem}: {len(problem.tasks)} tasks, {len(problem.train):,} samples to train "
        f"on, {len(problem.validation):,} to choose on, {len(problem.test):,} to test; "
        f"{runs}, {steps:,} steps of {batch_size:,}",
        markup=False,
    )
    if problem.main is not None:
        console.print(f"main task: {problem.main}; its {problem.objective} decides", markup=False)
    for note in problem.notes:
        console.print(f"note: {note}", markup=False)


def finish(folder: Path, study: Study) -> Summary:
    """Write the results of a folder's runs, and say what came out."""
    console = plain_console()
    summary = write_results(folder, study)
    console.print(summary_table(summary, console.width))
    for line in detection_lines(summary):
        console.print(line, markup=False)
    console.print(verdict(summary), markup=False)
    console.print(f"page: {folder / 'report.html'}")
    return summary


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used here: {reason}") from None


def _study(
    source: ProblemSource, values: dict[str, Any], problem: Problem, recipe: Recipe
) -> Study:
    goals = dict(problem.goals)
    if problem.ideal_weights is not None:
        goals[WEIGHT_ERROR] = "min"
    return Study(
        problem=source.name,
        options=source.identity(values),
        recipe={"steps": recipe.steps, "batch_size": recipe.batch_size, "lr": recipe.lr},
        tasks=tuple(problem.tasks),
        goals=goals,
        notes=tuple(problem.notes),
        main=problem.main,
    )
