"""Two overlapping digits, of which one serves the other."""

from equipoise.reproductions.slgrad_toy import METHODS
from equipoise.study.claims import Claim, better, no_worse
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Options, Reproduction, Size

VARIANTS: dict[str, Options] = {
    "clean": {"offset": 6},
    "40% wrong, main": {"offset": 6, "noise": 0.4},
}
FEWER: dict[str, Options] = {label: {**own, "pairs": 3_000} for label, own in VARIANTS.items()}

REPRODUCTION = Reproduction(
    title="MultiMNIST",
    source="Grégoire, Chaudhary and Verboven 2023, arXiv 2306.04519, Multi-MNIST",
    problem="multimnist",
    methods=METHODS,
    claims=(
        Claim(
            "On clean labels SLGrad is better than uniform weights.",
            better("slgrad", where=["clean"]),
        ),
        Claim(
            "Not of the paper: on clean labels SLGate loses less than a fiftieth.",
            no_worse("slgate", "constant", margin=0.02, where=["clean"]),
        ),
        Claim(
            "Not of the paper: with wrong labels SLGate is better than uniform weights.",
            better("slgate", where=["40% wrong, main"]),
        ),
    ),
    axis="labels",
    quick=Size(variants=FEWER, seeds=3, steps=500),
    full=Size(variants=VARIANTS, seeds=10, steps=117_500),
    data="the folder of MNIST's four idx files",
    notes=(
        "The code of the paper's authors has no wrong labels here.",
        "With --quick there are 3,000 pairs to train on, of the paper's 15,000.",
    ),
    find=compared,
)
