"""Problems to compare methods on. A built-in problem is a function that returns a `Problem`."""

from equipoise.problems.problem import Data, Problem, Recipe
from equipoise.problems.scores import OVERALL, Metrics, Score

__all__ = ["OVERALL", "Data", "Metrics", "Problem", "Recipe", "Score"]

BUILT_IN = {
    "mtregression": "equipoise.problems.synthetic.mtregression:mtregression",
    "digits": "equipoise.problems.images.digits:digits",
    "toy-noise": "equipoise.problems.synthetic.toynoise:toynoise",
    "cifar10": "equipoise.problems.images.cifar10:cifar10",
    "multimnist": "equipoise.problems.images.multimnist:multimnist",
    "nyuv2": "equipoise.problems.vision.nyuv2:nyuv2",
    "rooms": "equipoise.problems.vision.made_rooms:rooms",
    "table": "equipoise.problems.table.table:table",
    "molecules": "equipoise.problems.molecules.molecules:molecules",
}
"""Where each built-in problem is: name → ``module:attribute``."""
