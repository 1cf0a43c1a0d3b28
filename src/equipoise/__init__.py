"""Equipoise keeps many losses in balance while one network learns them."""

from equipoise import sample, task
from equipoise.directional import alignments, check
from equipoise.losses import present, task_losses
from equipoise.sample import *  # noqa: F403
from equipoise.sample.base import SampleWeighting
from equipoise.sample.batch import BatchWeighting
from equipoise.sample.heldout import HeldOutWeighting
from equipoise.step import Step
from equipoise.task import *  # noqa: F403
from equipoise.task.base import GradientWeighting, LossWeighting, TaskWeighting
from equipoise.weighting import Needs, Weighting

__all__ = [
    *sample.__all__,
    *task.__all__,
    "BatchWeighting",
    "GradientWeighting",
    "HeldOutWeighting",
    "LossWeighting",
    "Needs",
    "SampleWeighting",
    "Step",
    "TaskWeighting",
    "Weighting",
    "alignments",
    "check",
    "present",
    "task_losses",
]
