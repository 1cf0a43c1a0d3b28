"""The options of the commands that are not those of a problem."""

from __future__ import annotations

import click

from equipoise.cli.options import PATH
from equipoise.problems.problem import Recipe
from equipoise.study.methods import DEFAULT
from equipoise.study.settings import DEFAULTS


def training(recipe: Recipe | None) -> list[click.Option]:
    """How to train; what a recipe says unless a user does stands in the help."""

    def usual(name: str) -> str:
        value = getattr(recipe, name, None)
        if name == "steps" and value is None and recipe is not None and recipe.epochs:
            return f"  [default: {recipe.epochs} epochs]"
        return "" if value is None else f"  [default: {value:,}]"

    return [
        click.Option(
            ["--seeds"],
            type=int,
            default=DEFAULTS["seeds"],
            show_default=True,
            help="Runs of a method.",
        ),
        click.Option(["--steps"], type=int, help=f"Optimizer steps of a run.{usual('steps')}"),
        click.Option(["--batch-size"], type=int, help=f"Samples in a batch.{usual('batch_size')}"),
        click.Option(["--lr"], type=float, help=f"Learning rate.{usual('lr')}"),
        click.Option(
            ["--device"], default=DEFAULTS["device"], show_default=True, help="Where to train."
        ),
        click.Option(
            ["--threads"],
            type=int,
            default=DEFAULTS["threads"],
            show_default=True,
            help="Threads of a process that trains; more pay for large networks only.",
        ),
        click.Option(
            ["--processes"],
            type=int,
            default=DEFAULTS["processes"],
            show_default=True,
            help="Processes that train a run together (DistributedDataParallel).",
        ),
        click.Option(
            ["--jobs"],
            type=int,
            default=DEFAULTS["jobs"],
            show_default=True,
            help="Runs at once, here.",
        ),
        click.Option(
            ["--on"],
            type=click.Choice(["processes", "ray"]),
            default=DEFAULTS["on"],
            show_default=True,
            help="What makes the runs: processes of this machine, or Ray.",
        ),
        click.Option(["--address"], help="Of a Ray cluster; without it Ray starts one here."),
        click.Option(
            ["--checkpoint"],
            type=float,
            default=DEFAULTS["checkpoint"],
            show_default=True,
            metavar="SECONDS",
            help="How often a run on its way is kept.",
        ),
        click.Option(
            ["--out"],
            type=PATH,
            metavar="FOLDER",
            help="Where the results go; by default results/PROBLEM.",
        ),
    ]


COMPARE = [
    click.Option(
        ["--methods"],
        metavar="A,B,…",
        help="Methods, by the names that 'equipoise methods' lists, with options as in "
        "'slaw(beta=0.9)'; "
        "by default " + ", ".join(DEFAULT) + ".",
    ),
    click.Option(
        ["--single-task"],
        is_flag=True,
        help="Also learn each task alone, and measure the methods against that (Δm).",
    ),
    click.Option(
        ["--confirm"],
        type=int,
        metavar="SEEDS",
        help="Then train the leading method, and equal weights, with so many fresh seeds.",
    ),
    click.Option(
        ["--confirm-top"],
        type=int,
        default=1,
        show_default=True,
        help="How many methods lead.",
    ),
    click.Option(
        ["--tune"],
        multiple=True,
        metavar="NAME=A,B,…",
        help="Values of lr, batch_size or an option of methods, of which each method gets its best "
        "on the validation part; may be repeated. Or a number: learning rates that Optuna tries.",
    ),
    click.Option(
        ["--tune-seeds"],
        type=int,
        default=2,
        show_default=True,
        help="Runs of each value, with seeds of their own.",
    ),
    click.Option(
        ["--splits"],
        is_flag=True,
        help="Draw training, held-out and test part anew with each seed.",
    ),
    click.Option(
        ["--equal-time"],
        type=click.Choice(["operations", "seconds"]),
        is_flag=False,
        flag_value="operations",
        help="Also train each method for the time of equal weights, by counted operations of a "
        "step (if only the option is given) or by measured seconds.",
    ),
    click.Option(
        ["--decide"],
        type=click.Choice(["steps", "time"]),
        default="steps",
        show_default=True,
        help="Whether the table at equal steps or at equal time has the verdict.",
    ),
]

AUDIT = [
    click.Option(
        ["--check"],
        type=int,
        metavar="LABELS",
        help="Choose so many labels to look up, into check.csv: half the likeliest to be wrong, "
        "half at random within targets and classes.",
    ),
    click.Option(
        ["--checked"],
        type=PATH,
        metavar="FILE",
        help="That file, with its column 'answer' filled in as far as labels were looked up.",
    ),
    click.Option(
        ["--seed"],
        type=int,
        default=0,
        show_default=True,
        help="Of the folds, the models and the choice to look up.",
    ),
    click.Option(["--jobs"], type=int, default=1, show_default=True, help="Models fitted at once."),
    click.Option(
        ["--out"],
        type=PATH,
        metavar="FOLDER",
        help="Where the results go; by default results/audit-PROBLEM.",
    ),
]
