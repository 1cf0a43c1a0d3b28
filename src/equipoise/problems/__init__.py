"""Problems to compare methods on. A built-in problem is a function that returns a `Problem`."""

from equipoise.problems.problem import OVERALL, Data, Metrics, Problem, Recipe

__all__ = ["OVERALL", "Data", "Metrics", "Problem", "Recipe"]

BUILT_IN = {
    "mtregression": "equipoise.problems.mtregression:mtregression",
    "digits": "equipoise.problems.digits:digits",
    "toy-noise": "equipoise.problems.toynoise:toynoise",
    "cifar10": "equipoise.problems.cifar10:cifar10",
    "multimnist": "equipoise.problems.multimnist:multimnist",
    "table": "equipoise.problems.table:table",
    "molecules": "equipoise.problems.molecules:molecules",
}
"""Where each built-in problem is: name → ``module:attribute``."""
