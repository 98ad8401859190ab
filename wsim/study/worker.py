"""The processes that do the runs of a study.

The sweep starts one server, which imports all that is heavy and then forks a worker for each run, so that every run has a
process with one thread of its own and none has to import torch again. Objects, one a line:

    to the server    {"run": 3, "out": FILE, "text", "overrides", "run_number", "name", "path", "files": what makes the
                      scenario}
    from a worker    {"run": 3, "fraction": 0.4}    {"run": 3, "done": true}
                     {"run": 3, "error": one line, "exit_code": 1 or 2, "full": whether there was no room for the result}
    from the server  {"run": 3, "exit": code, negative for a signal, "words": the last line on the worker's standard error}

The server's standard input stays open as long as the sweep lives. When it closes, the server ends with all its workers,
whatever they do: a killed sweep leaves nobody behind.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from wsim.errors import FULL, WsimError, one_line

_LONGEST = 1500  # characters of what is said
_MOST_BYTES = 4000  # of a message: a line below PIPE_BUF is written whole, whoever else writes
_LONGEST_ESCAPE = 12  # bytes that JSON makes of one character


def serve(data_sets: Collection[str]) -> None:
    """Fork a worker for each task on standard input, until it closes. data_sets: names of those that the runs will load."""
    import wsim.engine
    import wsim.results  # noqa: F401

    if "digits" in data_sets:  # read once, for all that are forked
        from learners.data.digits import digits

        digits(np.random.default_rng(0))
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    workers: dict[int, tuple[int, IO[bytes]]] = {}  # process -> run, its standard error
    tasks = b""
    while True:
        ready = select.select([0, wake], [], [])[0]
        if wake in ready:
            os.read(wake, 4096)
            _reap(workers)
        if 0 in ready:
            some = os.read(0, 1 << 16)
            if not some:
                os.killpg(0, signal.SIGKILL)
            *lines, tasks = (tasks + some).split(b"\n")
            for line in lines:
                _fork(json.loads(line), workers)


def scratch() -> IO[bytes]:
    """A nameless file, in memory where the system can: it takes what a process says on standard error, on a full disk too."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("wsim"), "w+b")
    return tempfile.TemporaryFile()


def last_line(errors: IO[bytes]) -> str:
    """The last line of a scratch file."""
    errors.seek(0)
    lines = errors.read()[-_LONGEST:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _fork(task: dict[str, Any], workers: dict[int, tuple[int, IO[bytes]]]) -> None:
    errors = scratch()
    try:
        process = os.fork()
    except OSError as error:
        _tell(run=task["run"], exit=1, words=f"no process could be started for it: {error.strerror}")
        return
    if process:
        workers[process] = task["run"], errors
        return
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(errors.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        _tell(run=task["run"], **_outcome(task))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(workers: dict[int, tuple[int, IO[bytes]]]) -> None:
    """Report the workers that have ended."""
    while workers:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        run, errors = workers.pop(process)
        with errors:
            _tell(run=run, exit=os.waitstatus_to_exitcode(status), words=last_line(errors))


def _tell(**message: Any) -> None:
    os.write(1, encoded(message))


def encoded(message: dict[str, Any]) -> bytes:
    """A message as a line of at most 4,000 bytes: the end of what it says is left out where it would be longer."""
    line = json.dumps(message).encode() + b"\n"
    while len(line) > _MOST_BYTES:
        said = "error" if "error" in message else "words"
        few = -(-(len(line) - _MOST_BYTES) // _LONGEST_ESCAPE)  # characters, of which at least as many are too many
        message = {**message, said: message[said][:-few]}
        line = json.dumps(message).encode() + b"\n"
    return line


def _outcome(task: dict[str, Any]) -> dict[str, Any]:
    try:
        _run(task)
    except WsimError as error:
        cause = error.__cause__
        full = isinstance(cause, OSError) and cause.errno in FULL
        return {"error": str(error)[:_LONGEST], "exit_code": error.exit_code, "full": full}
    except MemoryError as error:
        says = str(error) or "a smaller model, fewer devices or fewer --jobs may fit"
        return {"error": one_line(f"not enough memory: {says}")[:_LONGEST], "exit_code": 1, "full": False}
    except Exception as error:
        if os.environ.get("WSIM_TRACEBACK"):
            raise
        says = f"unexpected {type(error).__name__}: {error}"[:_LONGEST]
        return {
            "error": one_line(f"{says} (a fault of wsim; WSIM_TRACEBACK=1 shows where)"),
            "exit_code": 1,
            "full": False,
        }
    return {"done": True}


def _run(task: dict[str, Any]) -> None:
    from wsim.engine import simulate
    from wsim.results import write
    from wsim.scenario import load_text

    path = Path(task["path"])
    loaded = load_text(task["text"], task["overrides"], name=task["name"], path=path, referenced=task["files"])
    loaded = replace(loaded, run_number=task["run_number"])
    record = simulate(loaded, progress=lambda progress: _tell(run=task["run"], fraction=progress.fraction))
    write(record, task["out"], force=True)
