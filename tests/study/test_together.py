import math

import numpy as np
import pytest
from scipy import stats
from study.made_up import made_up_run

from equipoise.errors import UserError
from equipoise.study.configuration import Study
from equipoise.study.results import Results
from equipoise.study.together import together


def study(folder, goal="max", **means):
    runs = [
        made_up_run(method, seed, {"score": {"all": mean + 0.001 * seed}})
        for method, mean in means.items()
        for seed in range(2)
    ]
    asked = dict.fromkeys(means, 2)
    goals = {"score": goal}
    return Results(folder, Study("toy", {}, {}, ("a",), goals, (), asked=asked), tuple(runs))


def studies(tmp_path, number, goal="max"):
    sign = 1 if goal == "max" else -1
    return [
        study(
            tmp_path / str(index),
            goal,
            **{
                name: float(sign * place)
                for place, name in enumerate(["constant", "dwa", "slaw", "famo"])
            },
        )
        for index in range(number)
    ]


@pytest.mark.parametrize("goal", ["max", "min"])
def test_the_best_has_the_first_place(tmp_path, goal):
    found = together(studies(tmp_path, 6, goal))
    assert found.mean_places.to_dict() == {"famo": 1, "slaw": 2, "dwa": 3, "constant": 4}
    assert found.statistic == pytest.approx(18)  # k − 1 times the number of studies
    assert found.p_value == pytest.approx(stats.chi2.sf(18, 3))
    assert found.verdict.endswith("famo is ahead of dwa, constant.")


def test_the_critical_difference_is_demsar_s(tmp_path):
    """q is 2.569 for four methods in his table."""
    found = together(studies(tmp_path, 10))
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / 60), rel=1e-3)


def test_methods_that_are_alike_are_not_told_apart(tmp_path):
    names = ["constant", "dwa", "slaw", "famo"]
    turned = [
        study(tmp_path / str(turn), **dict(zip(names, np.roll(range(4), turn), strict=True)))
        for turn in range(4)
    ]
    found = together(turned)
    assert found.p_value == pytest.approx(1)
    assert found.verdict.startswith("Over 4 studies no method can be told from the others")


def test_who_diverged_is_last_and_ties_share_a_place(tmp_path):
    rows = [
        study(tmp_path / name, constant=0.5, slaw=0.5, famo=math.nan, dwa=0.4) for name in "abc"
    ]
    assert together(rows).mean_places.to_dict() == {
        "constant": 1.5,
        "slaw": 1.5,
        "dwa": 3,
        "famo": 4,
    }


def test_what_cannot_be_compared(tmp_path):
    many = studies(tmp_path, 4)
    with pytest.raises(UserError, match="over three studies at least, found 2"):
        together(many[:2])
    with pytest.raises(UserError, match="more than once"):
        together([*many, many[0]])
    with pytest.raises(UserError, match="studies have, found only constant, slaw"):
        together([*many, study(tmp_path / "x", constant=0.1, slaw=0.2, other=0.3)])
    unfinished = study(tmp_path / "y", constant=0.1, slaw=0.2, dwa=0.3)
    unfinished.study.asked["slaw"] = 5
    with pytest.raises(UserError, match="y is not finished"):
        together([*many, unfinished])


def test_the_command_line_shows_places(run, tmp_path):
    for place in ("a", "b", "c"):
        code, _ = run(
            *("compare", "study.toy:toy", "--methods", "constant,slaw,dwa", "--seeds", 1),
            *("--steps", 2, "--out", tmp_path / place),
        )
        assert code == 0
    code, said = run("report", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert code == 0
    assert "mean place" in said
    assert "Over 3 studies" in said
    code, said = run("report", tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "over three studies at least" in said
