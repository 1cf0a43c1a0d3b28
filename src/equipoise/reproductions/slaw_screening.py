"""Virtual screening with more and more assays: quality, and what a step costs."""

from pathlib import Path

from equipoise.problems.molecules.assays import check_assays
from equipoise.study.claims import Claim, cheaper, no_worse
from equipoise.study.experiments import priced
from equipoise.study.reproduction import Reproduction, Size

PCGRAD = "torchjd/PCGrad"
GRADNORM = "gradnorm(alpha=0.12, lr=0.025)"

VARIANTS = {
    str(number): {"first": number, "labelled_in_first": 32, "class_weights": "global"}
    for number in (32, 64, 96, 128)
}


def check(size: Size, data: Path) -> None:
    """Refuse a file with fewer columns of labels than the largest variant learns."""
    check_assays(data, max(options["first"] for options in size.variants.values()))


REPRODUCTION = Reproduction(
    title="Virtual screening with 32 to 128 assays",
    source="Crawshaw and Košecká 2021, arXiv 2109.08218, the study of PubChem BioAssay",
    problem="molecules",
    methods=("constant", "uncertainty", GRADNORM, "dwa", PCGRAD, "slaw"),
    claims=(
        Claim(
            "A step of SLAW costs at most a twentieth more than one with equal weights.",
            cheaper("slaw", "constant", factor=1.05),
        ),
        Claim(
            "A step of SLAW costs less than one of GradNorm.",
            cheaper("slaw", "gradnorm", where={"32"}),
        ),
        Claim(
            "Its average precision is within a twentieth of equal weights'.",
            no_worse("slaw", "constant", margin=0.05),
        ),
    ),
    axis="number of tasks",
    quick=Size(
        variants={label: VARIANTS[label] for label in ("32", "128")},
        seeds=3,
        steps=40,
        batch_size=500,
        without={"32": (PCGRAD,), "128": (PCGRAD, GRADNORM)},
    ),
    full=Size(variants=VARIANTS, seeds=5),
    data="a CSV file with a column of SMILES and at least 128 columns of 0, 1 and blanks: the "
    "paper's is PCBA of MoleculeNet, 128 assays of about 440,000 molecules",
    check=check,
    notes=(
        "The file decides what this is evidence of: only PCBA is the paper's.",
        "The paper has 90% of the molecules to train on; here a tenth more is kept to choose on.",
        "PCGrad and GradNorm go back through the network once a task, for minutes: --quick leaves "
        "the first out, and the second with 128 tasks.",
        "The 40 steps of --quick tell what a step costs, and little of quality.",
    ),
    find=priced,
)
