"""Gradients and directional derivatives of losses in the parameters that the tasks share."""

from equipoise.directional.alignments import alignments, derived
from equipoise.directional.check import Check, check
from equipoise.directional.choice import engine_for
from equipoise.directional.computation import Computation, unwrapped
from equipoise.directional.engines import ENGINES, Engine
from equipoise.directional.norms import gradient_norms, random_direction
from equipoise.directional.objective import objective_gradient
from equipoise.directional.random_state import RandomState, random_state_kept
from equipoise.directional.sharding import is_sharded, refuse_fsdp1
from equipoise.directional.shared import (
    Shared,
    border_parameters,
    parameters_of,
    parameters_of_graph,
    shared_parameters,
)

__all__ = [
    "ENGINES",
    "Check",
    "Computation",
    "Engine",
    "RandomState",
    "Shared",
    "alignments",
    "border_parameters",
    "check",
    "derived",
    "engine_for",
    "gradient_norms",
    "is_sharded",
    "objective_gradient",
    "parameters_of",
    "parameters_of_graph",
    "random_direction",
    "random_state_kept",
    "refuse_fsdp1",
    "shared_parameters",
    "unwrapped",
]
