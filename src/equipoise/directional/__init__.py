"""Gradients and directional derivatives of losses in the parameters that the tasks share."""

from equipoise.directional.check import Check, check
from equipoise.directional.computation import Computation, is_sharded, random_state_kept, unwrapped
from equipoise.directional.engines import ENGINES, Engine, alignments, engine_for
from equipoise.directional.norms import gradient_norms, random_direction
from equipoise.directional.objective import objective_gradient
from equipoise.directional.shared import Shared, parameters_of, shared_parameters

__all__ = [
    "ENGINES",
    "Check",
    "Computation",
    "Engine",
    "Shared",
    "alignments",
    "check",
    "engine_for",
    "gradient_norms",
    "is_sharded",
    "objective_gradient",
    "parameters_of",
    "random_direction",
    "random_state_kept",
    "shared_parameters",
    "unwrapped",
]
