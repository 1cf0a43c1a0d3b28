"""Tasks that differ in nothing but their scale: who finds out."""

from equipoise.study.claims import Claim, better, no_worse
from equipoise.study.experiments import compared
from equipoise.study.reproduction import Reproduction, Size

PCGRAD = "torchjd/PCGrad"
GRADNORM = "gradnorm(alpha=0.12, lr=0.025)"
DIFFERENCES = "slaw(spread='differences')"


def sizes(*tasks: int) -> dict[str, dict[str, int]]:
    """A variant for each number of tasks."""
    return {str(number): {"tasks": number} for number in tasks}


REPRODUCTION = Reproduction(
    title="Non-linear regression with 2 to 50 tasks of different scale",
    source="Crawshaw and Košecká 2021, arXiv 2109.08218, table of MTRegression",
    problem="mtregression",
    methods=(
        "constant",
        "ideal",
        "uncertainty",
        GRADNORM,
        "dwa",
        PCGRAD,
        "slaw",
        DIFFERENCES,
        "geometricmean",
    ),
    claims=(
        Claim("SLAW is better than equal weights for every number of tasks.", better("slaw")),
        Claim(
            "SLAW is within a tenth of the ideal weights, which know the scales.",
            no_worse("slaw", "ideal", margin=0.1),
        ),
        Claim(
            "Not of the paper: SLAW by differences is better than SLAW.",
            better(DIFFERENCES, "slaw"),
        ),
    ),
    axis="number of tasks",
    quick=Size(
        variants=sizes(2, 10, 50),
        seeds=3,
        steps=1_500,
        without={"50": (PCGRAD, GRADNORM, "dwa", "uncertainty")},
    ),
    full=Size(variants=sizes(2, 10, 20, 30, 40, 50), seeds=10),
    notes=("The normalised loss is the mean over tasks of the squared error over the scale's.",),
    find=compared,
)
