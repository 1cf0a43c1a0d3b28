"""Whatever happens to a study or its folder, the same command goes on, or says what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from study import toy
from study.test_executors import METHODS, command, studied

from equipoise import compare
from equipoise.study import checkpoints
from equipoise.study.checkpoints import Checkpoint
from equipoise.study.files import write_text
from equipoise.study.folder import opened, read_runs, read_study

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def every_operation(base, what):
    done = subprocess.run(
        [sys.executable, "-m", "study.faulty", str(base), what],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(points) >= 60
    for point in points:
        assert point["again"] == 0, point
        assert point["same"], point
        assert point["kept"] == point["finished"], point
        assert point["left"] == [], point
    return points


def test_killed_at_any_file_operation_a_study_goes_on(tmp_path):
    points = every_operation(tmp_path / "kill", "kill")
    assert {point["code"] for point in points} == {-signal.SIGKILL}


def test_with_a_full_disk_a_study_ends_in_a_sentence_and_goes_on(tmp_path):
    for point in every_operation(tmp_path / "full", "full"):
        assert point["code"] == 1, point
        (error,) = (line for line in point["text"].splitlines() if line.startswith("Error: "))
        assert "No space left on device: what is finished is kept" in error
        assert "Traceback" not in point["text"]


def full_for_checkpoints(outputs, batch):
    def fail(path, content):
        raise OSError(28, "No space left on device")

    checkpoints.write_bytes = fail
    return toy.losses(outputs, batch)


@pytest.mark.parametrize("jobs", [1, 2])
def test_without_room_for_its_checkpoints_a_run_goes_on(tmp_path, jobs, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "write_bytes", checkpoints.write_bytes)
    problem = toy.toy(losses=full_for_checkpoints)
    given = {"jobs": jobs, "progress": True, "checkpoint": 0.0}
    runs, failures = studied(tmp_path, problem, "constant,slaw", **given)
    assert failures == {}
    assert len(runs) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be written" in line]
    assert sorted(line.split(",")[0] for line in lines) == ["constant", "slaw"]
    assert all("No space left on device" in line for line in lines)


COMMAND = ["compare", "study.toy:noisy", "--methods", "constant,slgate", "--steps", 4]
COMMAND += ["--seeds", 2, "--out", "out"]
PREDICTING = ["compare", "study.toy:predicting", "--methods", "constant", "--steps", 4]
PREDICTING += ["--seeds", 2, "--out", "out"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Studies that nothing has happened to, and another one."""
    base = tmp_path_factory.mktemp("sound")
    for problem, methods in {"noisy": "constant,slgate", "predicting": "constant"}.items():
        for kind, steps in {"sound": 4, "other": 5}.items():
            compare(
                f"study.toy:{problem}",
                methods=methods,
                seeds=2,
                steps=steps,
                out=base / f"{problem}-{kind}",
                progress=False,
            )
    return base


def empty(path, _):
    path.write_bytes(b"")


def truncated(path, _):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path, _):
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])


def another_type(path, _):
    path.write_bytes(b"[" * 100_000)


def folder(path, _):
    path.unlink()
    path.mkdir()


def encoded(path, _):
    path.write_bytes("nothing of the kind ü".encode("utf-16"))


def another(path, other):
    shutil.copyfile(other, path)


def pipe(path, _):
    path.unlink()
    os.mkfifo(path)


def dangling(path, _):
    path.unlink()
    path.symlink_to("nowhere")


def missing(path, _):
    path.unlink()


WAYS = [missing, empty, truncated, flipped, another_type, folder, encoded, another, pipe, dangling]
RUN = "runs/slgate/seed-0/"
FILES = ["study.json", "corrupted.csv", "results.csv", "summary.json", "report.html"]
FILES += [RUN + name for name in ("manifest.json", "run.json", "history.npz", "samples.npz")]
IN_THE_WAY = {
    (name, folder) for name in ("corrupted.csv", "results.csv", "summary.json", "report.html")
}
ANOTHER_STUDY = {("study.json", flipped), ("study.json", another)}


@pytest.fixture
def quick(monkeypatch):
    """The page is of no influence here, and takes its time."""
    monkeypatch.setattr(
        "equipoise.study.results.write_report",
        lambda *arguments: write_text(arguments[4], "page"),
    )


def csv_bytes(out):
    return (out / "results.csv").read_bytes()


