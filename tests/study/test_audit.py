import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from study import toy

from equipoise.errors import UserError
from equipoise.study.audit import audit
from equipoise.study.compare import compare

USUAL = {"steps": 60, "seeds": 2, "progress": False}


def mean_alignments(folder):
    """Of the runs of a study, from their files."""
    runs = []
    for seed in range(2):
        with np.load(folder / "runs" / "slgate" / f"seed-{seed}" / "samples.npz") as arrays:
            runs.append(arrays["alignments"].astype(float))
    return np.mean(runs, axis=0)


def test_every_label_is_ranked_by_its_mean_alignment(tmp_path):
    problem = toy.noisy()
    found = audit(problem, out=tmp_path / "out", **USUAL)
    table, said = found.labels, "\n".join(found.findings)
    expected = mean_alignments(tmp_path / "out")
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

    assert f"{len(table):,} labels of 50 training samples" in said
    wrong = [name for name, part in table.groupby("task") if part["corrupted"].any()]
    assert problem.main in wrong
    for name in wrong:
        part = table[table["task"] == name]
        first = part.iloc[0]
        assert f"{name}: most suspicious, by row and alignment: {first['row']} (-" in said
        number = part["corrupted"].sum()
        share = part["corrupted"].iloc[:number].mean()
        area = roc_auc_score(part["corrupted"] == 0, part["alignment"])
        assert (
            f"{name}: of the {number} most suspicious labels {share:.1%} are among the {number} "
            f"known to be wrong, {part['corrupted'].mean():.1%} by chance" in said
        )
        assert f"{area:.3f}, 0.5 by chance" in said


def test_the_file_has_the_same_labels(tmp_path):
    found = audit(toy.noisy(), out=tmp_path, **USUAL)
    written = pd.read_csv(tmp_path / "labels.csv")
    pd.testing.assert_frame_equal(written, found.labels, check_dtype=False, rtol=1e-6)
    assert found.folder == tmp_path
    assert found.findings[0] in found._repr_html_()


def test_wrong_labels_are_found(tmp_path):
    table = audit(toy.noisy(), method="SLGrad", out=tmp_path, **USUAL).labels
    table = table.query("task == '[a]'")
    number = table["corrupted"].sum()
    assert table["corrupted"].iloc[:number].mean() > 0.7 > 2 * table["corrupted"].mean()


def test_without_known_wrong_labels_and_rows(tmp_path):
    found = audit(toy.held_out(), out=tmp_path / "there" / "found", **USUAL)
    assert list(found.labels.columns) == ["sample", "task", "alignment", "rank"]
    said = "\n".join(found.findings)
    assert "by sample and alignment" in said
    assert "chance" not in said


def test_its_runs_are_those_of_a_study_of_the_same_folder(tmp_path):
    compare(toy.noisy(), methods="slgate", out=tmp_path, **USUAL)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}
    assert len(times) == 2
    first = audit(toy.noisy(), out=tmp_path, **USUAL).labels
    more = audit(toy.noisy(), out=tmp_path, **{**USUAL, "seeds": 3}).labels
    assert not first.equals(more)
    assert (
        times.items()
        <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}.items()
    )
    assert json.loads((tmp_path / "study.json").read_text())["asked"] == {"slgate": 3}


def test_what_another_program_put_there_is_not_touched(tmp_path):
    (tmp_path / "labels.csv").write_text("precious")
    with pytest.raises(UserError, match="something other than a study"):
        audit(toy.noisy(), out=tmp_path, **USUAL)
    assert (tmp_path / "labels.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("problem", "options", "words"),
    [
        ("noisy", {"method": "slaw"}, "`method`: slaw does not align samples with held-out"),
        ("noisy", {"method": "cosinegate"}, "use slgate or slgrad"),
        ("noisy", {"method": "slgat"}, "did you mean 'slgate'?"),
        ("noisy", {"method": "slgate,slgrad"}, "leave out the others"),
        ("noisy", {"method": "slgate(every=0)"}, "every must be an integer"),
        ("toy", {}, "`main`"),
        ("serving", {}, "`held_out`"),
    ],
)
def test_a_mistake_is_a_sentence_before_anything_is_trained(tmp_path, problem, options, words):
    with pytest.raises(UserError) as error:
        audit(getattr(toy, problem)(), out=tmp_path / "out", **USUAL, **options)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_training_that_diverged_tells_nothing(tmp_path):
    with pytest.raises(UserError, match=r"training diverged at step .* give a smaller `lr`"):
        audit(toy.noisy(), lr=1e30, out=tmp_path, **USUAL)
    assert not (tmp_path / "labels.csv").exists()


def test_a_run_that_fails_is_named(tmp_path):
    class Fails(toy.Network):
        def forward(self, inputs):
            if not self.training:
                raise ZeroDivisionError("when it was measured")
            return super().forward(inputs)

    problem = replace(toy.noisy(), network=Fails)
    with pytest.raises(UserError, match="slgate, seed 0 failed: ZeroDivisionError: when") as error:
        audit(problem, out=tmp_path, **USUAL)
    assert "and so did 1 more" in str(error.value)
    assert "in forward" in error.value.trace
