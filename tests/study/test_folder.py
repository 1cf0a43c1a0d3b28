import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from study.toy import toy
from study.training import trained

from equipoise.errors import UserError
from equipoise.study import folder
from equipoise.study.configuration import Study
from equipoise.study.files import sha256_of
from equipoise.study.folder import (
    corrupted_csv,
    opened,
    read_corrupted,
    read_runs,
    read_study,
    run_folder,
    set_aside,
    write_corrupted,
    write_run,
)
from equipoise.study.runs import FACTS, HISTORY, NETWORK, Run, metrics_table, to_json

STUDY = Study(
    problem="toy",
    options={"size": 3, "names": ["a", "b"]},
    recipe={"steps": 20, "batch_size": 16, "lr": 0.05},
    tasks=("a", "b"),
    goals={"error": "min"},
    notes=("2 rows left out",),
)


@pytest.fixture(scope="module")
def files():
    problem = toy(predict=lambda rows, networks: None)
    run = trained(problem, steps=4)
    return dict(run.files)


def altered(files, **facts):
    return {**files, FACTS: to_json({**json.loads(files[FACTS]), **facts}).encode()}


def open_and_leave(out, study=STUDY):
    with opened(out, study) as (_, said):
        return said


def test_a_study_comes_back(tmp_path):
    assert open_and_leave(tmp_path / "out") == []
    assert open_and_leave(tmp_path / "out") == []
    assert read_study(tmp_path / "out") == STUDY


def test_where_files_are_and_what_was_asked_for_do_not_make_another_study(tmp_path):
    open_and_leave(tmp_path, replace(STUDY, files={"data": "/a"}, asked={"slaw": 3, "dwa": 1}))
    again = replace(STUDY, files={"data": "/b"}, asked={"dwa": 2})
    with opened(tmp_path, again) as (study, _):
        assert study.asked == {"slaw": 3, "dwa": 2}
    assert read_study(tmp_path).asked == {"slaw": 3, "dwa": 2}
    assert study.identity == STUDY.identity


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"main": "a"}, "main None there, 'a' now"),
        ({"recipe": {**STUDY.recipe, "lr": 0.1}}, r"recipe lr 0\.05 there, 0\.1 now"),
        ({"version": "0.0.1"}, r"version '.*' there, '0\.0\.1' now"),
    ],
)
def test_another_configuration_is_refused_with_what_differs(tmp_path, changes, words):
    open_and_leave(tmp_path)
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(UserError, match=words):
        open_and_leave(tmp_path, replace(STUDY, **changes))
    assert (tmp_path / "study.json").read_bytes() == before
    assert replace(STUDY, **changes).identity != STUDY.identity


def test_a_folder_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UserError, match="something other than a study"):
            open_and_leave(out)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_one_command_at_a_time(tmp_path):
    with opened(tmp_path, STUDY), pytest.raises(UserError, match="another command is at work"):
        open_and_leave(tmp_path)
    open_and_leave(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"problem": 1}', '{"pro', "null", "7", "\0"])
def test_a_damaged_study_is_said_to_be_and_made_anew(tmp_path, text):
    open_and_leave(tmp_path)
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"study\.json cannot be read"):
        read_study(tmp_path)
    (said,) = open_and_leave(tmp_path)
    assert "set-aside/study.json, and written anew" in said
    assert (tmp_path / "set-aside" / "study.json").read_text() == text
    assert read_study(tmp_path) == STUDY


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(UserError, match="holds no study"):
        read_study(tmp_path / "nowhere")


def test_a_run_comes_back(tmp_path, files):
    write_run(tmp_path, STUDY, files)
    ((run,), damaged) = read_runs(tmp_path, STUDY)
    assert damaged == []
    assert run.files == run_folder(tmp_path, "slaw", 0, None)
    memory = Run(run.facts, files)
    for name, array in vars(memory.history).items():
        assert np.array_equal(vars(run.history)[name], array, equal_nan=True)
    assert run.network().keys() == memory.network().keys()
    assert not run.weighs_samples
    with pytest.raises((KeyError, OSError)):
        run.samples()


def test_a_run_is_written_whole_or_not_at_all(tmp_path, files, monkeypatch):
    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(folder, "to_json", fail)
    with pytest.raises(OSError, match="no space"):
        write_run(tmp_path, STUDY, files)
    monkeypatch.undo()
    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="no space"):
        write_run(tmp_path, STUDY, files)
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "slaw"]
    assert read_runs(tmp_path, STUDY) == ([], [])


def test_what_a_killed_process_left_is_removed(tmp_path):
    open_and_leave(tmp_path)
    (tmp_path / "runs" / "slaw" / ".equipoise-half").mkdir(parents=True)
    (tmp_path / ".equipoise-half").write_text("half")
    open_and_leave(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        ".equipoise-lock",
        "runs",
        "slaw",
        "study.json",
    ]


def test_a_network_that_would_run_code_is_refused(tmp_path, files):
    content = tmp_path / "other.pt"
    torch.save({"weight": Path}, content)
    run = write_run(tmp_path, STUDY, {**files, NETWORK: content.read_bytes()})
    with pytest.raises(UserError, match="the network of slaw, seed 0 cannot be read"):
        run.network()


def spoil(path, how):
    """A file as an accident leaves it."""
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "truncated": content[: len(content) // 2],
                "flipped": content[:20] + bytes([content[20] ^ 1]) + content[21:],
                "longer": content + b" ",
                "null": b"null",
                "list": b"[]",
                "text": "nothing of the kind ü".encode("latin-1"),
            }[how]
        )


