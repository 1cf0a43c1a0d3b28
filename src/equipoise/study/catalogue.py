"""What there is: methods and problems, for people to read."""

from __future__ import annotations

import inspect

from rich.console import Console
from rich.markup import escape

from equipoise.errors import UserError
from equipoise.problems import BUILT_IN
from equipoise.sample.base import SampleWeighting
from equipoise.study.methods import SAMPLE_WEIGHTINGS, WEIGHTINGS, torchjd_methods
from equipoise.study.options import ProblemSource
from equipoise.study.statistics import IDEAL
from equipoise.task.base import TaskWeighting


def list_methods(console: Console) -> None:
    """Each method with what it is, costs and needs, and where it comes from."""
    kinds: dict[str, type[TaskWeighting | SampleWeighting]] = {**WEIGHTINGS, **SAMPLE_WEIGHTINGS}
    for name, kind in kinds.items():
        console.print(f"[bold]{name}[/]  {_first_line(kind)}")
        console.print(f"    extra passes: {kind.passes}; needs: {kind.needs}; from: {kind.source}")
    console.print(f"[bold]{IDEAL}[/]  The best constant weights, on a problem that knows them.")
    try:
        peers = torchjd_methods()
    except UserError as error:
        console.print(error, markup=False)
        return
    for name, peer in peers.items():
        if peer.left_out is not None:
            console.print(f"[bold]{name}[/]  left out: {escape(peer.left_out)}")
            continue
        console.print(f"[bold]{name}[/]  {escape(peer.summary)}")
        kind = peer.weighting
        facts = f"extra passes: {kind.passes}; needs: {kind.needs}; from: {peer.source}"
        console.print(f"    {facts}", markup=False)
        if peer.missing is not None:
            console.print(f"    {peer.missing}", markup=False)
    console.print(
        "A weighting in front of an aggregator of gradients: [bold]slaw+torchjd/PCGrad[/]."
    )


def list_problems(console: Console) -> None:
    """Each built-in problem with what it is."""
    for name in BUILT_IN:
        console.print(f"[bold]{name}[/]  {_first_line(ProblemSource.find(name).made)}")
    console.print("Options: equipoise compare PROBLEM --help. One of your own: module:attribute.")


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]
