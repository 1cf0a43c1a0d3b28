"""The commands, and their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from equipoise.cli.catalogue import list_methods, list_problems, show_methods
from equipoise.cli.console import plain_console
from equipoise.cli.options import ProblemSource
from equipoise.errors import UserError, near_match
from equipoise.problems import BUILT_IN
from equipoise.study import actions
from equipoise.study.folder import read_study
from equipoise.study.methods import DEFAULT

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
        help="Methods, by the names of `equipoise methods`, with options as in 'slaw(beta=0.9)'; "
        "by default " + ", ".join(DEFAULT) + ".",
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
    command_of=lambda source: _command(source, _COMPARE, actions.compare),
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
    command_of=lambda source: _command(source, _AUDIT, actions.audit),
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


@equipoise.command(context_settings=_HELP)
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write the table, the summary and the page of a folder anew, from its finished runs."""
    actions.finish(folder, read_study(folder))


@equipoise.command(context_settings=_HELP)
@click.argument("method", required=False)
def methods(method: str | None) -> None:
    """List the methods: what each is, costs and needs.

    With METHOD, such as slaw, torchjd/CAGrad or your own module:Class: its options too.
    """
    if method is None:
        list_methods(plain_console())
    else:
        show_methods(plain_console(), method)


@equipoise.command(context_settings=_HELP)
def problems() -> None:
    """List the built-in problems."""
    list_problems(plain_console())
