"""What a step costs with more and more tasks, and what it buys."""

from equipoise.reproductions.slaw_regression import GRADNORM, PCGRAD, sizes
from equipoise.study.claims import Claim, cheaper
from equipoise.study.experiments import priced
from equipoise.study.reproduction import Reproduction, Size

PROBED, EXACT = "probedgradientnorm", "inversegradientnorm"

REPRODUCTION = Reproduction(
    title="The cost of a step against the number of tasks",
    source="Crawshaw and Košecká 2021, arXiv 2109.08218, seconds per step",
    problem="mtregression",
    methods=("constant", "dwa", "uncertainty", "slaw", PROBED, EXACT, GRADNORM, PCGRAD),
    claims=(
        Claim(
            "A step of SLAW costs at most a tenth more than one with equal weights.",
            cheaper("slaw", "constant", factor=1.1),
        ),
        Claim(
            "Exact gradient norms cost more than twice as much from 10 tasks on.",
            cheaper("slaw", EXACT, factor=0.5, where={"10", "20", "40"}),
        ),
        Claim(
            "Not of the paper: probed norms cost less than exact ones from 10 tasks on.",
            cheaper(PROBED, EXACT, where={"10", "20", "40"}),
        ),
    ),
    axis="number of tasks",
    quick=Size(variants=sizes(2, 10, 20, 40), seeds=3, steps=60),
    full=Size(variants=sizes(2, 10, 20, 40, 80, 160), seeds=5, steps=900),
    notes=(
        "Times are of the machine that made the runs: one at a time on a quiet one for a table.",
    ),
    find=priced,
)
