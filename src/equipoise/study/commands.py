"""The commands, and their options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from equipoise.errors import UserError, near_match
from equipoise.problems import BUILT_IN
from equipoise.problems.problem import Problem, Recipe
from equipoise.study.audit import audit_table, check_audit, findings
from equipoise.study.catalogue import list_methods, list_problems
from equipoise.study.console import Progress, detection_lines, plain_console, summary_table
from equipoise.study.memory import check_memory
from equipoise.study.methods import (
    DEFAULT,
    check_methods,
    default_methods,
)
from equipoise.study.options import ProblemSource
from equipoise.study.predictions import check_networks, check_predictions, write_predictions
from equipoise.study.results import (
    Study,
    check_free,
    open_study,
    read_study,
    write_corrupted,
    write_text,
)
from equipoise.study.runner import jobs_of, run_jobs, write_results
from equipoise.study.statistics import Summary, verdict
from equipoise.study.train import WEIGHT_ERROR

_HELP = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=_HELP)
@click.version_option(package_name="equipoise")
def equipoise() -> None:
    """Keep many losses in balance while one network learns them.

    Compare ways of weighting losses on a problem, with seeds and intervals.
    """


class _Problems(click.Group):
    """A command for each built-in problem, and for any ``module:attribute``.

    ``command_of`` makes it.
    """

    def __init__(
        self, *arguments: Any, command_of: Callable[[ProblemSource], click.Command], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.command_of = command_of

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(BUILT_IN)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.command_of(ProblemSource.find(cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in BUILT_IN and ":" not in args[0]:
            hint = near_match(args[0], BUILT_IN)
            raise UserError(
                f"there is no problem {args[0]!r}: {hint} One of your own is module:attribute"
            )
        return super().resolve_command(ctx, args)


_TRAINING = [
    click.Option(
        ["--seeds"],
        type=click.IntRange(1),
        default=3,
        show_default=True,
        help="Runs of each method.",
    ),
    click.Option(["--steps"], type=click.IntRange(1), help="Optimizer steps of a run."),
    click.Option(["--batch-size"], type=click.IntRange(1), help="Samples in a batch."),
    click.Option(["--lr"], type=click.FloatRange(0, min_open=True), help="Learning rate."),
    click.Option(["--device"], default="cpu", show_default=True, help="Where to train."),
]

_COMPARE = [
    click.Option(
        ["--methods"],
        metavar="A,B,…",
        help="Methods, by the names of `equipoise methods`; by default " + ", ".join(DEFAULT) + ".",
    ),
    *_TRAINING,
    click.Option(
        ["--single-task"],
        is_flag=True,
        help="Also learn each task alone, and measure the methods against that (Δm).",
    ),
    click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Where the results go; by default results/PROBLEM.",
    ),
    click.Option(
        ["--predict"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="New samples, which the networks of the best method's runs then predict.",
    ),
    click.Option(
        ["--predictions"],
        type=click.Path(path_type=Path),
        metavar="OUT.csv",
        help="Where their predictions go.",
    ),
]

_AUDIT = [
    click.Option(
        ["--method"],
        default="slgate",
        show_default=True,
        help="What to train with: a weighting of samples that asks for held-out ones.",
    ),
    *_TRAINING,
    click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        default="audit.csv",
        show_default=True,
        metavar="FILE",
        help="The file to write, not there yet.",
    ),
]


def _command(
    source: ProblemSource, options: Sequence[click.Option], act: Callable[..., None]
) -> click.Command:
    """The command that makes the problem of its own options, and acts with the others."""
    own = source.options()
    taken = {option.name for option in own} & {option.name for option in options}
    if taken:
        name = sorted(map(str, taken))[0]
        raise UserError(f"{source.name} has a parameter that the command has too: {name}")

    def run(**values: Any) -> None:
        others = {option.name: values.pop(str(option.name)) for option in options}
        act(source, values, **others)

    return click.Command(
        source.name,
        callback=run,
        params=[*own, *options],
        help=source.description(),
        context_settings=_HELP,
    )


@equipoise.command(
    cls=_Problems,
    command_of=lambda source: _command(source, _COMPARE, _compare),
    subcommand_metavar="PROBLEM [OPTIONS]",
)
def compare() -> None:
    """Train methods side by side on a problem, and say which serves it best.

    PROBLEM is a built-in problem, or one of your own as module:attribute. Its options:
    equipoise compare PROBLEM --help.

    What is finished is kept: stop with Ctrl-C, give the same command again, and it goes on.
    """


@equipoise.command(
    cls=_Problems,
    command_of=lambda source: _command(source, _AUDIT, _audit),
    subcommand_metavar="PROBLEM [OPTIONS]",
)
def audit() -> None:
    """Find training labels that are likely to be wrong, and list the most suspicious first.

    PROBLEM is as for compare, with a main task and samples held out, and has the same options:
    equipoise audit PROBLEM --help.

    Suspicious is a label on which training makes the main task worse on held-out samples: its
    alignment, a mean over the training and all seeds, is negative. In the file that is written,
    sample counts from 0 in the training part; row, where there is one, from 1 in your own file
    without its header.

    Labels of other tasks can be right and yet harm the main task, so each task is ranked by itself:
    to find wrong labels of a task, make it the main one.
    """


def _compare(
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
    console = plain_console()
    place = _device(device)
    problem = source.make(values)
    chosen = [name.strip() for name in methods.split(",")] if methods else default_methods(problem)
    chosen = check_methods(chosen, problem)
    recipe = _recipe(problem, steps, batch_size, lr)
    check_memory(problem, chosen, recipe, place)
    check_predictions(source.name, problem, predict, predictions)
    study = _study(source, values, problem, recipe)
    folder = out or Path("results") / re.sub(r"[^\w.-]", "-", source.name)
    open_study(folder, study)
    if predict and predictions:
        check_networks(folder)
    for name, text in problem.files.items():
        write_text(folder / name, text)
    write_corrupted(folder, problem)
    _say_what_is_trained(console, study, problem, f"{len(chosen)} methods, {seeds} seeds")
    jobs = jobs_of(chosen, seeds, len(problem.tasks) if single_task else 0)
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
    summary = _finish(folder, study)
    if predict and predictions:
        said = write_predictions(problem, summary, folder, predict, predictions, place)
        console.print(said, markup=False)


def _audit(
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
    console = plain_console()
    place = _device(device)
    problem = source.make(values)
    name = check_audit(method, problem)
    recipe = _recipe(problem, steps, batch_size, lr)
    check_memory(problem, [name], recipe, place)
    check_free("--out", out)
    out.parent.mkdir(parents=True, exist_ok=True)
    study = _study(source, values, problem, recipe)
    _say_what_is_trained(console, study, problem, f"{name}, {seeds} seeds")
    with Progress(console, study, recipe.steps, seeds) as progress:
        table = audit_table(problem, name, recipe, seeds, place, progress)
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
        f"{runs}, {steps:,} steps of {batch_size:,}"
    )
    if problem.main is not None:
        console.print(f"main task: {problem.main}; its {problem.objective} decides", markup=False)
    for note in problem.notes:
        console.print(f"note: {note}", markup=False)


def _finish(folder: Path, study: Study) -> Summary:
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


@equipoise.command(context_settings=_HELP)
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write the table, the summary and the page of a folder anew, from its finished runs."""
    _finish(folder, read_study(folder))


@equipoise.command(context_settings=_HELP)
def methods() -> None:
    """List the methods: what each is, costs and needs."""
    list_methods(plain_console())


@equipoise.command(context_settings=_HELP)
def problems() -> None:
    """List the built-in problems."""
    list_problems(plain_console())
