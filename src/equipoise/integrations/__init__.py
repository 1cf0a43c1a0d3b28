"""Weightings in the training loops of others; a module for each host that needs more than a call.

Accelerate and Lightning Fabric need none: ``examples/accelerate_loop.py`` and
``examples/lightning_fabric.py``.
"""
