import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from study.toy import toy

from equipoise.errors import UserError
from equipoise.study.folder import (
    Samples,
    Study,
    metrics_table,
    open_study,
    read_network,
    read_run,
    read_runs,
    read_study,
    run_folder,
    write_corrupted,
    write_run,
)

STUDY = Study(
    problem="toy",
    options={"size": 3, "names": ("a", "b")},
    recipe={"steps": 20, "batch_size": 16, "lr": 0.05},
    tasks=("a", "b"),
    goals={"error": "min"},
    notes=("2 rows left out",),
)


@pytest.fixture
def run():
    from study.test_loop import trained

    return trained(toy(), steps=4)


def test_a_study_comes_back(tmp_path):
    open_study(tmp_path / "out", STUDY)
    open_study(tmp_path / "out", STUDY)
    assert read_study(tmp_path / "out") == replace(STUDY, options={"size": 3, "names": ["a", "b"]})


def test_the_main_task_is_part_of_a_study(tmp_path):
    main = replace(STUDY, main="a", options={})
    assert (STUDY.deciding, main.deciding) == ("all", "a")
    open_study(tmp_path, main)
    assert read_study(tmp_path) == main
    with pytest.raises(UserError, match="main 'a' there, None now"):
        open_study(tmp_path, replace(main, main=None))


def test_a_study_made_before_there_were_main_tasks_is_read(tmp_path):
    open_study(tmp_path, STUDY)
    found = json.loads((tmp_path / "study.json").read_text())
    del found["main"]
    (tmp_path / "study.json").write_text(json.dumps(found))
    assert read_study(tmp_path).main is None
    open_study(tmp_path, STUDY)


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    open_study(tmp_path, STUDY)
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(UserError, match=r"recipe lr 0\.05 there, 0\.1 now"):
        open_study(tmp_path, replace(STUDY, recipe={**STUDY.recipe, "lr": 0.1}))
    assert (tmp_path / "study.json").read_bytes() == before


def test_a_study_of_another_version_is_refused(tmp_path):
    open_study(tmp_path, replace(STUDY, version="0.0.1"))
    with pytest.raises(UserError, match=r"version '0\.0\.1' there"):
        open_study(tmp_path, STUDY)


def test_a_folder_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="something other than a study"):
        open_study(tmp_path, STUDY)
    with pytest.raises(UserError, match="something other than a study"):
        open_study(tmp_path / "thesis.tex", STUDY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"problem": 1}'])
def test_a_damaged_study_is_said_to_be(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"study\.json"):
        read_study(tmp_path)


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(UserError, match="holds no study"):
        read_study(tmp_path / "nowhere")


def test_a_run_comes_back(tmp_path, run):
    folder = run_folder(tmp_path, "slaw", 0, None)
    write_run(folder, run)
    back = read_run(folder)
    assert replace(back, history=run.history) == run
    for name, array in vars(run.history).items():
        assert np.array_equal(vars(back.history)[name], array, equal_nan=True)
    assert [each.method for each in read_runs(tmp_path)] == ["slaw"]


