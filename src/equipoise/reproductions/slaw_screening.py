"""Virtual screening with more and more assays: quality, and what a step costs."""

from equipoise.study.claims import Claim, cheaper, no_worse
from equipoise.study.experiments import priced
from equipoise.study.reproduction import Reproduction, Size

PCGRAD = "torchjd/PCGrad"
GRADNORM = "gradnorm(alpha=0.12, lr=0.025)"
TASKS = (32, 64, 96, 128)

VARIANTS = {
    str(number): {"first": number, "labelled_in_first": TASKS[0], "class_weights": "global"}
    for number in TASKS
}

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
        Claim("A step of SLAW costs less than one of GradNorm.", cheaper("slaw", "gradnorm")),
        Claim(
            "Its average precision is within a twentieth of equal weights'.",
            no_worse("slaw", "constant", margin=0.05),
        ),
    ),
    axis="number of tasks",
    quick=Size(
        variants=VARIANTS,
        seeds=3,
        steps=120,
        batch_size=2_000,
        without=dict.fromkeys(VARIANTS, (PCGRAD,)),
    ),
    full=Size(variants=VARIANTS, seeds=5),
    data="a CSV file with a column of SMILES and at least 128 columns of 0, 1 and blanks: the "
    "paper's is PCBA of MoleculeNet, 128 assays of about 440,000 molecules",
    notes=(
        "The file decides what this is evidence of: only PCBA is the paper's.",
        "The paper has 90% of the molecules to train on; here a tenth more is kept to choose on.",
        "PCGrad looks at each pair of tasks: minutes a run, so --quick leaves it out.",
    ),
    find=priced,
)
