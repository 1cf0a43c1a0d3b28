"""Outliers among the training targets of a regression."""

from equipoise.study.claims import Claim, better
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Options, Reproduction, Size

BASELINES = (
    "constant",
    "random",
    "cosinegate",
    "olaux",
    "torchjd/PCGrad",
    "torchjd/CAGrad",
    "gradnorm",
)
"""Of the SLGrad paper."""
METHODS = (*BASELINES, "slgrad", "slgate")

NOISES: dict[str, Options] = {
    "no outliers": {"noise": 0.0},
    "20%, main task": {"noise": 0.2},
    "40%, main task": {"noise": 0.4},
    "40%, both tasks": {"noise": 0.4, "noisy": "all"},
}
NOISY = [label for label in NOISES if label != "no outliers"]

REPRODUCTION = Reproduction(
    title="Toy regression with outliers",
    source="Grégoire, Chaudhary and Verboven 2023, arXiv 2306.04519, toy regression",
    problem="toy-noise",
    methods=METHODS,
    claims=(
        Claim(
            "With outliers SLGrad is better than uniform weights.", better("slgrad", where=NOISY)
        ),
        Claim(
            "With outliers SLGrad is better than a gate by the cosine of whole tasks.",
            better("slgrad", "cosinegate", where=NOISY),
        ),
        Claim(
            "Not of the paper: SLGate is better than uniform weights.",
            better("slgate", where=NOISY),
        ),
    ),
    axis="outliers",
    quick=Size(variants=NOISES, seeds=3, steps=1_500),
    full=Size(variants=NOISES, seeds=10),
    notes=("All but a few clean targets are within 0.1 of 1, so predicting 1 does as well.",),
    find=compared,
)