def sentences(code, text):
    """What a command says that could not do what it should."""
    assert code in (0, 1), text
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(errors) == code, text
    return errors


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_told_and_replaced(run, tmp_path, sound, quick, name, way):
    out = tmp_path / "out"
    shutil.copytree(sound / "noisy-sound", out)
    way(out / name, sound / "noisy-other" / name)
    code, text = run("report", "out")
    told = sentences(code, text)
    if name.startswith("runs/"):
        assert code == 0
        assert f"left out: {Path('out', RUN)}" in text
    elif name in ("study.json", "corrupted.csv") and (name, way) not in ANOTHER_STUDY | {
        ("corrupted.csv", another)  # the wrong labels of the other study are the same
    }:
        assert told
        assert name in told[0]
    code, text = run(*COMMAND)
    told = sentences(code, text)
    if (name, way) in IN_THE_WAY:
        assert told
        assert name in told[0]
        (out / name).rmdir()
        code, text = run(*COMMAND)
    elif (name, way) in ANOTHER_STUDY:
        assert told
        assert "holds a study of another configuration" in told[0]
        (out / name).unlink()
        code, text = run(*COMMAND)
    assert code == 0, text
    assert csv_bytes(out) == csv_bytes(sound / "noisy-sound")
    assert (out / "corrupted.csv").read_bytes() == (
        sound / "noisy-sound" / "corrupted.csv"
    ).read_bytes()
    assert text.count("was there already") == (3 if name.startswith("runs/") else 4)
    assert name in ("study.json",) or not name.startswith("runs/") or "set-aside" in text


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["network.pt", "run.json"])
def test_no_damaged_network_predicts(run, tmp_path, sound, quick, name, way):
    out = tmp_path / "out"
    shutil.copytree(sound / "predicting-sound", out)
    (tmp_path / "new.csv").write_text("1,2,3\n")
    code, predicted = run("predict", "out", "new.csv")
    assert code == 0
    file = f"runs/constant/seed-0/{name}"
    way(out / file, sound / "predicting-other" / file)
    for more in ([], ["--method", "constant"]):
        code, text = run("predict", "out", "new.csv", *more)
        assert sentences(code, text)
    code, text = run(*PREDICTING)
    assert code == 0, text
    assert run("predict", "out", "new.csv") == (0, predicted)


def a_file_for_all_runs(out):
    shutil.rmtree(out / "runs")
    (out / "runs").write_text("")


def a_file_for_a_method(out):
    shutil.rmtree(out / "runs/slgate")
    (out / "runs/slgate").write_text("")


def a_file_for_a_run(out):
    shutil.rmtree(out / "runs/slgate/seed-0")
    (out / "runs/slgate/seed-0").write_text("")


def a_pipe_for_a_run(out):
    shutil.rmtree(out / "runs/slgate/seed-0")
    os.mkfifo(out / "runs/slgate/seed-0")


def a_link_to_nowhere_for_a_run(out):
    shutil.rmtree(out / "runs/slgate/seed-0")
    (out / "runs/slgate/seed-0").symlink_to("nowhere")


def a_link_to_another_run(out):
    shutil.rmtree(out / "runs/slgate/seed-0")
    (out / "runs/slgate/seed-0").symlink_to("seed-1")


def more_files(out):
    (out / "runs/slgate/seed-0/more").write_text("")
    os.mkfifo(out / "runs/slgate/seed-1/more")


def what_is_of_no_run(out):
    for name in ("runs/slaw/seed-x", "runs/.hidden/seed-0", "notes", "runs/slgate/seed-7"):
        (out / name).mkdir(parents=True)
    (out / "runs/file").write_text("")
    (out / "runs/link").symlink_to(out)
    os.mkfifo(out / "pipe")
    os.mkfifo(out / "runs/pipe")


def unfinished(make):
    def spoil(out):
        shutil.rmtree(out / "runs/slgate/seed-0")
        make(out / "runs/slgate/seed-0.unfinished")

    return spoil


def a_folder_of_another_study(out):
    shutil.rmtree(out / "runs/slgate/seed-0")
    shutil.copytree(out / "runs/constant/seed-0", out / "runs/slgate/seed-0")


def leftovers(out):
    (out / ".equipoise-folder").mkdir()
    os.mkfifo(out / ".equipoise-pipe")
    (out / "runs/slgate/.equipoise-link").symlink_to("nowhere")


