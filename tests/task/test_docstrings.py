import doctest
import importlib
import pkgutil

import pytest
import torch

from equipoise import task

MODULES = [module.name for module in pkgutil.iter_modules(task.__path__, "equipoise.task.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    globs = vars(module) | {"torch": torch, "losses": torch.ones(2)}
    assert doctest.testmod(module, globs=globs).failed == 0