HOW = ["missing", "folder", "empty", "truncated", "flipped", "longer", "null", "list", "text"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["manifest.json", FACTS, HISTORY, NETWORK])
def test_a_damaged_run_is_told_from_a_sound_one(tmp_path, files, name, how):
    write_run(tmp_path, STUDY, files)
    write_run(tmp_path, STUDY, altered(files, seed=1))
    path = run_folder(tmp_path, "slaw", 0, None)
    spoil(path / name, how)
    runs, damaged = read_runs(tmp_path, STUDY)
    if (name, how) == ("manifest.json", "longer"):
        assert damaged == []
        return
    assert [run.facts.seed for run in runs] == [1]
    assert [each.path for each in damaged] == [path]
    place = set_aside(tmp_path, path)
    assert place == tmp_path / "set-aside" / "runs-slaw-seed-0"
    assert len(read_runs(tmp_path, STUDY)[0]) == 1
    write_run(tmp_path, STUDY, files)
    assert set_aside(tmp_path, path).name == "runs-slaw-seed-0-1"


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest | {"study": "0" * 64},
        lambda manifest: manifest | {"method": "dwa"},
        lambda manifest: manifest | {"seed": 7},
        lambda manifest: manifest | {"task": "a"},
        lambda manifest: manifest | {"task": "none of them"},
        lambda manifest: manifest | {"files": {}},
        lambda manifest: manifest | {"files": 3},
        lambda manifest: manifest | {"files": {FACTS: manifest["files"][FACTS]}},
        lambda manifest: {name: manifest[name] for name in manifest if name != "seed"},
        lambda manifest: list(manifest),
    ],
)
def test_a_manifest_of_something_else(tmp_path, files, change):
    write_run(tmp_path, STUDY, files)
    path = run_folder(tmp_path, "slaw", 0, None) / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    runs, damaged = read_runs(tmp_path, STUDY)
    assert runs == []
    assert damaged[0].reason


def test_a_run_copied_from_elsewhere_is_not_trusted(tmp_path, files):
    other = replace(STUDY, recipe={**STUDY.recipe, "lr": 1.0})
    write_run(tmp_path / "other", other, files)
    write_run(tmp_path / "own", STUDY, files)
    own = run_folder(tmp_path / "own", "slaw", 0, None)
    shutil.copytree(own, own.with_name("seed-1"))
    shutil.copytree(run_folder(tmp_path / "other", "slaw", 0, None), own.with_name("seed-2"))
    shutil.copytree(own, own.parent.with_name("dwa") / "seed-0")
    (own.with_name("seed-3")).mkdir()
    runs, damaged = read_runs(tmp_path / "own", STUDY)
    assert [run.files for run in runs] == [own]
    reasons = {f"{each.path.parent.name}/{each.path.name}": each.reason for each in damaged}
    assert reasons["slaw/seed-1"] == "it is the place of another run than slaw, seed 0"
    assert reasons["slaw/seed-2"] == "it is of another study"
    assert reasons["dwa/seed-0"] == "it is the place of another run than slaw, seed 0"
    assert "manifest.json" in reasons["slaw/seed-3"]


def test_the_table_has_a_row_for_every_figure():
    run = trained(steps=4)
    table = metrics_table([run])
    assert list(table.columns) == ["method", "seed", "task", "metric", "value"]
    assert set(table.task) == {"a", "b", "all"}
    assert table.value.tolist() == list(run.facts.metrics["error"].values())


NAMES = ("NA", 'say "a", b', "1")


@pytest.fixture
def wrong():
    """Which labels of a study are wrong."""
    return torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) < 0.4


def knowing(problem):
    return replace(STUDY, tasks=NAMES, corrupted=sha256_of(corrupted_csv(problem).encode()))


def test_wrong_labels_come_back(tmp_path, wrong):
    assert wrong.any(0).all()
    for corrupted in (wrong, torch.zeros(5, 3, dtype=torch.bool)):
        problem = toy(tasks=NAMES, corrupted=corrupted)
        write_corrupted(tmp_path, problem)
        found = read_corrupted(tmp_path, knowing(problem), 5)
        assert np.array_equal(found, corrupted) if corrupted.any() else found is None
    (tmp_path / "corrupted.csv").unlink()
    assert read_corrupted(tmp_path, STUDY, 5) is None
    write_corrupted(tmp_path, toy())
    assert not (tmp_path / "corrupted.csv").exists()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "sample,task\n5,NA\n", "sample,task\n0,c\n"])
def test_wrong_labels_that_are_not_as_they_were_written(tmp_path, wrong, text):
    study = knowing(toy(tasks=NAMES, corrupted=wrong))
    with pytest.raises(UserError, match=r"corrupted\.csv cannot be read"):
        read_corrupted(tmp_path, study, 5)
    (tmp_path / "corrupted.csv").write_text(text)
    with pytest.raises(UserError, match=r"corrupted\.csv cannot be read"):
        read_corrupted(tmp_path, study, 5)


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


def test_every_label_has_a_folder_of_its_own(tmp_path, files):
    for label in LABELS:
        write_run(tmp_path, STUDY, altered(files, method=label))
    names = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len({name.casefold() for name in names}) == len(LABELS)
    assert all(re.fullmatch(r"[A-Za-z0-9_.+=-]{1,100}", name) for name in names)
    assert {"slaw", "torchjd-PCGrad", "slaw+torchjd-PCGrad"} < set(names)
    runs, damaged = read_runs(tmp_path, STUDY)
    assert sorted(each.facts.method for each in runs) == sorted(LABELS)
    assert damaged == []


def test_no_name_of_a_task_is_in_a_path(tmp_path):
    found = run_folder(tmp_path, "single", 0, 3)
    assert found == tmp_path / "runs" / "single-3" / "seed-0"
    assert run_folder(tmp_path, "torchjd/PCGrad", 0, None).parent.parent == tmp_path / "runs"
