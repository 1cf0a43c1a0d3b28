import json
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def compare(run, *options, problem="study.toy:toy"):
    return run("compare", problem, "--methods", "constant,slaw", "--seeds", 2, *options)


def test_compare_writes_everything(run, tmp_path):
    code, text = compare(run)
    assert code == 0
    assert text.count("\n4/4 ") == 1
    out = tmp_path / "results" / "study.toy-toy"
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        "study.json",
        "runs",
        "results.csv",
        "summary.json",
        "report.html",
    }
    table = pd.read_csv(out / "results.csv")
    assert list(table.columns) == ["method", "seed", "task", "metric", "value"]
    assert len(table) == 2 * 2 * 3
    assert {row["method"] for row in json.loads((out / "summary.json").read_text())["methods"]} == {
        "constant",
        "slaw",
    }
    assert str(Path("results", "study.toy-toy", "report.html")) in text


def test_the_main_task_is_said(run, tmp_path):
    code, text = compare(run, "--out", "out", problem="study.toy:serving")
    assert code == 0
    assert "main task: [a]; its error decides" in text
    assert "1/4 constant, seed 0: error of [a] " in text
    assert "error of [a]\N{NO-BREAK SPACE}↓" in text
    assert json.loads((tmp_path / "out" / "study.json").read_text())["main"] == "[a]"
    assert "error of [a]" in run("report", "out")[1]


def test_what_is_there_is_not_trained_again(run, tmp_path):
    compare(run, "--out", "out")
    runs = sorted((tmp_path / "out" / "runs").rglob("run.json"))
    times = [path.stat().st_mtime_ns for path in runs]
    results = (tmp_path / "out" / "results.csv").read_bytes()
    runs[0].parent.rename(tmp_path / "lost")
    code, text = compare(run, "--out", "out")
    assert code == 0
    assert text.count("was there already") == 3
    assert [path.stat().st_mtime_ns for path in runs[1:]] == times[1:]
    assert (tmp_path / "out" / "results.csv").read_bytes() == results


def test_more_seeds_and_methods_extend_a_study(run, tmp_path):
    compare(run, "--out", "out")
    run("compare", "study.toy:toy", "--methods", "dwa", "--seeds", 3, "--out", "out")
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table.method) == {"constant", "slaw", "dwa"}


def test_what_is_known_of_wrong_labels_is_written_and_shown_again(run, tmp_path):
    options = ["study.toy:noisy", "--methods", "constant,slgate", "--seeds", 2, "--out", "out"]
    code, text = run("compare", *options)
    assert code == 0
    out = tmp_path / "out"
    labels = pd.read_csv(out / "corrupted.csv")
    assert labels.to_dict("list") == {"sample": list(range(0, 50, 4)), "task": ["[a]"] * 13}
    (line,) = (each for each in text.splitlines() if "a detector of clean" in each)
    assert line.startswith("slgate: ")
    by_name = {
        row["method"]: row["detection"]
        for row in json.loads((out / "summary.json").read_text())["methods"]
    }
    assert by_name["constant"] is None
    assert 0 < by_name["slgate"]["mean"] <= 1
    page = (out / "report.html").read_bytes()
    assert page.count(b'<img src="data:image/png;base64,') == 48

    (out / "report.html").unlink()
    assert line in run("report", "out")[1]
    assert (out / "report.html").read_bytes() == page
    (out / "corrupted.csv").unlink()
    assert line in run("compare", *options)[1]
    assert (out / "report.html").read_bytes() == page


def test_options_are_part_of_what_a_method_is(run, tmp_path):
    labels = ["slaw(bounds=(0.1, 10.0))", "slaw(beta=0.9)", "slaw", "gradnorm(alpha=1.5)"]
    spelt = "slaw(bounds=[.1,10]),SLAW( beta = 0.90 ),slaw(beta=0.99),gradnorm(alpha=1.5)"
    command = ["compare", "study.toy:toy", "--seeds", 1, "--out", "out", "--methods"]
    code, text = run(*command, spelt)
    assert code == 0, text
    assert set(pd.read_csv(tmp_path / "out" / "results.csv").method) == set(labels)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {row["method"] for row in summary["methods"]} == set(labels)
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(label in page and f" {label}, seed 0: error " in text for label in labels)
    code, text = run(*command, ",".join(labels))
    assert code == 0
    assert text.count("was there already") == 4
    (tmp_path / "out" / "report.html").unlink()
    assert all(label in run("report", "out")[1] for label in labels)


def test_a_weighting_of_tasks_in_front_of_one_of_samples(run, tmp_path):
    command = ["compare", "study.toy:noisy", "--seeds", 1, "--out", "out", "--methods"]
    code, text = run(*command, "slaw(beta=0.9)+slgate(shared='border'),slgate")
    assert code == 0, text
    label = "slaw(beta=0.9)+slgate(shared='border')"
    assert label in set(pd.read_csv(tmp_path / "out" / "results.csv").method)
    assert sum("a detector of clean" in line for line in text.splitlines()) == 2


