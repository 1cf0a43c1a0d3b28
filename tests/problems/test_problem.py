from dataclasses import replace

import pytest
from study.toy import toy
from torchmetrics import MeanSquaredError

from equipoise.errors import UserError
from equipoise.problems import Recipe, Score


def score(**changes):
    return Score(**{"goal": "min", "metric": MeanSquaredError, **changes})


def test_the_first_score_decides():
    problem = toy(scores={"error": score(), "other": score(goal="max")})
    assert problem.objective == "error"
    assert problem.goals == {"error": "min", "other": "max"}


def test_the_main_task_decides():
    assert toy().deciding == "all"
    assert toy(main="b").deciding == "b"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ["a", "all"]}, "'all'"),
        ({"tasks": ["a", "a"]}, "twice: 'a'"),
        ({"scores": {}}, "must have a score"),
        ({"scores": {"error": score(metric={"c": MeanSquaredError})}}, "'c', which is no task"),
        (
            {"scores": {"error": score(metric={"a": MeanSquaredError})}, "main": "b"},
            "`main`: the first score, 'error', decides, and has no value for 'b'",
        ),
        ({"scores": {"error": score(by_task=False)}, "main": "b"}, "has no value for 'b'"),
        ({"validation": []}, "the validation part"),
        ({"main": "c"}, "`main`: there is no task 'c'"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        toy(**changes)


@pytest.mark.parametrize(
    ("changes", "words"), [({"goal": "down"}, "goal"), ({"distinct": 3}, "distinct")]
)
def test_a_score_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        score(**changes)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 4), (3, 12)])
def test_epochs_become_steps(epochs, steps):
    """Of 50 samples in batches of 16."""
    recipe = Recipe(epochs=epochs, batch_size=16, lr=0.1, optimizer=None)
    problem = toy(recipe=recipe)
    assert (problem.recipe.steps, problem.recipe.epochs) == (steps, None)
    assert replace(problem, recipe=replace(problem.recipe, steps=7)).recipe.steps == 7


@pytest.mark.parametrize("given", [{}, {"steps": 3, "epochs": 2}])
def test_a_recipe_has_steps_or_epochs(given):
    with pytest.raises(UserError, match="either steps or epochs"):
        Recipe(**given, batch_size=16, lr=0.1, optimizer=None)
