"""What there is: methods and problems, for people to read."""

from __future__ import annotations

import inspect

from rich.console import Console
from rich.markup import escape

from equipoise.errors import UserError
from equipoise.problems import BUILT_IN
from equipoise.reproductions import REPRODUCTIONS
from equipoise.study.arguments import options_of
from equipoise.study.meanings import meanings, plain
from equipoise.study.methods import TORCHJD, WEIGHTINGS, find_methods, torchjd_methods
from equipoise.study.names import IDEAL
from equipoise.study.reproduce import reproduction
from equipoise.study.sources import Source
from equipoise.weighting import Weighting


def list_methods(console: Console) -> None:
    """Each method with what it is, costs and needs, and where it comes from."""
    for name, kind in WEIGHTINGS.items():
        _describe(console, name, kind)
    console.print(f"[bold]{IDEAL}[/]  The best constant weights, on a problem that knows them.")
    try:
        peers = torchjd_methods()
    except UserError as error:
        console.print(error, markup=False)
    else:
        for name, peer in peers.items():
            _describe(console, name, peer)
    console.print("Options of a method: equipoise methods slaw. One of your own: module:Class.")
    console.print(
        "A weighting in front of one of samples, or of an aggregator of gradients: "
        "[bold]slaw+slgate[/], [bold]slaw+torchjd/PCGrad[/]."
    )


def show_methods(console: Console, text: str) -> None:
    """What is known of each class in a text that names methods, and its options.

    Raises:
        UserError: if there is no such method.
    """
    for method in find_methods(text):
        for part in method.parts:
            _describe(console, part.name, part.kind, options=True)


def list_problems(console: Console) -> None:
    """Each built-in problem with what it is."""
    width = max(map(len, BUILT_IN))
    for name in BUILT_IN:
        line = _first_line(Source.find(name).made)
        console.print(f"[bold]{name:{width}}[/]  {escape(line)}")
    console.print("Options: equipoise compare PROBLEM --help. One of your own: module:attribute.")


def list_reproductions(console: Console) -> None:
    """Each experiment with what it is, and the data that it needs."""
    width = max(map(len, REPRODUCTIONS))
    for name in REPRODUCTIONS:
        found = reproduction(name)
        console.print(f"[bold]{name:{width}}[/]  {escape(found.title)}")
        if found.data:
            console.print(f"{'':{width}}  --data: {escape(found.data)}")


def _describe(console: Console, name: str, kind: type[Weighting], *, options: bool = False) -> None:
    peer = torchjd_methods()[name] if name.startswith(TORCHJD) else None
    if peer and (reason := peer.left_out()):
        console.print(f"[bold]{name}[/]  left out: {escape(reason)}")
        return
    console.print(f"[bold]{name}[/]  {escape(_first_line(kind))}")
    facts = f"    extra passes: {kind.passes}; needs: {kind.needs}"
    console.print(f"{facts}; from: {kind.source}" if kind.source else facts, markup=False)
    if peer and (missing := peer.missing()):
        console.print(f"    {missing}", markup=False)
    if options:
        _list_options(console, kind)


def _list_options(console: Console, kind: type[Weighting]) -> None:
    known = meanings(kind)
    for option in options_of(kind).values():
        meaning = known.get(option.name, "")
        console.print(f"    [bold]{escape(str(option))}[/]  {escape(meaning)}")


def _first_line(thing: object) -> str:
    return plain((inspect.getdoc(thing) or "").split("\n")[0])
