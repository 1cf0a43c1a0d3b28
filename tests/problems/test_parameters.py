"""Numbers that are no sizes or seeds: each problem says so in a sentence."""

import inspect
import math
from pathlib import Path

import pytest

from equipoise.errors import UserError
from equipoise.problems import BUILT_IN, Recipe
from equipoise.problems.images.cifar10 import cifar10
from equipoise.problems.images.digits import digits
from equipoise.problems.images.multimnist import multimnist
from equipoise.problems.molecules.molecules import molecules
from equipoise.problems.synthetic.mtregression import mtregression
from equipoise.problems.synthetic.toynoise import toynoise
from equipoise.problems.table.table import table

PATH = Path("not there")
MAKERS = {
    "data_seed": [
        mtregression,
        toynoise,
        digits,
        lambda **options: cifar10(PATH, **options),
        lambda **options: multimnist(PATH, **options),
    ],
    "split_seed": [
        lambda **options: molecules(PATH, **options),
        lambda **options: table(PATH, ("y",), **options),
    ],
    "tasks": [mtregression],
    "train_size": [lambda **options: cifar10(PATH, **options)],
    "held_out": [lambda **options: cifar10(PATH, **options)],
    "head": [lambda **options: table(PATH, ("y",), **options)],
}
ABSURD = [-1, 2**64, 10**30, 10**5000, 1e30, math.nan, "many", True, 2.0]


@pytest.mark.parametrize("value", ABSURD, ids=range(len(ABSURD)))
@pytest.mark.parametrize("name", MAKERS)
def test_absurd_numbers(name, value):
    for make in MAKERS[name]:
        with pytest.raises(UserError, match=f"^`{name}` must be a whole number") as error:
            make(**{name: value})
        assert len(str(error.value)) < 200


def test_tasks_beyond_memory(monkeypatch):
    monkeypatch.setattr("equipoise.problems.memory.free_memory", lambda: 10**9)
    with pytest.raises(UserError, match=r"samples of 10,000 tasks need about 44.0 GB, and 1.0 GB"):
        mtregression(tasks=10_000)


def _function(name):
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(__import__(module, fromlist=[attribute]), attribute)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_recipe_can_be_read_without_making_the_problem(name):
    recipe = inspect.signature(_function(name)).parameters["recipe"].default
    assert isinstance(recipe, Recipe)
    assert recipe.epochs == {"cifar10": 40, "multimnist": 10}.get(name)


@pytest.mark.parametrize("name", BUILT_IN)
def test_descriptions_know_no_command_line(name):
    function = _function(name)
    texts = [inspect.getdoc(function), *map(str, inspect.get_annotations(function).values())]
    assert not any("--" in text for text in texts)


def test_another_recipe_is_taken():
    recipe = Recipe(epochs=2, batch_size=100, lr=1e-3, optimizer=None)
    assert toynoise(recipe=recipe).recipe.steps == 12
