"""Ctrl-C at any moment. The first 50 ms or so, before Python has run our first line, cannot be
answered by us: the moments count from when our module is imported."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
CODE = "from equipoise_command import main; print('begun', flush=True); main()"
WORDS = ["compare", "study.toy:noisy", "--methods", "constant,slgate", "--seeds", "1"]
DRAW = random.Random(0)
MOMENTS = [0.05, *(min(DRAW.expovariate(1 / 2.5), 8.0) for _ in range(11))]
"""Seconds; most are while it starts, when there is most to disturb."""
PATIENCE = 60.0
"""Seconds after which a command counts as hanging; how long one takes says the load."""


def begun(out, *more):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *WORDS, *more, "--checkpoint", "0", "--out", str(out)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "begun\n"
    return process


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("first", "more"), [(0, []), (1, ["--jobs", "2"]), (2, ["--processes", "2"])]
)
def test_ctrl_c_is_answered_at_any_moment(tmp_path, first, more):
    for moment in MOMENTS[first::3]:
        process = begun(tmp_path / "out", "--steps", "1000000", *more)
        time.sleep(moment)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, (moment, said)
        assert said.strip().splitlines()[-1].startswith("stopped"), (moment, said)
        assert "Traceback" not in said, (moment, said)
        time.sleep(0.2)
        assert not any(alive(each) for each in children), moment


def test_what_was_stopped_goes_on(tmp_path):
    process = begun(tmp_path, "--steps", "150")
    while not list(tmp_path.glob("runs/*/*.unfinished")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    process.communicate()
    again = begun(tmp_path, "--steps", "150")
    _, said = again.communicate(timeout=240)
    assert again.returncode == 0, said
    assert (tmp_path / "results.csv").exists()
    assert not list(tmp_path.rglob("*.unfinished"))
