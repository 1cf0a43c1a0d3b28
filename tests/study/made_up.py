"""Runs that were never trained, in memory."""

import numpy as np

from equipoise.study.runs import Facts, History, read_run, run_files


def history(**changes):
    """Nothing recorded, but for what is given."""
    names = ("losses", "weights", "evaluated_at", "validation", "test", "seconds_per_step")
    empty = np.empty(0, np.float32)
    return History(**{**dict.fromkeys((*names, "detection"), empty), **changes})


def made_up_run(method, seed, metrics, *, recorded=None, samples=None, **facts):
    """A run with these metrics."""
    usual = {
        "source": None,
        "task": None,
        "selected_step": 1,
        "diverged_at": None,
        "seconds_per_step": 0.5,
        "detection": None,
    }
    every = Facts(method=method, seed=seed, metrics=metrics, **{**usual, **facts})
    return read_run(run_files(every, recorded or history(), samples, None))
