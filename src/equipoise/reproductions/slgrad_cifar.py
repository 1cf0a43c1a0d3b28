"""Wrong labels of natural images, ten binary tasks."""

from equipoise.reproductions.slgrad_toy import METHODS
from equipoise.study.claims import Claim, better
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Options, Reproduction, Size

FIRST: Options = {"order": "file"}
CLEAN: dict[str, Options] = {"clean": FIRST}
NOISES: dict[str, Options] = {
    "40% uniform, main": {**FIRST, "noise": 0.4},
    "40% uniform, all": {**FIRST, "noise": 0.4, "noisy": "all"},
    "40% background, main": {**FIRST, "noise": 0.4, "noise_kind": "background"},
}
MORE: dict[str, Options] = {
    f"{noise:.0%} {kind}, {noisy}": {
        **FIRST,
        "noise": noise,
        "noise_kind": kind,
        "noisy": noisy,
    }
    for noise in (0.2, 0.4, 0.6)
    for kind in ("uniform", "background")
    for noisy in ("main", "all")
}

REPRODUCTION = Reproduction(
    title="CIFAR-10 as ten binary tasks with wrong labels",
    source="Grégoire, Chaudhary and Verboven 2023, arXiv 2306.04519, CIFAR-10",
    problem="cifar10",
    methods=METHODS,
    claims=(
        Claim(
            "With wrong labels SLGrad is better than uniform weights.",
            better("slgrad", where=[*NOISES, *MORE]),
        ),
        Claim(
            "Not of the paper: SLGate is better than uniform weights.",
            better("slgate", where=[*NOISES, *MORE]),
        ),
    ),
    axis="wrong labels",
    quick=Size(variants=CLEAN | NOISES, seeds=3, steps=260),
    full=Size(variants=CLEAN | MORE, seeds=10, steps=3_900),
    data="an .npz file of CIFAR-10, or its official batches",
    notes=(
        "The area under the ROC curve of the main task, class 0, decides.",
        "The first 1,000 images of the file, of which 200 are held out.",
    ),
    find=compared,
)
