import pytest
from study.toy import toy


def test_the_first_goal_decides():
    assert toy(goals={"error": "min", "other": "max"}).objective == "error"


def test_the_main_task_decides():
    assert toy().deciding == "all"
    assert toy(main="b").deciding == "b"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ["a", "all"]}, "'all'"),
        ({"tasks": ["a", "a"]}, "twice: 'a'"),
        ({"goals": {}}, "goals"),
        ({"goals": {"error": "down"}}, "goals"),
        ({"validation": []}, "the validation part"),
        ({"main": "c"}, "--main: there is no task 'c'"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        toy(**changes)
