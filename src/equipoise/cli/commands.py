"""The commands, and their options: what they do is in `study`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from equipoise.cli.catalogue import (
    list_methods,
    list_problems,
    list_reproductions,
    show_methods,
)
from equipoise.cli.console import show, show_reproduced, show_together
from equipoise.cli.flags import AUDIT, COMPARE, training
from equipoise.cli.options import PATH, as_options, options_of
from equipoise.errors import UserError
from equipoise.problems import BUILT_IN
from equipoise.study import audit as audits
from equipoise.study import compare as comparisons
from equipoise.study import predict as predictions
from equipoise.study import reproduce as reproductions
from equipoise.study.csv import csv_text
from equipoise.study.files import write_text
from equipoise.study.grids import parse_tune
from equipoise.study.jobs import RunError
from equipoise.study.page.papers import paper_table
from equipoise.study.progress import plain_console
from equipoise.study.results import open_study
from equipoise.study.sources import Source
from equipoise.study.together import together

_HELP = {"help_option_names": ["-h", "--help"]}


class _Commands(click.Group):
    """A group that says of each command its whole first paragraph."""

    heading = "Commands"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section(self.heading):
            formatter.write_dl(
                [(name, (each.help or "").partition("\n\n")[0]) for name, each in found if each]
            )


@click.group(cls=_Commands, context_settings=_HELP)
@click.version_option(package_name="equipoise")
def equipoise() -> None:
    """Keep many losses in balance while one network learns them.

    Compare ways of weighting losses on a problem, with seeds and intervals.
    """


class _Problems(_Commands):
    """A command for each built-in problem, and for any ``module:attribute``.

    ``command_of`` makes it.
    """

    heading = "Built-in problems"

    def __init__(
        self, *arguments: Any, command_of: Callable[[Source], click.Command], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.command_of = command_of

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(BUILT_IN)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.command_of(Source.find(cmd_name))


class _OfProblem(click.Command):
    """A command that lists the options of its problem apart from its own."""

    def __init__(self, *, own: Sequence[click.Option], **options: Any) -> None:
        super().__init__(**options)
        self.own = own

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                records[option in self.own].append(record)
        for part, heading in {True: "Options of the problem", False: "Options"}.items():
            if records[part]:
                with formatter.section(heading):
                    formatter.write_dl(records[part])


def _command(
    source: Source, others: Sequence[click.Option], act: Callable[..., None]
) -> click.Command:
    """The command that makes the problem of its own options, and acts with the others."""
    own = options_of(source)
    names = [str(option.name) for option in (*own, *others)]
    flags = [
        *_HELP["help_option_names"],
        *(flag for option in (*own, *others) for flag in (*option.opts, *option.secondary_opts)),
    ]
    taken = [flag for flag in flags if flags.count(flag) > 1]
    if taken:
        raise UserError(
            f"{source.name} has a parameter of which {taken[0]} is made, which there is already: "
            "give it another name"
        )

    def run(**values: Any) -> None:
        given = {str(option.name): values.pop(str(option.name)) for option in own}
        told = {name: value for name, value in given.items() if value is not None}
        console = plain_console(worded=lambda text: as_options(text, names))
        try:
            act(console, source.name, options=told, **values)
        except UserError as error:
            if isinstance(error, RunError) and error.trace:
                print(error.trace, file=sys.stderr)
            raise UserError(as_options(str(error), names)) from error

    return _OfProblem(
        name=source.name,
        own=own,
        callback=run,
        params=[*own, *others],
        help=as_options(source.description(), names),
        context_settings=_HELP,
    )


def _compare(console: Console, name: str, **values: Any) -> None:
    tune = parse_tune(texts) if (texts := values.pop("tune")) else None
    results = comparisons.compare(name, progress=console, tune=tune, **values)
    show(results, console)
    if results.failures:
        raise RunError(results.failures)


def _audit(console: Console, name: str, **values: Any) -> None:
    found = audits.audit(name, progress=console, **values)
    there = {"every label": found.folder / audits.TABLE, "page": found.page}
    if values["check"] is not None:
        there["to look up"] = found.folder / audits.CHECK
    for line in [*found.findings, *(f"{what}: {path}" for what, path in there.items())]:
        console.print(line)


@equipoise.command(
    cls=_Problems,
    command_of=lambda source: _command(source, [*COMPARE, *training(source.recipe)], _compare),
    subcommand_metavar="PROBLEM [OPTIONS]",
)
def compare() -> None:
    """Train methods side by side on a problem, and say which serves it best.

    PROBLEM is a built-in problem, or one of your own as module:attribute. Its options:
    equipoise compare PROBLEM --help.

    What is finished is kept, and so is how far the other runs are: stop with Ctrl-C, give the same
    command again, and it goes on.
    """


@equipoise.command(
    cls=_Problems,
    command_of=lambda source: _command(source, AUDIT, _audit),
    subcommand_metavar="PROBLEM [OPTIONS]",
)
def audit() -> None:
    """Find labels that are likely to be wrong: of every sample and target, classes or numbers.

    PROBLEM is as for compare, such as table or molecules, and so are its options:
    equipoise audit PROBLEM --help.

    Each label is judged by models that never saw it, and flagged if it is more likely wrong than
    right. The folder has audit.csv with every label, the likeliest to be wrong first, and a page.
    In both, row counts from 1 in your own file without its header.

    With --check some labels are chosen to look up; with --checked the answers are learned from,
    and say how many labels are wrong.

    What is finished is kept: stop with Ctrl-C, give the same command again, and it goes on.
    """


@equipoise.command(context_settings=_HELP)
@click.argument("folder", type=PATH)
@click.argument("rows", type=PATH)
@click.option("--method", help="Whose networks; by default those of the best method.")
@click.option("--device", default="cpu", show_default=True, help="Where to predict.")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="The CSV file to write, not there yet; by default the terminal.",
)
def predict(folder: Path, rows: Path, method: str | None, device: str, out: Path | None) -> None:
    """Predict new samples with the networks of a study.

    FOLDER is the study's, ROWS a file of new samples as the problem takes them.
    """
    if out is not None and out.exists():
        raise UserError(f"--out: there is {out} already; delete it or give another file")
    try:
        found = predictions.predict(folder, rows, method=method, device=device)
    except UserError as error:
        raise UserError(as_options(str(error), ["method", "device"])) from error
    if out is None:
        sys.stdout.write(csv_text(found))
    else:
        write_text(out, csv_text(found))
        plain_console().print(f"predictions: {out}")


@equipoise.command(context_settings=_HELP)
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="FOLDER…")
@click.option(
    "--table",
    type=click.Choice(["markdown", "latex"]),
    help="Print the results of a folder as a table for a paper, and nothing else.",
)
@click.option(
    "--figures",
    type=click.Choice(["svg", "pdf"]),
    help="Write the figures that compare methods into figures/ of each folder.",
)
def report(folders: tuple[Path, ...], table: str | None, figures: str | None) -> None:
    """Write the table, the summary and the page of a folder anew, from its finished runs.

    Of three folders or more: the places of the methods over all of these studies, Friedman's test,
    and by how much mean places must differ (Nemenyi).
    """
    studies = [open_study(folder) for folder in folders]
    if table is not None:
        for each in studies:
            print(paper_table(each.comparison, table))
    elif figures is not None:
        for each in studies:
            for path in each.write_figures(figures):
                plain_console().print(str(path))
    elif len(studies) == 1:
        studies[0].write()
        show(studies[0], plain_console())
    else:
        show_together(together(studies), plain_console())


@equipoise.command(context_settings=_HELP)
@click.argument("name", required=False)
@click.option("--quick", is_flag=True, help="In minutes on two cores; this is the default.")
@click.option("--full", is_flag=True, help="With the paper's sizes.")
@click.option("--data", type=PATH, metavar="FILE", help="What it needs, if it needs any.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Runs at once.")
@click.option(
    "--out",
    type=PATH,
    metavar="FOLDER",
    help="Where the results go; by default results/reproduce/NAME.",
)
def reproduce(
    name: str | None, quick: bool, full: bool, data: Path | None, jobs: int, out: Path | None
) -> None:
    """Make an experiment of the SLAW or the SLGrad paper again; without NAME list them.

    It ends with a page: the paper's figure with our numbers, and whether its claims held. What is
    finished is kept: stop with Ctrl-C, give the same command again, and it goes on.
    """
    if quick and full:
        raise UserError("give --quick or --full, one of the two")
    names = ["data", "jobs", "out"]
    console = plain_console(worded=lambda text: as_options(text, names))
    if name is None:
        list_reproductions(plain_console(markup=True))
        return
    try:
        found = reproductions.reproduce(
            name, full=full, data=data, jobs=jobs, out=out, progress=console
        )
    except UserError as error:
        raise UserError(as_options(str(error), names)) from error
    show_reproduced(found, console)


@equipoise.command(context_settings=_HELP)
@click.argument("method", required=False)
def methods(method: str | None) -> None:
    """List the methods: what each is, costs and needs.

    With METHOD, such as slaw, torchjd/CAGrad or your own module:Class: its options too.
    """
    if method is None:
        list_methods(plain_console(markup=True))
    else:
        show_methods(plain_console(markup=True), method)


@equipoise.command(context_settings=_HELP)
def problems() -> None:
    """List the built-in problems."""
    list_problems(plain_console(markup=True))
