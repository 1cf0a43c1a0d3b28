"""TorchJD's classes, found in what it exports."""

from __future__ import annotations

import inspect
import re
from functools import cache
from importlib.metadata import version

from torch import nn
from torchjd import aggregation, scalarization
from torchjd.aggregation import Aggregator, GramianWeightedAggregator, WeightedAggregator, Weighting
from torchjd.scalarization import Scalarizer

from equipoise.directional import Shared
from equipoise.peers.arguments import ARGUMENTS, NOT_SAVED, PREFIX
from equipoise.peers.weightings import Aggregated, Scalarized, TorchJD, Updated

BASES = (Scalarizer, Aggregator, WeightedAggregator, GramianWeightedAggregator, Weighting)


@cache
def peers() -> dict[str, type[TorchJD]]:
    """All methods that TorchJD exports, by our names, those that cannot be compared too.

    An aggregator with the name of a scalarizer (``Mean``, …) is not listed: what it does needs no
    Jacobian.
    """
    found: dict[str, type[TorchJD]] = {}
    for module, base in (
        (scalarization, Scalarizer),
        (aggregation, Aggregator),
        (aggregation, Weighting),
    ):
        for exported in sorted(module.__all__, key=str.lower):
            kind = getattr(module, exported)
            if isinstance(kind, type) and issubclass(kind, base) and kind not in BASES:
                own = exported.removesuffix("Weighting")
                found.setdefault(PREFIX + own, weighting_of(own, kind))
    return found


def weighting_of(own: str, kind: type[nn.Module]) -> type[TorchJD]:
    """A class of weightings that runs a class of TorchJD's, named as that is there."""
    base: type[TorchJD] = Scalarized
    if issubclass(kind, Aggregator):
        base = Aggregated
    elif hasattr(kind, "update"):
        base = Updated
    docstring = inspect.getdoc(kind) or ""
    papers = re.findall(r"<(\S+)>`_", " ".join(docstring.split("\n\n")[0].split()))
    return type(
        own,
        (base,),
        {
            "__doc__": _described(docstring),
            "__module__": __package__,
            "__signature__": _signature(kind),
            "name": PREFIX + own,
            "kind": kind,
            "resumes": kind.__name__ not in NOT_SAVED,
            "source": ", ".join([f"TorchJD {version('torchjd')}", *papers[:1]]),
        },
    )


def _described(docstring: str) -> str:
    """The first sentence of TorchJD's, and what it says of parameters, in the form of ours."""
    plain = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", docstring)
    plain = re.sub(r"`([^`<]+?)\s<[^`]*>`_", r"\1", plain)
    first = re.split(r"(?<=\.)\s", " ".join(plain.split("\n\n")[0].split()))[0]
    parameters = re.findall(
        r"^:param (\w+): (.*?)(?=\n\S|\n\n|\Z)", plain, re.DOTALL | re.MULTILINE
    )
    lines = [f"    {name}: {' '.join(text.split())}" for name, text in parameters]
    return "\n".join([first, *(["", "Args:", *lines] if lines else [])])


def _signature(kind: type[nn.Module]) -> inspect.Signature:
    """Of our constructor: TorchJD's options, but for what follows from the number of tasks."""
    try:
        theirs = inspect.signature(kind, eval_str=True).parameters.values()
    except NameError:  # an annotation that is there for type checkers only
        theirs = inspect.signature(kind).parameters.values()
    make = ARGUMENTS.get(kind.__name__)
    two, three = ({}, {}) if make is None else (make(2), make(3))
    given = {name: value for name, value in two.items() if str(value) == str(three[name])}
    return inspect.Signature(
        [
            inspect.Parameter("tasks", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter(
                "shared", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Shared | None
            ),
            *(
                each.replace(
                    kind=inspect.Parameter.KEYWORD_ONLY, default=given.get(each.name, each.default)
                )
                for each in theirs
                if each.name in given or each.name not in two
            ),
        ]
    )
