import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from study import toy

from equipoise.errors import UserError
from equipoise.study.compare import compare
from equipoise.study.predict import predict

ROWS = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])


def studied(out, problem, methods="constant,slaw", **more):
    return compare(problem, methods=methods, seeds=2, out=out, progress=False, **more)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A finished study, and new samples beside it."""
    place = tmp_path_factory.mktemp("there")
    np.savetxt(place / "new.csv", ROWS, delimiter=",")
    studied(place / "out", "study.toy:predicting", single_task=True)
    return place


@pytest.fixture
def place(there, tmp_path):
    return shutil.copytree(there, tmp_path / "copy")


def saved(out, method, seed):
    path = out / "runs" / method / f"seed-{seed}" / "network.pt"
    return {name: each.numpy() for name, each in torch.load(path, weights_only=True).items()}


def by_hand(out, method):
    """The mean of what its two networks predict."""
    found = []
    for seed in range(2):
        state = saved(out, method, seed)
        features = ROWS @ state["trunk.0.weight"].T + state["trunk.0.bias"]
        found.append(features @ state["heads.weight"].T + state["heads.bias"])
    return np.mean(found, 0)


def test_the_mean_of_the_best_methods_networks(place):
    methods = json.loads((place / "out" / "summary.json").read_text())["methods"]
    best, other = sorted(methods, key=lambda row: row["metrics"]["error"]["mean"])
    found = predict(place / "out", place / "new.csv")
    assert list(found) == ["a", "b"]
    np.testing.assert_allclose(found, by_hand(place / "out", best["method"]), rtol=1e-4)
    assert not np.allclose(found, by_hand(place / "out", other["method"]), rtol=1e-4)


@pytest.mark.parametrize("method", ["constant", "slaw"])
def test_a_method_can_be_chosen(place, method):
    found = predict(place / "out", place / "new.csv", method=method)
    np.testing.assert_allclose(found, by_hand(place / "out", method), rtol=1e-4)


def test_nothing_of_the_study_changes(place):
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    predict(place / "out", place / "new.csv")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_an_unfinished_study_predicts_with_a_method_that_is_named(place):
    shutil.rmtree(place / "out" / "runs" / "slaw" / "seed-1")
    with pytest.raises(UserError, match=r"names no best method: .*not finished.* `method`"):
        predict(place / "out", place / "new.csv")
    found = predict(place / "out", place / "new.csv", method="constant")
    np.testing.assert_allclose(found, by_hand(place / "out", "constant"), rtol=1e-4)


def test_the_problem_of_a_program_is_given_again(place):
    problem = toy.predicting()
    studied(place / "own", problem)
    with pytest.raises(UserError, match="give it as `problem` too"):
        predict(place / "own", place / "new.csv")
    assert len(predict(place / "own", place / "new.csv", problem=problem)) == 2
    with pytest.raises(UserError, match="is not as it was"):
        predict(place / "own", place / "new.csv", problem=toy.noisy())


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ("wrong.csv", {}, r"wrong\.csv is wrong"),
        ("new.csv", {"method": "dwa"}, "out has no networks of dwa"),
        ("new.csv", {"method": ""}, "has no networks of"),
        ("new.csv", {"device": "abacus"}, "`device` 'abacus' cannot be used here"),
        ("new.csv", {"problem": toy.noisy}, "noisy is not as it was|cannot predict"),
    ],
)
def test_a_mistake_is_a_sentence(place, rows, options, words):
    (place / "wrong.csv").write_text("no numbers")
    with pytest.raises(UserError, match=words):
        predict(place / "out", place / rows, **options)


def test_a_problem_that_cannot_predict(tmp_path):
    studied(tmp_path, "study.toy:toy", "slaw", steps=5)
    with pytest.raises(UserError, match=r"study\.toy:toy cannot predict new samples"):
        predict(tmp_path, "new.csv")


def test_what_fails_in_the_problems_own_function_is_a_sentence(place):
    (place / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"study\.toy:predicting: .*\(.*, line \d+\)"):
        predict(place / "out", place / "empty.csv")


def test_runs_without_a_network_are_not_trusted(place):
    (place / "out" / "runs" / "slaw" / "seed-1" / "network.pt").unlink()
    with pytest.raises(UserError, match="not finished"):
        predict(place / "out", place / "new.csv")


def test_where_every_run_diverged_nothing_predicts(place):
    studied(place / "bad", toy.predicting(losses=toy.blows_up))
    with pytest.raises(UserError, match="names no best method"):
        predict(place / "bad", place / "new.csv", problem=toy.predicting(losses=toy.blows_up))


def test_a_data_frame_goes_to_the_problem(tmp_path):
    def rows(frame, networks):
        assert isinstance(frame, pd.DataFrame)
        return frame.assign(networks=len(networks))

    problem = toy.toy(predict=rows)
    studied(tmp_path, problem, "slaw")
    found = predict(tmp_path, pd.DataFrame({"x": [1, 2]}), problem=problem)
    assert found["networks"].tolist() == [2, 2]
