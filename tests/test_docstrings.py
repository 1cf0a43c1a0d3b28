import doctest
import importlib
import pkgutil

import pytest
import torch
from torch import nn

import equipoise

APART = ("equipoise.cli", "equipoise.problems", "equipoise.study")
"""What is no part of the library for training loops."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(equipoise.__path__, "equipoise.")
    if not module.name.startswith(APART) and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    globs = vars(module) | vars(equipoise) | {"torch": torch, "nn": nn}
    assert doctest.testmod(module, globs=globs).failed == 0


def test_examples_are_found():
    """The test above would pass without any."""
    finder = doctest.DocTestFinder()
    found = [finder.find(importlib.import_module(name)) for name in MODULES]
    assert sum(len(test.examples) for tests in found for test in tests) > 20
