"""Runs are the same wherever they are made, and whatever kills them on the way."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from study import toy

from equipoise import Constant
from equipoise.study.asked import ask
from equipoise.study.folder import read_runs, read_study
from equipoise.study.jobs import Candidate, Failure, jobs_of
from equipoise.study.methods import check_methods
from equipoise.study.running import run
from equipoise.study.settings import DEFAULTS

ROOT = Path(__file__).parents[2]
METHODS = "constant,slaw,slgate"


def studied(out, problem, methods=METHODS, seeds=1, steps=30, processes=1, **where):
    given = {"seeds": seeds, "steps": steps, "processes": processes, "out": out, "progress": False}
    asked = ask(problem, {**DEFAULTS, **given, **where})
    candidates = [
        Candidate(method, asked.training) for method in check_methods(methods, asked.problem)
    ]
    return run(asked, jobs_of(candidates, range(asked.seeds)))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert repr(one[name].facts.metrics) == repr(other[name].facts.metrics)
        ours, theirs = vars(one[name].history), vars(other[name].history)
        for part in ours.keys() - {"seconds_per_step"}:
            assert np.array_equal(ours[part], theirs[part], equal_nan=True), part
        assert one[name].weighs_samples == other[name].weighs_samples
        if one[name].weighs_samples:
            samples = zip(
                *(vars(each[name].samples()).values() for each in (one, other)), strict=True
            )
            assert all(np.array_equal(*pair, equal_nan=True) for pair in samples)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    runs, failures = studied(tmp_path_factory.mktemp("alone"), toy.noisy())
    assert failures == {}
    return runs


def test_several_processes_make_the_same_runs(tmp_path, alone):
    runs, failures = studied(tmp_path, toy.noisy(), jobs=2)
    assert failures == {}
    assert_same(runs, alone)


def children():
    return [
        each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())
    ]


def test_of_a_process_that_dies_the_run_is_repeated(tmp_path, alone):
    def kill():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not children():
            time.sleep(0.05)
        children()[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    runs, failures = studied(tmp_path, toy.noisy(), jobs=2)
    killer.join()
    assert failures == {}
    assert_same(runs, alone)


def test_a_run_whose_process_always_dies_is_given_up(tmp_path):
    problem = toy.toy(losses=partial(dies_beyond, os.getpid()))
    runs, failures = studied(tmp_path, problem, "constant", jobs=2)
    assert runs == {}
    assert [failure.reason for failure in failures.values()] == ["its process died 3 times"]


def dies_beyond(first, outputs, batch):
    if os.getpid() != first:
        os.kill(os.getpid(), signal.SIGKILL)
    return toy.losses(outputs, batch)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_for_its_own_reason_does_not_stop_the_others(tmp_path, jobs):
    def fails(problem):
        class Failing(Constant):
            calls = 0

            def update(self, losses, counts):
                if self.calls == 12:
                    raise ZeroDivisionError("twelve")
                self.calls += 1
                return super().update(losses, counts)

        return Failing(problem.tasks)

    runs, failures = studied(tmp_path, toy.toy(), ["constant", fails, "slaw"], jobs=jobs)
    assert {name.split(",")[0] for name in runs} == {"constant", "slaw"}
    (failure,) = failures.values()
    assert failure.reason == "ZeroDivisionError: twelve"
    assert "in update" in failure.trace
    assert isinstance(failure, Failure)


def test_what_cannot_be_sent_to_another_process_is_said(tmp_path):
    lock = threading.Lock()
    problem = toy.toy(losses=lambda outputs, batch: (lock, toy.losses(outputs, batch))[1])
    with pytest.raises(ValueError, match="cannot be sent to other processes"):
        studied(tmp_path, problem, "constant", jobs=2)
    assert studied(tmp_path, problem, "constant")[1] == {}


class Plain(toy.Network):
    """Without dropout, whose masks differ from process to process."""

    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())


def test_processes_that_train_a_run_together_are_as_one_with_the_whole_batch(tmp_path):
    problem = replace(toy.noisy(), network=Plain)
    methods = "uncertainty,slaw+slgrad"
    one, _ = studied(tmp_path / "one", problem, methods)
    two, failures = studied(tmp_path / "two", problem, methods, processes=2)
    assert failures == {}
    for name in one:
        for metric in ("losses", "weights", "test"):
            ours, theirs = (getattr(each[name].history, metric) for each in (one, two))
            np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
        if one[name].weighs_samples:
            for part in ("mean_weights", "alignments"):
                ours, theirs = (each[name].samples_part(part) for each in (one, two))
                np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="torchjd/PCGrad would see only a process's share"):
        studied(tmp_path / "peer", problem, "torchjd/PCGrad", processes=2)


def command(out, *more):
    code = "from equipoise_command import main; main()"
    options = [*f"--methods {METHODS} --seeds 2 --steps 400 --checkpoint 0".split(), *more]
    return subprocess.Popen(
        [sys.executable, "-c", code, "compare", "study.toy:noisy", *options, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that was left alone."""
    out = tmp_path_factory.mktemp("whole") / "out"
    process = command(out)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return out


@pytest.mark.parametrize("more", [(), ("--jobs", "2")], ids=["alone", "jobs"])
def test_a_study_that_is_killed_again_and_again_ends_as_if_left_alone(tmp_path, whole, more):
    draw = random.Random(0)
    for _ in range(2):
        process = command(tmp_path, *more)
        time.sleep(draw.uniform(4, 9))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = command(tmp_path, *more)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert (tmp_path / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    one, other = (
        {run.name: run for run in read_runs(out, read_study(out))[0]} for out in (tmp_path, whole)
    )
    assert_same(one, other)
    assert not list(tmp_path.rglob("*.unfinished"))
    assert not list(tmp_path.glob("set-aside"))


def test_ray_makes_the_same_runs_though_a_worker_is_killed(tmp_path):
    ray = pytest.importorskip("ray", reason="Ray has no wheel for this Python")
    alone, _ = studied(tmp_path / "alone", toy.noisy(), steps=300)
    killed = []

    def kill():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            time.sleep(0.2)
            for each in psutil.Process().children(recursive=True):
                if each.name().startswith("ray::_on_ray") and each.cpu_times().user > 1:
                    each.kill()
                    killed.append(each.pid)
                    break

    killer = threading.Thread(target=kill)
    killer.start()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        runs, failures = studied(tmp_path / "ray", toy.noisy(), steps=300, on="ray")
    finally:
        ray.shutdown()
    killer.join()
    assert killed
    assert failures == {}
    assert_same(runs, alone)


def test_runs_at_once_of_several_processes_each(tmp_path):
    problem = replace(toy.noisy(), network=Plain)
    runs, failures = studied(tmp_path, problem, "slaw", jobs=2, processes=2)
    assert failures == {}
    assert len(runs) == 1
