"""Depth and normals as help for the segmentation of indoor scenes."""

from equipoise.reproductions.slgrad_toy import METHODS
from equipoise.study.claims import Claim, better, no_worse
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Options, Reproduction, Size

VARIANTS: dict[str, Options] = {"segmentation": {"main": "segmentation", "protocol": "mtan"}}

REPRODUCTION = Reproduction(
    title="Depth and normals in the service of segmentation",
    source="Grégoire, Chaudhary and Verboven 2023, arXiv 2306.04519, NYUv2",
    problem="rooms",
    problem_of_data="nyuv2",
    methods=METHODS,
    claims=(
        Claim("SLGrad is better than uniform weights.", better("slgrad")),
        Claim(
            "Not of the paper: SLGate loses less than a fiftieth to uniform weights.",
            no_worse("slgate", "constant", margin=0.02),
        ),
    ),
    axis="main task",
    quick=Size(variants=VARIANTS, seeds=3, steps=64),
    full=Size(variants=VARIANTS, seeds=10),
    data="the folder of NYUv2 as MTAN has preprocessed it, with train and val",
    notes=(
        "Without --data these are drawn rooms, a stand-in: no figure of them is NYUv2's.",
        "The paper trains for 500 epochs of SGD with a dilated ResNet-50.",
    ),
    find=compared,
)
