"""Classes, depths and normals of indoor scenes."""

from equipoise.study.claims import Claim, better, no_worse
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Options, Reproduction, Size

VARIANTS: dict[str, Options] = {"three tasks": {}}

REPRODUCTION = Reproduction(
    title="Multi-task vision: segmentation, depth and normals",
    source="Crawshaw and Košecká 2021, arXiv 2109.08218, the study of NYUv2",
    problem="rooms",
    problem_of_data="nyuv2",
    methods=("constant", "uncertainty", "gradnorm(alpha=1.5)", "dwa", "torchjd/PCGrad", "slaw"),
    claims=(
        Claim(
            "SLAW is within a fiftieth of equal weights, or better.",
            no_worse("slaw", "constant", margin=0.02),
        ),
        Claim("SLAW is better than equal weights.", better("slaw")),
    ),
    axis="scenes",
    quick=Size(variants=VARIANTS, seeds=3, steps=160),
    full=Size(variants=VARIANTS, seeds=10),
    data="the folder of NYUv2 as MTAN has preprocessed it, with train and val",
    notes=(
        "Without --data these are drawn rooms, a stand-in: no figure of them is NYUv2's.",
        "The paper's encoder is a ResNet-50; here it has 0.4 million parameters.",
        "Missing depths and normals are masked; the authors of SLAW count them as 1e-5 m.",
    ),
    find=compared,
)
