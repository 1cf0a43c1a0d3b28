"""Whether the weights of the spread of losses are those of exact gradient norms."""

from equipoise.study.claims import Claim, follows
from equipoise.study.experiments import estimated
from equipoise.study.reproduction import Reproduction, Size

VARIANTS = {
    "trained with equal weights": {"tasks": 10, "driver": "constant"},
    "trained with SLAW's weights": {"tasks": 10, "driver": "slaw"},
}

REPRODUCTION = Reproduction(
    title="SLAW's estimate against exact gradient norms",
    source="Crawshaw and Košecká 2021, arXiv 2109.08218, figure of weights on MTRegression10",
    problem="mtregression",
    methods=("slaw", "slaw(spread='differences')", "probedgradientnorm"),
    claims=(
        Claim(
            "SLAW's weights follow the exact ones: their logarithms have a correlation of at least "
            "0.9.",
            follows("slaw", 0.9),
        ),
        Claim(
            "Not of the paper: those of differences follow as well.",
            follows("slaw(spread='differences')", 0.9),
        ),
        Claim(
            "Not of the paper: those of probed norms follow as well.",
            follows("probedgradientnorm", 0.9),
        ),
    ),
    axis="training",
    quick=Size(variants=VARIANTS, seeds=8),
    full=Size(variants=VARIANTS, seeds=120),
    notes=("Each run gives the ten weights of one random step between 100 and 1,000.",),
    find=estimated,
)
