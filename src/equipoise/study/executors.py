"""Where jobs are run: in this process, in several of this machine, or on a Ray cluster.

All give the same files for the same job.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from functools import lru_cache, partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeAlias

import cloudpickle

from equipoise.errors import UserError
from equipoise.study.group import start
from equipoise.study.jobs import Failure, Job, Watcher, try_job
from equipoise.study.runs import Files
from equipoise.study.splits import Problems

Outcome: TypeAlias = tuple[Job, Files | Failure]
Outcomes: TypeAlias = Generator[Outcome, None, None]
Executor: TypeAlias = Callable[[Problems, Sequence[Job], Watcher], Outcomes]
"""From jobs to what comes of them, in the order in which they are done."""

ATTEMPTS = 3
"""Times that a job is begun whose process dies."""
TOLD_EVERY = 0.1
"""Seconds between two messages on how far a worker is."""


def in_turn(problems: Problems, jobs: Sequence[Job], watcher: Watcher) -> Outcomes:
    """One job after another, in this process."""
    problems = _last_kept(problems)
    for job in jobs:
        watcher.started(job)
        yield job, try_job(job, problems, partial(_tell, watcher, job))


_last_kept = lru_cache(maxsize=1)
"""Jobs go seed by seed: a problem serves several before another is made."""


def _tell(watcher: Watcher, job: Job, news: int | str) -> None:
    if isinstance(news, int):
        watcher.steps(job, news)
    else:
        watcher.said(f"{job.name}: {news}")


def on_workers(number: int) -> Executor:
    """So many jobs at once, each in a process of this machine; of one that dies it is repeated."""

    def run(problems: Problems, jobs: Sequence[Job], watcher: Watcher) -> Outcomes:
        content = _pickled(problems)
        waiting = deque((job, 1) for job in jobs)
        with ExitStack() as stack:
            busy: dict[Any, tuple[_Worker, Job, int]] = {}

            def employ(worker: _Worker) -> None:
                job, attempt = waiting.popleft()
                worker.give(job)
                watcher.started(job)
                busy[worker.connection] = worker, job, attempt

            for _ in range(min(number, len(jobs))):
                employ(stack.enter_context(_Worker(content)))
            while busy:
                for connection in wait(list(busy)):
                    worker, job, attempt = busy[connection]
                    message = worker.hear()
                    if isinstance(message, (int, str)):
                        _tell(watcher, job, message)
                        continue
                    del busy[connection]
                    again = message is None and attempt < ATTEMPTS
                    if again:
                        waiting.appendleft((job, attempt + 1))
                    if waiting:
                        alive = message is not None
                        employ(worker if alive else stack.enter_context(_Worker(content)))
                    if not again:
                        yield job, message or Failure(f"its process died {attempt} times")

    return run


class _Worker:
    """A process that runs jobs, and says how far it is and what came of them."""

    def __init__(self, problems: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other,))
        start(self.process)
        other.close()
        self.problems = problems

    def __enter__(self) -> _Worker:
        with suppress(OSError):  # dead already, as whoever waits for an answer will find
            self.connection.send_bytes(self.problems)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def give(self, job: Job) -> None:
        """Send a job."""
        with suppress(OSError):
            self.connection.send_bytes(_pickled(job))

    def hear(self) -> int | str | Files | Failure | None:
        """How the job goes, or what came of it; ``None`` if the process died."""
        try:
            message: int | str | Files | Failure = self.connection.recv()
        except (EOFError, OSError):
            return None
        return message


def _work(connection: Connection) -> None:
    with suppress(EOFError, OSError):
        problems = _last_kept(cloudpickle.loads(connection.recv_bytes()))
        while True:
            job = cloudpickle.loads(connection.recv_bytes())
            connection.send(try_job(job, problems, _Told(connection)))


class _Told:
    """Says now and then how far a job is, and sentences at once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.last = 0.0

    def __call__(self, news: int | str) -> None:
        if isinstance(news, str) or time.monotonic() - self.last > TOLD_EVERY:
            self.last = time.monotonic()
            self.connection.send(news)


def on_ray(address: str | None) -> Executor:
    """On a Ray cluster, or on Ray's own workers of this machine if ``address`` is ``None``."""

    def run(problems: Problems, jobs: Sequence[Job], watcher: Watcher) -> Outcomes:
        ray = _ray()
        with ExitStack() as stack:
            if not ray.is_initialized():
                quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
                ray.init(address=address, include_dashboard=False, **quiet)
                stack.callback(ray.shutdown)
            shared = ray.put(_pickled(problems))
            remote = ray.remote(_on_ray)
            running = {}
            for job in jobs:
                options = {
                    "num_cpus": job.training.threads * job.training.processes,
                    "num_gpus": int(job.training.device.startswith("cuda")),
                    "max_retries": ATTEMPTS - 1,
                }
                running[remote.options(**options).remote(shared, _pickled(job), sys.path)] = job
                watcher.started(job)
            while running:
                (done,), _ = ray.wait(list(running))
                job = running.pop(done)
                try:
                    yield job, ray.get(done)
                except ray.exceptions.RayError as error:
                    yield job, Failure(f"Ray could not run it: {str(error).splitlines()[-1]}")

    return run


def _on_ray(problems: bytes, job: bytes, path: list[str]) -> Files | Failure:
    # Modules of a user's own are where the first process found them, on a machine that has them.
    sys.path.extend(each for each in path if each not in sys.path)
    return try_job(cloudpickle.loads(job), cloudpickle.loads(problems), lambda _: None)


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("`on` 'ray' needs one more package: pip install 'equipoise[ray]'") from None
    return ray


def _pickled(thing: Any) -> bytes:
    """For our own processes.

    Raises:
        UserError: if it cannot be sent to another process.
    """
    try:
        content: bytes = cloudpickle.dumps(thing)
    except Exception as error:
        raise UserError(
            f"the problem or a method cannot be sent to other processes ({error}): run in one, "
            "with `jobs` 1"
        ) from error
    return content
