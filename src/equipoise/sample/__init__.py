"""Weightings of samples: losses ``(samples, tasks)`` in, a scalar out."""

from equipoise.sample.cosinegate import CosineGate
from equipoise.sample.hydalearn import HydaLearn
from equipoise.sample.l2rw import L2RW
from equipoise.sample.olaux import OLAUX
from equipoise.sample.slgate import SLGate
from equipoise.sample.slgrad import SLGrad

__all__ = ["L2RW", "OLAUX", "CosineGate", "HydaLearn", "SLGate", "SLGrad"]