def test_a_run_is_written_whole_or_not_at_all(tmp_path, run, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dumps", fail)
    folder = run_folder(tmp_path, "slaw", 0, None)
    with pytest.raises(OSError, match="disk full"):
        write_run(folder, run)
    assert not list(folder.parent.iterdir())


def test_the_network_of_a_run_is_kept(tmp_path, run):
    folder = run_folder(tmp_path, "slaw", 0, None)
    state = {"weight": torch.randn(2, 3)}
    write_run(folder, replace(run, network=state))
    assert torch.equal(read_network(folder)["weight"], state["weight"])
    assert read_run(folder).selected_step == run.selected_step


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_network_that_cannot_be_read(tmp_path, run, content):
    folder = run_folder(tmp_path, "slaw", 0, None)
    write_run(folder, run)
    if content is not None:
        (folder / "network.pt").write_bytes(content)
    with pytest.raises(UserError, match=f"delete {folder}, and the same command"):
        read_network(folder)


def test_a_network_that_would_run_code_is_refused(tmp_path, run):
    folder = run_folder(tmp_path, "slaw", 0, None)
    write_run(folder, run)
    torch.save({"weight": Path}, folder / "network.pt")
    with pytest.raises(UserError, match="cannot be read"):
        read_network(folder)


def test_of_two_processes_with_the_same_run_the_first_stays(tmp_path, run):
    folder = run_folder(tmp_path, "slaw", 0, None)
    write_run(folder, run)
    write_run(folder, replace(run, selected_step=1))
    assert read_run(folder).selected_step == run.selected_step
    assert [path.name for path in folder.parent.iterdir()] == ["seed-0"]


def test_a_run_that_is_being_written_is_not_read(tmp_path, run):
    folder = run_folder(tmp_path, "slaw", 0, None)
    write_run(folder, run)
    folder.rename(folder.parent / ".unfinished-x")
    assert read_runs(tmp_path) == []


def test_the_table_has_a_row_for_every_figure(run):
    table = metrics_table([run])
    assert list(table.columns) == ["method", "seed", "task", "metric", "value"]
    assert set(table.task) == {"a", "b", "all"}
    assert table.value.tolist() == list(run.metrics["error"].values())


NAMES = ("NA", 'say "a", b', "1")


@pytest.fixture
def noisy_study(tmp_path, run):
    """A study with a run of a weighting of samples, and which of its labels are wrong."""
    corrupted = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) < 0.4
    open_study(tmp_path, replace(STUDY, tasks=NAMES))
    write_corrupted(tmp_path, toy(tasks=NAMES, corrupted=corrupted))
    found = Samples(
        weights=np.ones((2, 5, 3), np.float32),
        alignments=np.ones((5, 3), np.float32),
        shown=np.arange(5),
        pictures=np.empty(0, np.uint8),
    )
    write_run(run_folder(tmp_path, "slgrad", 0, None), replace(run, samples=found))
    write_run(run_folder(tmp_path, "slaw", 0, None), run)
    return corrupted.numpy()


def test_wrong_labels_come_back_with_the_runs_that_weigh_samples(tmp_path, noisy_study):
    slaw, slgrad = read_runs(tmp_path)
    assert noisy_study.any(0).all()
    assert np.array_equal(slgrad.corrupted, noisy_study)
    assert np.array_equal(slgrad.samples.shown, np.arange(5))
    assert slaw.corrupted is None
    (tmp_path / "corrupted.csv").unlink()
    assert read_runs(tmp_path)[1].corrupted is None
    write_corrupted(tmp_path, toy())
    assert not (tmp_path / "corrupted.csv").exists()


def test_no_wrong_label_is_as_if_none_were_known(tmp_path, noisy_study):
    write_corrupted(tmp_path, toy(tasks=NAMES, corrupted=torch.zeros(5, 3, dtype=torch.bool)))
    assert read_runs(tmp_path)[1].corrupted is None


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "sample,task\n5,NA\n", "sample,task\n0,c\n"])
def test_wrong_labels_that_cannot_be_read(tmp_path, noisy_study, text):
    (tmp_path / "corrupted.csv").write_text(text)
    with pytest.raises(UserError, match=r"corrupted\.csv cannot be read"):
        read_runs(tmp_path)


LABELS = [
    "slaw",
    "torchjd/PCGrad",
    "slaw+torchjd/PCGrad",
    "slaw(beta=0.9)",
    "slaw(beta=0.91)",
    "constant(initial={'a/../b': 1.0, ':<>|?*\\0': 2.0})",
    "constant(initial={'a/../b': 1.0, ':<>|?*\\0': 3.0})",
    "mine:Weighting",
    "mine:weighting",
    "größen:Gewichtung",
    f"constant(initial={[1.0] * 617})",
    f"constant(initial={[1.0] * 618})",
]


def test_every_label_has_a_folder_of_its_own(tmp_path, run):
    for label in LABELS:
        write_run(run_folder(tmp_path, label, 0, None), replace(run, method=label))
    names = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len({name.casefold() for name in names}) == len(LABELS)
    assert all(re.fullmatch(r"[A-Za-z0-9_.+=-]{1,100}", name) for name in names)
    assert {"slaw", "torchjd-PCGrad", "slaw+torchjd-PCGrad"} < set(names)
    assert sorted(each.method for each in read_runs(tmp_path)) == sorted(LABELS)


def test_no_name_of_a_task_is_in_a_path(tmp_path):
    folder = run_folder(tmp_path, "single", 0, 3)
    assert folder == tmp_path / "runs" / "single-3" / "seed-0"
    assert run_folder(tmp_path, "torchjd/PCGrad", 0, None).parent.parent == tmp_path / "runs"
