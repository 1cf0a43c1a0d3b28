import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from study.toy import noisy

OPTIONS = ["--steps", 60, "--seeds", 2]


@pytest.fixture
def audit(run):
    def audit(*options, problem="study.toy:noisy"):
        return run("audit", problem, *OPTIONS, *options)

    return audit


def mean_alignments(folder):
    """Of the runs of a study, from their files."""
    runs = []
    for seed in range(2):
        with np.load(folder / "runs" / "slgate" / f"seed-{seed}" / "samples.npz") as arrays:
            runs.append(arrays["alignments"].astype(float))
    return np.mean(runs, axis=0)


def test_every_label_is_ranked_by_its_mean_alignment(audit, run, tmp_path):
    code, text = audit()
    assert code == 0
    run("compare", "study.toy:noisy", "--methods", "slgate", *OPTIONS, "--out", "out")
    expected, problem = mean_alignments(tmp_path / "out"), noisy()
    table = pd.read_csv(tmp_path / "audit.csv")
    assert list(table.columns) == ["sample", "task", "alignment", "rank", "row", "corrupted"]
    main, others = (part for _, part in table.groupby(table["task"] != problem.main))
    assert table.index.equals(main.index.append(others.index))  # the main task's first
    for _, part in table.groupby("task"):
        assert part["rank"].tolist() == list(range(1, len(part) + 1))
        assert part["alignment"].is_monotonic_increasing

    present = problem.train.tensors[2].numpy()
    assert not present.all()
    assert len(table) == present.sum()
    columns = table["task"].map(list(problem.tasks).index)
    assert present[table["sample"], columns].all()
    assert not table.duplicated(["sample", "task"]).any()
    np.testing.assert_allclose(table["alignment"], expected[table["sample"], columns], rtol=1e-6)
    assert (table["corrupted"] == problem.corrupted.numpy()[table["sample"], columns]).all()
    assert (table["row"] == 3 * table["sample"] + 7).all()

    assert f"{len(table):,} labels of 50 training samples" in text
    wrong = [name for name, part in table.groupby("task") if part["corrupted"].any()]
    assert problem.main in wrong
    for name in wrong:
        part = table[table["task"] == name]
        first = part.iloc[0]
        assert f"{name}: most suspicious, by row and alignment: {first['row']} (-" in text
        number = part["corrupted"].sum()
        found = part["corrupted"].iloc[:number].mean()
        area = roc_auc_score(part["corrupted"] == 0, part["alignment"])
        assert (
            f"{name}: of the {number} most suspicious labels {found:.1%} are among the {number} "
            f"known to be wrong, {part['corrupted'].mean():.1%} by chance" in text
        )
        assert f"{area:.3f}, 0.5 by chance" in text


def test_wrong_labels_are_found(audit, tmp_path):
    audit("--method", "SLGrad")
    table = pd.read_csv(tmp_path / "audit.csv").query("task == '[a]'")
    number = table["corrupted"].sum()
    assert table["corrupted"].iloc[:number].mean() > 0.7 > 2 * table["corrupted"].mean()


def test_without_known_wrong_labels_and_rows(audit, tmp_path):
    code, text = audit("--out", "there/found.csv", problem="study.toy:held_out")
    assert code == 0
    assert list(pd.read_csv(tmp_path / "there" / "found.csv").columns) == [
        "sample",
        "task",
        "alignment",
        "rank",
    ]
    assert "by sample and alignment" in text
    assert "chance" not in text


def test_no_file_is_overwritten(audit, tmp_path):
    (tmp_path / "audit.csv").write_text("precious")
    code, text = audit()
    assert code == 1
    assert "--out: there is audit.csv already" in text
    assert "1/2" not in text
    assert (tmp_path / "audit.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("problem", "options", "words"),
    [
        ("study.toy:noisy", ["--method", "slaw"], "slaw does not align samples with held-out"),
        ("study.toy:noisy", ["--method", "cosinegate"], "use slgate or slgrad"),
        ("study.toy:noisy", ["--method", "slgat"], "did you mean 'slgate'?"),
        ("study.toy:noisy", ["--method", "slgate,slgrad"], "leave out the others"),
        ("study.toy:noisy", ["--method", "slgate(every=0)"], "every must be an integer"),
        ("study.toy:toy", [], "--main"),
        ("study.toy:serving", [], "--held-out"),
        ("study.toy:noisy", ["--lr", 1e30], "training diverged at step"),
        ("study.toy:nosy", [], "no 'nosy'"),
    ],
)
def test_a_users_mistake_is_one_sentence(audit, tmp_path, problem, options, words):
    code, text = audit(*options, problem=problem)
    assert code == 1
    assert words in text
    assert "Traceback" not in text
    assert not (tmp_path / "audit.csv").exists()


def test_the_options_are_those_of_the_problem(run):
    code, text = run("audit", "toy-noise", "--help")
    assert code == 0
    assert all(option in text for option in ("--noise", "--method ", "--seeds", "--out"))
    assert "--single-task" not in text
    assert "toy-noise" in run("audit", "--help")[1]
