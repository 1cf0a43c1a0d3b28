"""Weightings of tasks: task losses ``(tasks,)`` in, a scalar out."""

from equipoise.task.constant import Constant
from equipoise.task.dwa import DWA
from equipoise.task.gradnorm import GradNorm
from equipoise.task.inversegradientnorm import InverseGradientNorm
from equipoise.task.slaw import SLAW
from equipoise.task.uncertainty import Uncertainty

__all__ = ["DWA", "SLAW", "Constant", "GradNorm", "InverseGradientNorm", "Uncertainty"]
