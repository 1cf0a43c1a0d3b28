"""Equipoise keeps many losses in balance while one network learns them."""

from equipoise import task
from equipoise.losses import task_losses
from equipoise.step import Step
from equipoise.task import *  # noqa: F403

__all__ = [*task.__all__, "Step", "task_losses"]
