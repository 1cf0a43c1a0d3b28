"""A study to which something happens at one of its file operations, each time in a process that is
forked from one that has imported everything: ``python -m study.faulty FOLDER kill|full``.

Prints a line of JSON for each operation.
"""

import errno
import io
import json
import os
import re
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from equipoise import compare
from equipoise.cli import commands, main
from equipoise.study import checkpoints, folder, results

COMMAND = ["equipoise", "compare", "study.toy:noisy", "--methods", "constant,slgate"]
COMMAND += ["--seeds", "1", "--steps", "2", "--checkpoint", "0", "--out"]

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "write")
NEEDS_ROOM = ("open", "write", "os.mkdir", "os.rename")


class Faults:
    """Counts the operations below a folder, and does something from the n-th on."""

    def __init__(self, out, at, happen):
        self.out, self.at, self.happen = str(out), at, happen
        self.events = []
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            path = arguments[0]
            if isinstance(path, int) or str(path).startswith(self.out):
                self.events.append(event)
                if len(self.events) > self.at:
                    self.happen(event)


class Halved:
    """A file that writes in two halves, between which something may happen."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        sys.audit("write", self.file.fileno())
        self.file.write(content[len(content) // 2 :])


def write_bytes(path, content):
    with Halved(path.open("wb")) as file:
        file.write(content)


def kill(event):
    os.kill(os.getpid(), signal.SIGKILL)


def full(event):
    if event in NEEDS_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def command(out, told, at=None, happen=None):
    """Run the study in a process of its own: its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.argv = [*COMMAND, str(out)]
    text, code, faults = io.StringIO(), 0, None
    if happen is not None:
        faults = Faults(out, at, happen)
    with redirect_stdout(text), redirect_stderr(text):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
        except BaseException as error:
            code = 99
            print("Traceback", repr(error))
    told.write_text(json.dumps([text.getvalue(), faults and faults.events]))
    os._exit(code)


def every_operation(base, happen):
    """What came of the study at each of its operations, and of the same one again after that."""
    base.mkdir()
    compare("study.toy:noisy", methods="constant,slgate", seeds=1, steps=2, out=base / "warm")
    told = base / "told"
    alone = base / "alone"
    command(alone, told, 10**9, lambda event: None)
    events = json.loads(told.read_text())[1]
    for at, event in enumerate(events):
        if happen is full and event not in NEEDS_ROOM:
            continue
        out = base / str(at)
        told.write_text('["", null]')
        code = command(out, told, at, happen)
        text = json.loads(told.read_text())[0]
        finished = len(list(out.glob("runs/*/seed-*/manifest.json")))
        again = command(out, told)
        files = [path.name for path in out.rglob("*")]
        yield {
            "event": event,
            "code": code,
            "text": text,
            "finished": finished,
            "again": again,
            "text again": (after := json.loads(told.read_text())[0]),
            "kept": len(re.findall("was there already", after)),
            "same": (out / "results.csv").exists()
            and (out / "results.csv").read_bytes() == (alone / "results.csv").read_bytes(),
            "left": [
                name
                for name in files
                if name == "set-aside"
                or name.endswith(".unfinished")
                or (name.startswith(".equipoise-") and name != ".equipoise-lock")
            ],
        }


if __name__ == "__main__":
    assert commands  # imported before anything is forked
    torch.set_num_threads(1)
    checkpoints.SHARE = 0
    results.write_report = lambda *arguments: folder.write_text(arguments[4], "a page")
    Path.write_bytes = write_bytes
    os_fdopen = os.fdopen
    folder.os.fdopen = lambda handle, mode: Halved(os_fdopen(handle, mode))
    for line in every_operation(Path(sys.argv[1]), {"kill": kill, "full": full}[sys.argv[2]]):
        print(json.dumps(line), flush=True)