def test_single_task_networks_and_what_is_gained_over_them(run, tmp_path):
    code, text = compare(run, "--single-task", "--out", "out")
    assert code == 0
    assert "Δm" in text
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table[table.method == "single"].task) == {"a", "b"}


def test_report_writes_the_page_anew(run, tmp_path):
    compare(run, "--out", "out")
    (tmp_path / "out" / "report.html").unlink()
    assert run("report", "out")[0] == 0
    assert (tmp_path / "out" / "report.html").exists()


def test_the_recipe_can_be_changed(run, tmp_path):
    compare(run, "--out", "out", "--steps", 7, "--batch-size", 5, "--lr", 0.5)
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    given = {"steps": 7, "batch_size": 5, "lr": 0.5}
    assert study["recipe"] == {**given, "threads": 1, "processes": 1}


def test_methods_and_problems_and_help(run):
    code, text = run("methods")
    assert code == 0
    assert all(name in text for name in ("slaw", "gradnorm", "tasks backward", "arXiv 2109.08218"))
    assert all(name in text for name in ("\nslgrad  ", "\nolaux  ", "held-out batches"))
    assert "mtregression" in run("problems")[1]
    assert "molecules" in run("compare", "--help")[1]
    code, text = run("compare", "mtregression", "--help")
    assert code == 0
    assert all(option in text for option in ("--tasks", "--methods", "--seeds", "--out"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["compare", "mtregresion"], 1, "did you mean 'mtregression'?"),
        (["compare", "nowhere:problem"], 1, "no module 'nowhere'"),
        (["compare", "study.toy:tay"], 1, "study.toy has no 'tay'"),
        (["compare", "study.toy:torch"], 1, "neither a Problem nor a function"),
        (["compare", "study.toy:toy", "--methods", "slow"], 1, "did you mean 'slaw'?"),
        (["compare", "study.toy:toy", "--methods", "ideal"], 1, "ideal weights"),
        (["compare", "study.toy:toy", "--methods", "slaw,slaw(beta=0.99)"], 1, "named twice"),
        (["compare", "study.toy:toy", "--methods", ""], 1, "'' is no method"),
        (["compare", "study.toy:toy", "--methods", "slaw(beta=0.9"], 1, "is no method"),
        (["compare", "study.toy:toy", "--methods", "slaw(beat=1)"], 1, "did you mean 'beta'?"),
        (["compare", "study.toy:toy", "--methods", "slaw(beta=2)"], 1, "slaw(beta=2.0): beta"),
        (["methods", "slow"], 1, "did you mean 'slaw'?"),
        (["methods", "slaw(beta=x)"], 1, "the value of beta"),
        (["compare", "study.toy:toy", "--device", "abacus"], 1, "--device 'abacus'"),
        (["compare", "study.toy:toy", "--steps", "0"], 1, "--steps must be"),
        (["compare", "study.toy:toy", "--lr", "-1"], 1, "--lr must be"),
        (["compare", "study.toy:toy", "--out", "here"], 1, "something other than a study"),
        (["compare", "mtregression", "--tasks", "1"], 1, "--tasks must be a whole number from 2"),
        (["compare", "mtregression", "--tasks", "many"], 2, "--tasks"),
        (["compare", "study.toy:toy", "--out", "/proc/study"], 1, "/proc/study"),
        (["compare", "molecules"], 2, "Missing option '--data'"),
        (["report", "nowhere"], 1, "holds no study"),
        (["compere"], 2, "compere"),
    ],
)
def test_a_users_mistake_is_one_sentence(run, tmp_path, arguments, code, words):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "thesis.tex").write_text("precious")
    got, text = run(*arguments)
    assert got == code
    assert words in text
    assert "Traceback" not in text
    assert (tmp_path / "here" / "thesis.tex").read_text() == "precious"


def test_another_configuration_is_refused(run):
    compare(run, "--out", "out")
    code, text = compare(run, "--out", "out", "--lr", 0.1)
    assert code == 1
    assert "recipe lr 0.05 there, 0.1 now" in text


def test_a_problem_whose_source_changed_is_another(run, tmp_path):
    source = tmp_path / "fresh_problem.py"
    source.write_text("from study.toy import toy\nproblem = toy()\n")
    assert compare(run, "--out", "out", problem="fresh_problem:problem")[0] == 0
    source.write_text("from study.toy import toy\nproblem = toy()  # changed\n")
    code, text = compare(run, "--out", "out", problem="fresh_problem:problem")
    assert code == 1
    assert "options source" in text