PLACES = [
    a_file_for_all_runs,
    a_file_for_a_method,
    a_file_for_a_run,
    a_pipe_for_a_run,
    a_link_to_nowhere_for_a_run,
    a_link_to_another_run,
    more_files,
    what_is_of_no_run,
    a_folder_of_another_study,
    leftovers,
    *map(unfinished, [Path.mkdir, os.mkfifo, Path.touch, lambda path: path.symlink_to("nowhere")]),
    unfinished(lambda path: path.write_bytes(b"0" * 64 + b"not a checkpoint")),
]


@pytest.mark.parametrize("spoil", PLACES)
def test_what_is_in_the_way_makes_way(run, tmp_path, sound, quick, spoil):
    out = tmp_path / "out"
    shutil.copytree(sound / "noisy-sound", out)
    spoil(out)
    sentences(*run("report", "out"))
    code, text = run(*COMMAND)
    assert code == 0, text
    assert csv_bytes(out) == csv_bytes(sound / "noisy-sound")
    assert not list(out.glob("runs/*/*.unfinished"))


@pytest.mark.parametrize("path", ["study.json", "runs/slgate/seed-0/run.json", "runs"])
def test_what_may_not_be_read(run, tmp_path, sound, quick, path):
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind root")
    out = tmp_path / "out"
    shutil.copytree(sound / "noisy-sound", out)
    (out / path).chmod(0)
    sentences(*run("report", "out"))
    sentences(*run(*COMMAND))
    if (out / path).exists():
        (out / path).chmod(0o755)
    assert run(*COMMAND)[0] == 0
    assert csv_bytes(out) == csv_bytes(sound / "noisy-sound")


class Counting:
    """A loop that is a number."""

    def __init__(self, number=0):
        self.number = number

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]


def restored(path, identity):
    loop = Counting()
    Checkpoint(path, identity, 0.0, print).restore(loop)
    return loop.number


def test_only_its_own_checkpoint_is_taken(tmp_path):
    path = tmp_path / "seed-0.unfinished"
    Checkpoint(path, "one", 0.0, print).step(Counting(7))
    assert restored(path, "one") == 7
    assert restored(path, "another") == 0
    content = path.read_bytes()
    for place in range(0, len(content), 61):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        )
        assert restored(path, "one") == 0
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        assert restored(path, "one") == 0


def waited_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_two_commands_at_once_the_second_is_refused(run, tmp_path):
    first = command(tmp_path / "out")
    waited_for(lambda: list(tmp_path.glob("out/runs/*/*.unfinished")))
    words = ["compare", "study.toy:noisy", "--methods", METHODS, "--seeds", 2, "--steps", 400]
    code, text = run(*words, "--out", "out")
    (told,) = sentences(code, text)
    assert "another command is at work in out: wait until it is done" in told
    os.kill(first.pid, 0)
    first.kill()
    first.communicate()
    study = read_study(tmp_path / "out")
    with opened(tmp_path / "out", study) as (_, said):
        assert said == []
    assert read_runs(tmp_path / "out", study)[1] == []


def test_the_first_of_two_commands_is_unharmed(tmp_path, sound, run):
    out = tmp_path / "out"
    with opened(out, replace(read_study(sound / "noisy-sound"))):
        assert sentences(*run(*COMMAND))
    assert run(*COMMAND)[0] == 0
    assert csv_bytes(out) == csv_bytes(sound / "noisy-sound")


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_workers_do_not_outlive_their_study(tmp_path, number):
    code = "from equipoise_command import main; main()"
    words = ["compare", "study.toy:noisy", "--methods", "slaw,slgate", "--seeds", "1"]
    words += ["--steps", "1000000", "--checkpoint", "0", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--out", str(tmp_path / "out")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    workers = []
    try:
        waited_for(lambda: len(list(tmp_path.glob("out/runs/*/*.unfinished"))) == 2, seconds=180)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.send_signal(number)
        waited_for(lambda: not any(alive(each) for each in workers), seconds=60)
        assert process.wait() == -number
        assert "Traceback" not in process.communicate()[0].decode()
    finally:
        # What a failing test leaves behind would slow the others until they fail too.
        for each in workers:
            if alive(each):
                each.kill()
        process.kill()
        process.wait()
        process.stdout.close()
