"""Whether the weights of samples tell clean labels from wrong ones."""

from equipoise.study.claims import Claim, tells_wrong_labels
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Reproduction, Size

FIRST = {"order": "file", "noise": 0.4}
VARIANTS = {
    "uniform": FIRST,
    "background": {**FIRST, "noise_kind": "background"},
}

REPRODUCTION = Reproduction(
    title="Weights of clean and of wrong labels",
    source="Grégoire, Chaudhary and Verboven 2023, arXiv 2306.04519, analysis of weights",
    problem="cifar10",
    methods=("constant", "slgrad", "slgate"),
    claims=(
        Claim("SLGrad weighs wrong labels less than clean ones.", tells_wrong_labels("slgrad")),
        Claim("So does SLGate.", tells_wrong_labels("slgate")),
    ),
    axis="wrong labels",
    quick=Size(variants=VARIANTS, seeds=3, steps=520),
    full=Size(variants=VARIANTS, seeds=10, steps=3_900),
    data="an .npz file of CIFAR-10, or its official batches",
    notes=(
        "The page of each study has the histograms of weights, and the area over time.",
        "The area is within labels that say the same. Of a class of a tenth most wrong labels say "
        "yes, so that the label alone would have an area of about 0.9.",
    ),
    find=compared,
)
