"""Methods side by side on a problem: which serves it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from equipoise.errors import UserError
from equipoise.study.asked import Asked, ask
from equipoise.study.audit import DIRTY, wrong_held_out
from equipoise.study.confirming import check_confirm, confirm_leaders
from equipoise.study.equal_time import Cost, Decides, check_equal_time, run_at_equal_time
from equipoise.study.grids import Tune
from equipoise.study.jobs import Candidate, jobs_of, single_tasks
from equipoise.study.methods import Method, MethodLike, check_methods
from equipoise.study.results import Results, open_study
from equipoise.study.running import run
from equipoise.study.settings import Settings, with_defaults
from equipoise.study.sources import ProblemLike
from equipoise.study.tuning import tuned
from equipoise.weighting import Needs

if TYPE_CHECKING:
    from typing_extensions import Unpack


@with_defaults
def compare(
    problem: ProblemLike | pd.DataFrame,
    *,
    methods: str | Sequence[MethodLike] | None = None,
    single_task: bool = False,
    confirm: int | None = None,
    confirm_top: int = 1,
    tune: Tune | None = None,
    tune_seeds: int = 2,
    splits: bool = False,
    equal_time: Cost | None = None,
    decide: Decides = "steps",
    **settings: Unpack[Settings],
) -> Results:
    """Train methods side by side on a problem, and say which serves it best.

    What is finished is kept in a folder, and so is, every minute, how far the others are: stopped,
    killed or interrupted, the same call goes on from there, and ends as if it had never stopped.
    A run that fails does not stop the others; see :attr:`Results.failures`.

    Args:
        problem: the name of a built-in problem, ``module:attribute``, a
            :class:`~equipoise.problems.Problem`, a function that makes one, or a data frame, whose
            columns ``options={"targets": [...]}`` are learned from the others.
        options: what the problem is made with.
        methods: texts as in ``"slaw(beta=0.9)"``, classes, or functions of the problem that return
            one of these or a weighting; by default equal weights, and those that cost nothing.
        seeds: runs of each method.
        steps: optimizer steps of a run; by default the problem's, as are the next two.
        batch_size: samples in a batch, of all processes together.
        lr: learning rate.
        single_task: also learn each task alone, and measure the methods against that (Δm).
        confirm: fresh seeds with which the method that leads is then trained, and so are equal
            weights: see :attr:`Results.confirmation`.
        confirm_top: how many methods lead.
        tune: what is chosen for each method on the validation part before: values by name, as
            ``{"lr": [1e-4, 1e-3], "beta": [0.9, 0.99]}``, of the learning rate, the batch size, and
            options of the methods that have them; or the number of learning rates that Optuna
            tries, log-uniform within a factor of ten of the recipe's. Networks of single tasks are
            not tuned.
        tune_seeds: runs of each candidate, with seeds of their own.
        splits: draw training, held-out and test part anew with each seed, of a problem with a
            parameter ``split_seed`` or ``data_seed``.
        equal_time: also train each method for the time that equal weights take, see
            :attr:`Results.at_equal_time`: as told by the ``"operations"`` of a step, which are the
            same everywhere, or by the ``"seconds"`` that steps took here.
        decide: whether the table at equal ``"steps"`` or at equal ``"time"`` has the verdict and is
            confirmed: a part of what the study is, so fixed before it has runs.
        device: where to train.
        threads: of each process that trains. Sums in another order have other last digits, so this
            is a part of what a study is; more pay for large networks only.
        processes: that train a run together, by DistributedDataParallel.
        jobs: runs at once on this machine, each in a process of its own. A script that asks for
            more than one calls this below ``if __name__ == "__main__":``.
        on: ``"processes"`` of this machine, or ``"ray"``, the extra of that name.
        address: of a Ray cluster; without it Ray starts workers of its own on this machine.
        checkpoint: seconds from one time that a run on its way is kept to the next.
        out: the folder of the results; by default ``results/PROBLEM``.
        progress: whether to show how it goes, or the console on which to.

    Raises:
        UserError: in a sentence, for what cannot be; before anything is trained where that can be
            known before.
    """
    if splits and tune is not None:
        raise UserError(
            "`tune` with `splits` would choose on samples that other seeds are tested on: leave "
            "one of them out"
        )
    asked = ask(problem, settings, splits=splits)
    candidates = [
        Candidate(method, asked.training) for method in check_methods(methods, asked.problem)
    ]
    check_confirm(confirm, confirm_top, candidates)
    asked = check_equal_time(asked, candidates, equal_time, decide)
    asked = _doubting(asked, [each.method for each in candidates])
    if tune is not None:
        asked, candidates = tuned(asked, candidates, tune, tune_seeds)
    seeds = range(asked.seeds)
    jobs = jobs_of(candidates, seeds)
    if single_task:
        jobs += single_tasks(asked.problem, asked.training, seeds)
    runs, failures = run(asked, sorted(jobs, key=lambda job: job.seed))
    if equal_time is not None and not failures:
        timed, timed_runs, failures = run_at_equal_time(asked, candidates, list(runs.values()))
        if decide == "time":
            candidates, runs = timed, timed_runs
    if confirm is not None and not failures:
        failures = confirm_leaders(asked, candidates, list(runs.values()), confirm, confirm_top)
    results = open_study(asked.out, failures)
    results.write()
    return results


def _doubting(asked: Asked, methods: Sequence[Method]) -> Asked:
    """With the methods that are judged by held-out labels of which too many look wrong."""
    judged = [method.label for method in methods if Needs.HELD_OUT in method.needs]
    if not judged or asked.problem.labelled is None:
        return asked
    share = wrong_held_out(asked.problem.labelled())
    if share is None or share <= DIRTY:
        return asked
    return replace(asked, study=replace(asked.study, doubted=dict.fromkeys(judged, share)))
