"""Runs of a study, several at a time, each a process with one thread (`wsim.study.worker`).

A worker that crashes, is killed or runs out of memory takes its own run with it and no other. Results appear whole or not at
all (`wsim.atomic`), so that after any interruption the runs that have a file are finished and the others are not.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsim.errors import one_line
from wsim.packages import HOME
from wsim.study.plan import Plan, PlannedRun
from wsim.study.worker import last_line, scratch

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_HEARTBEAT_S = 0.5
_SERVER = (
    "import sys; home = sys.argv[1]; home in sys.path or sys.path.insert(0, home)\n"
    "from wsim.study.worker import serve; serve(sys.argv[2:])"
)


@dataclass(frozen=True)
class Failure:
    """full: there was no room for the result."""

    run: PlannedRun
    message: str
    exit_code: int = 1
    full: bool = False


@dataclass(frozen=True)
class Event:
    """What happened to a run. kind: "started", "running", "finished" or "failed"; "waiting", without a run, twice a second."""

    kind: str
    run: PlannedRun | None = None
    fraction: float = 0.0


def run_all(
    plan: Plan, runs: Sequence[PlannedRun], folder: Path, jobs: int, on_event: Callable[[Event], None]
) -> list[Failure]:
    """Do the runs in order, `jobs` at a time; results appear in the folder. Returns those that failed.

    No further run is begun when there was no room for a result. Whatever is raised meanwhile (Ctrl-C), the workers are ended
    first.
    """
    failures: list[Failure] = []
    waiting = list(enumerate(runs))[::-1]
    while waiting:  # with another server, should one die
        with _Server(plan, folder) as server:
            _serve(server, waiting, jobs, failures, on_event)
    return failures


def _serve(
    server: _Server,
    waiting: list[tuple[int, PlannedRun]],
    jobs: int,
    failures: list[Failure],
    on_event: Callable[[Event], None],
) -> None:
    """Until nothing waits and nobody works, or the server has died."""
    working: dict[int, PlannedRun] = {}
    said: dict[int, dict[str, Any]] = {}

    def ended(number: int, failure: Failure | None) -> None:
        run = working.pop(number)
        if failure is not None:
            failures.append(failure)
            if failure.full:
                waiting.clear()
        on_event(Event("finished" if failure is None else "failed", run, 1.0))

    while waiting or working:
        while waiting and len(working) < jobs:
            number, run = waiting.pop()
            working[number] = run
            server.begin(number, run)
            on_event(Event("started", run))
        message = server.next_message()
        if message is None:
            on_event(Event("waiting"))
        elif "gone" in message:
            for number, run in list(working.items()):
                ended(number, Failure(run, message["gone"]))
            return
        elif "fraction" in message:
            on_event(Event("running", working[message["run"]], message["fraction"]))
        elif "exit" in message:
            number = message["run"]
            ended(number, _failure(working[number], message, said.get(number, {})))
        else:
            said[message["run"]] = message


def _failure(run: PlannedRun, message: dict[str, Any], said: dict[str, Any]) -> Failure | None:
    """What went wrong with a worker that has ended, by what it said and how it ended."""
    if "error" in said:
        return Failure(run, said["error"], said["exit_code"], said["full"])
    if said.get("done") and message["exit"] == 0:
        return None
    return Failure(run, _ended_by_itself(message["exit"], message["words"]))


def _ended_by_itself(code: int, words: str) -> str:
    if code == -signal.SIGKILL:
        return "killed (SIGKILL): the machine may have run out of memory; fewer --jobs may fit"
    why = f"signal {-code}" if code < 0 else f"exit code {code}"
    return one_line(f"the process of the run ended by itself ({why}){f': {words}' if words else ''}")


class _Server:
    """The process that forks the workers; ended, with all of them, on leaving the context."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        path = plan.base.path
        assert path is not None
        self._shared = {
            "text": plan.base.text,
            "name": path.name,
            "path": str(path.absolute()),
            "files": plan.base.files,
        }
        self._folder = folder.absolute()
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._errors = scratch()
        data_sets = sorted({cell.loaded.scenario.data.name for cell in plan.cells})
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(HOME), *data_sets],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
            start_new_session=True,  # Ctrl-C on a terminal reaches the sweep alone, which ends its workers
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def begin(self, number: int, run: PlannedRun) -> None:
        """Have a run done; messages about it carry the number."""
        own = {"out": str(self._folder / run.file), "overrides": run.overrides, "run_number": run.number}
        task = {"run": number, **own, **self._shared}
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, which is the next message
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    def next_message(self) -> dict[str, Any] | None:
        """The next message, {"gone": why} where the server has died, None for none in half a second."""
        with contextlib.suppress(queue.Empty):
            return self._messages.get(timeout=_HEARTBEAT_S)
        code = self._process.poll()
        if code is None or not self._messages.empty():
            return None
        return {"gone": _ended_by_itself(code, last_line(self._errors))}

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # something that a library printed
                message = json.loads(line)
                if isinstance(message, dict):
                    self._messages.put(message)

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # the workers are in its group, and outlive it
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        self._errors.close()
