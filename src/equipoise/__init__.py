"""Equipoise keeps many losses in balance while one network learns them."""

from equipoise import sample, task
from equipoise.directional import alignments, check
from equipoise.losses import task_losses
from equipoise.sample import *  # noqa: F403
from equipoise.step import Step
from equipoise.task import *  # noqa: F403

__all__ = [*sample.__all__, *task.__all__, "Step", "alignments", "check", "task_losses"]
