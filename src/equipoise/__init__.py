"""Equipoise keeps many losses in balance while one network learns them.

The study, ``compare``, ``audit``, ``predict``, ``reproduce`` and ``open_study``, is loaded when it
is asked for: it needs the extra ``study``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from equipoise import sample, task
from equipoise.directional import alignments, check
from equipoise.losses import present, task_losses
from equipoise.sample import *  # noqa: F403
from equipoise.sample.base import SampleWeighting
from equipoise.sample.batch import BatchWeighting
from equipoise.sample.heldout import HeldOutWeighting
from equipoise.step import Step
from equipoise.task import *  # noqa: F403
from equipoise.task.base import TaskWeighting
from equipoise.task.of_gradients import GradientWeighting
from equipoise.task.of_losses import LossWeighting
from equipoise.weighting import Needs, Weighting

if TYPE_CHECKING:
    from equipoise.study.audit import audit
    from equipoise.study.compare import compare
    from equipoise.study.predict import predict
    from equipoise.study.reproduce import reproduce
    from equipoise.study.results import open_study

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
    "audit",
    "check",
    "compare",
    "open_study",
    "predict",
    "present",
    "reproduce",
    "task_losses",
]

_STUDY = {
    "audit": "audit",
    "compare": "compare",
    "open_study": "results",
    "predict": "predict",
    "reproduce": "reproduce",
}


def __getattr__(name: str) -> Any:
    if name in _STUDY:
        return getattr(importlib.import_module(f"equipoise.study.{_STUDY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
