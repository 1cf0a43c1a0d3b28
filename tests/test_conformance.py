"""Every weighting of ours, of TorchJD's and of a user's answers the questions of the contract."""

import pytest
import torch

import equipoise
from equipoise import sample, task
from equipoise.peers import Scalarized, peers
from equipoise.testing import CHECKS, Case, conformance, tolerance
from equipoise.weighting import Weighting

LAST = "a task without labels stands at its last loss, as TorchJD's scalarizers want all of them"
NO_WEIGHTS = "it makes a gradient that is no weighted sum"
WITHOUT = {
    **{
        ("no_label_at_all", kind.__name__): LAST
        for kind in peers().values()
        if issubclass(kind, Scalarized)
    },
    **{("gradient", name): NO_WEIGHTS for name in ("ConFIG", "GradDrop", "TrimmedMean")},
    ("precision", "GradVac"): "TorchJD forgets its state when the dtype changes",
    ("precision", "FAMO"): "it looks at the batch before once more, which was of another dtype",
    ("absent_task", "Krum"): "it wants three rows",
    ("no_label_at_all", "Krum"): "it wants three rows",
    ("number_of_tasks", "Krum"): "it wants three rows",
}
"""What TorchJD's methods are not asked, and why. Ours are asked everything."""

OURS = [getattr(module, name) for module in (task, sample) for name in module.__all__]
PEERS = [kind for kind in peers().values() if kind.left_out() is None]
VARIANTS = [
    (equipoise.SLAW, {"averaging": "paper"}),
    (equipoise.SLAW, {"bounds": (0.1, 2.0), "warmup": 3}),
    (equipoise.SLAW, {"floor": "relative"}),
    (equipoise.SLAW, {"spread": "differences"}),
    (equipoise.DWA, {"averaging": "plain"}),
    (equipoise.LBTW, {"normalized": True}),
    (equipoise.CoV, {"beta": 0.9}),
    (equipoise.SoftAdapt, {"normalized": True, "loss_weighted": True}),
    (equipoise.ReLoBRaLo, {"keep": 0.5, "temperature": 0.1}),
    (equipoise.ProbedGradientNorm, {"every": 3, "probes": 2}),
    (equipoise.CosineGate, {"weighted": True}),
    (equipoise.OLAUX, {"horizon": 2}),
    (equipoise.SLGate, {"maximize": True}),
    (equipoise.SLGate, {"shared": "border"}),
    (equipoise.SLGate, {"shared": "all"}),
    (equipoise.SLGate, {"engine": "reverse"}),
    (equipoise.SLGrad, {"lookahead": 0.1}),
    (equipoise.SLGrad, {"fallback": "uniform"}),
]


class Mine(equipoise.LossWeighting):
    """What a user writes: the running mean of each loss, and weights that make them equal."""

    source = "a user"

    def __init__(self, tasks, *, rate=0.1, **options):
        super().__init__(tasks, **options)
        self.rate = rate
        self.add_state("mean", 0.0)
        self.add_state("seen", 0)

    def update(self, losses, counts):
        here = counts > 0
        gain = torch.where(self.seen == 0, torch.ones_like(losses), self.rate * counts.sign())
        self.mean.copy_(torch.where(here, self.mean + gain * (losses - self.mean), self.mean))
        self.seen += here
        inverse = torch.where(self.seen > 0, 1 / self.mean.clamp(min=1e-8), 1)
        return len(inverse) * inverse / inverse.sum()


class Helping(equipoise.HeldOutWeighting):
    """A user's weighting of samples: those count that help."""

    source = "a user"

    def weigh_samples(self, alignments, uniform):
        return torch.where(alignments.isnan(), torch.nan, (alignments > 0) * uniform)


MINE = [Mine, Helping]


@pytest.mark.parametrize("kind", [*OURS, *MINE, *PEERS], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("check", CHECKS)
def test_every_weighting(check, kind):
    own = check, kind.__name__
    if kind in PEERS and kind.missing():
        pytest.skip(kind.missing())
    if kind in PEERS and own in WITHOUT:
        pytest.skip(WITHOUT[own])
    CHECKS[check](Case(kind))


@pytest.mark.parametrize(
    ("kind", "options"), VARIANTS, ids=[f"{kind.__name__}-{options}" for kind, options in VARIANTS]
)
@pytest.mark.parametrize("check", CHECKS)
def test_every_option(check, kind, options):
    CHECKS[check](Case(kind, options))


def broken(base, name, replacement):
    return type(f"Broken{name}", (base,), {"source": "a test", name: replacement})


def forgets(self):
    Weighting.reset(self)
    self.mean.fill_(3)


def keeps_elsewhere(self, losses, counts):
    self.hidden = getattr(self, "hidden", 0) + 1
    return self.initial * self.hidden


def spoils(self, losses, counts):
    return self.mean * torch.nan


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        ("declaration", type("Nameless", (Mine,), {"source": "", "__doc__": "A word."})),
        ("reset", broken(Mine, "reset", forgets)),
        ("resume", broken(Mine, "update", keeps_elsewhere)),
        ("evaluation", broken(Mine, "_weighted", lambda self, values, weights=None: values.mean())),
        ("scale", broken(Mine, "_weighted", lambda self, values, weights=None: values.mean())),
        ("nonfinite_loss", broken(Mine, "_weighted", lambda self, v, w=None: v.nan_to_num().sum())),
    ],
)
def test_what_breaks_the_contract_is_named(check, kind):
    with pytest.raises(AssertionError, match=f"{kind.__name__}: {check}"):
        conformance(kind, without=set(CHECKS) - {check})


def test_a_nan_of_a_methods_own_is_not_kept():
    weighting = broken(Mine, "update", spoils)(["a", "b"], initial=[1.0, 3.0])
    assert weighting(torch.ones(2)) == 4
    assert weighting.weights.tolist() == [1, 3]


def test_a_users_weighting_conforms_in_one_line():
    conformance(Mine, rate=0.5)
    with pytest.raises(AssertionError, match=r"Mine: scalar: .*unexpected keyword"):
        conformance(Mine, without=["declaration"], speed=0.5)


def test_without_a_check_that_there_is_none_of():
    with pytest.raises(ValueError, match="there are no checks"):
        conformance(Mine, without=["speed"])


def test_tolerance_follows_dtype_and_length():
    assert tolerance(torch.float32)["rtol"] < 1e-6
    assert tolerance(torch.float64, 100)["rtol"] == 10 * tolerance(torch.float64)["rtol"]
