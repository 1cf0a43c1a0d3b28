import json

import numpy as np
import pandas as pd
import pytest
import torch

ROWS = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])


@pytest.fixture
def new(tmp_path):
    np.savetxt(tmp_path / "new.csv", ROWS, delimiter=",")
    return ["--predict", "new.csv", "--predictions", "there/out.csv"]


@pytest.fixture
def compare(run):
    def compare(*options, methods="constant,slaw", problem="study.toy:predicting"):
        usual = ["--methods", methods, "--seeds", 2, "--out", "out"]
        return run("compare", problem, *usual, *options)

    return compare


def saved(tmp_path, method, seed):
    path = tmp_path / "out" / "runs" / method / f"seed-{seed}" / "network.pt"
    return {name: each.numpy() for name, each in torch.load(path, weights_only=True).items()}


def by_hand(state):
    features = ROWS @ state["trunk.0.weight"].T + state["trunk.0.bias"]
    return features @ state["heads.weight"].T + state["heads.bias"]


def test_the_mean_of_the_best_methods_networks(compare, new, tmp_path):
    code, text = compare(*new, "--single-task")
    assert code == 0
    methods = json.loads((tmp_path / "out" / "summary.json").read_text())["methods"]
    best, other = sorted(methods, key=lambda row: row["metrics"]["error"]["mean"])
    assert f"predictions: there/out.csv, by the 2 runs of {best['method']}" in text
    found = pd.read_csv(tmp_path / "there" / "out.csv")
    expected, not_expected = (
        np.mean([by_hand(saved(tmp_path, row["method"], seed)) for seed in range(2)], 0)
        for row in (best, other)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert not np.allclose(found, not_expected, rtol=1e-4)


def test_a_finished_study_predicts_without_training(compare, new, tmp_path):
    compare()
    before = (tmp_path / "out" / "study.json").read_bytes()
    code, text = compare(*new)
    assert code == 0
    assert text.count("was there already") == 4
    assert (tmp_path / "out" / "study.json").read_bytes() == before
    assert len(pd.read_csv(tmp_path / "there" / "out.csv")) == 2


def test_nothing_is_overwritten(compare, new, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "out.csv").write_text("precious")
    code, text = compare(*new)
    assert code == 1
    assert "there is there/out.csv already" in text
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "there" / "out.csv").read_text() == "precious"


def test_what_appears_meanwhile_is_not_overwritten(compare, new, tmp_path):
    code, text = compare("--predict", "new.csv", "--predictions", "out/results.csv")
    assert code == 1
    assert "there is out/results.csv already" in text
    assert "method" in (tmp_path / "out" / "results.csv").read_text()


@pytest.mark.parametrize(
    ("options", "problem", "words"),
    [
        (["--predict", "new.csv"], "study.toy:predicting", "go together"),
        (["--predictions", "o.csv"], "study.toy:predicting", "go together"),
        (
            ["--predict", "new.csv", "--predictions", "o.csv"],
            "study.toy:toy",
            "study.toy:toy cannot predict new samples",
        ),
        (
            ["--predict", "wrong.csv", "--predictions", "o.csv"],
            "study.toy:predicting",
            "wrong.csv is wrong",
        ),
    ],
)
def test_a_mistake_shows_before_training(compare, new, tmp_path, options, problem, words):
    (tmp_path / "wrong.csv").write_text("no numbers")
    code, text = compare(*options, problem=problem)
    assert code == 1
    assert words in text
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "o.csv").exists()


def test_runs_without_a_network(compare, new, tmp_path):
    compare()
    folder = tmp_path / "out" / "runs" / "slaw" / "seed-1"
    (folder / "network.pt").unlink()
    code, text = compare(*new)
    assert code == 1
    assert "1 of the finished runs, such as out/runs/slaw/seed-1, have no network.pt" in text
    assert "delete" in text
    assert not (tmp_path / "there" / "out.csv").exists()


def test_a_network_of_another_shape(compare, new, tmp_path):
    compare(methods="slaw")
    for seed in range(2):
        path = tmp_path / "out" / "runs" / "slaw" / f"seed-{seed}" / "network.pt"
        torch.save({"weight": torch.zeros(1)}, path)
    code, text = compare(*new, methods="slaw")
    assert code == 1
    assert "out/runs/slaw/seed-0/network.pt is not of this problem's network" in text
    assert not (tmp_path / "there" / "out.csv").exists()


def test_where_every_run_diverged_nothing_predicts(compare, new, tmp_path):
    (tmp_path / "bad.py").write_text(
        "from study.toy import blows_up, predicting\nproblem = predicting(losses=blows_up)\n"
    )
    code, text = compare(*new, problem="bad:problem")
    assert code == 1
    assert "no method has a finite error, so none can predict new.csv" in text
    assert not (tmp_path / "there" / "out.csv").exists()
