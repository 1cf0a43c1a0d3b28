"""Weightings of tasks: task losses ``(tasks,)`` in, a scalar out."""

from equipoise.task.constant import Constant
from equipoise.task.cov import CoV
from equipoise.task.dwa import DWA
from equipoise.task.geometricmean import GeometricMean
from equipoise.task.gradnorm import GradNorm
from equipoise.task.inversegradientnorm import InverseGradientNorm
from equipoise.task.lbtw import LBTW
from equipoise.task.probedgradientnorm import ProbedGradientNorm
from equipoise.task.random import Random
from equipoise.task.relobralo import ReLoBRaLo
from equipoise.task.slaw import SLAW
from equipoise.task.softadapt import SoftAdapt
from equipoise.task.uncertainty import Uncertainty
from equipoise.task.uncertaintysoftmax import UncertaintySoftmax

__all__ = [
    "DWA",
    "LBTW",
    "SLAW",
    "CoV",
    "Constant",
    "GeometricMean",
    "GradNorm",
    "InverseGradientNorm",
    "ProbedGradientNorm",
    "Random",
    "ReLoBRaLo",
    "SoftAdapt",
    "Uncertainty",
    "UncertaintySoftmax",
]
