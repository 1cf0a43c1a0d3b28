"""TorchJD's methods as weightings of ours: the extra ``baselines``.

What TorchJD exports is discovered, so a new release brings its methods along, as attributes of this
module: ``from equipoise.peers import PCGrad``. State is saved with TorchJD's own, and goes on bit
for bit, but for FAMO's optimizer and the batch that it is to see once more, and for NashMTL's last
solution. Of several processes each aggregates its own gradients.
"""

from __future__ import annotations

from equipoise.peers.arguments import PREFIX
from equipoise.peers.discovery import peers, weighting_of
from equipoise.peers.weightings import Aggregated, Scalarized, TorchJD, Updated

__all__ = ["Aggregated", "Scalarized", "TorchJD", "Updated", "peers", "weighting_of"]


def __getattr__(name: str) -> type[TorchJD]:
    """The methods are attributes of this module, so that they can be imported and pickled."""
    if PREFIX + name in peers():
        return peers()[PREFIX + name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
