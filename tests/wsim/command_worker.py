"""Command lines, one after another, in a process of their own: it may crash or hang without taking the test along.

A scenario that is accepted is run for a moment only (`MOMENT_S` of simulated time, two rounds): what is looked for is how it
ends, and damage may have made a short run a long one, which is no fault. A run that gets nowhere is: it is never ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.learners import data_files

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60
MAX_MEMORY_BYTES = 8 << 30
MOMENT_S, MOMENT_ROUNDS = 0.5, 2
LONG_S = 2.0
"""Wall time after which a run that goes on, and a world of more than `MANY_DEVICES`, has shown what it can show."""
MANY_DEVICES = 200


class Ending(NamedTuple):
    """code: of exit. error: what stood on stderr."""

    code: int
    error: str


class CommandWorker:
    """Runs command lines; the process is started again when it has gone."""

    def __init__(self, data: Path) -> None:
        """data: the folder of WSIM_DATA, where a set of MNIST's names and a hundredth of its size is put."""
        self._data = data
        self._process: subprocess.Popen[str] | None = None
        with pytest.MonkeyPatch.context() as patch:
            _size(patch)
            data_files.write(data, data_files.Case("mnist", data_files.mnist_files()))

    def run(self, *arguments: str | Path) -> Ending:
        """AssertionError for a crash or a hang."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.wsim.command_worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1, cwd=ROOT,
                env={**os.environ, "WSIM_DATA": str(self._data)},
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        answered, _, _ = select.select([process.stdout], [], [], TIMEOUT_S)
        line = process.stdout.readline() if answered else ""
        if not line:
            self.close()
            raise AssertionError(f"wsim {'crashed' if answered else 'hangs'}: {' '.join(map(str, arguments))}")
        return Ending(*json.loads(line))

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def check_one_line(ending: Ending) -> None:
    """0 and nothing said (of a quiet command), or 2 and one line."""
    assert ending.code in (0, 2), ending
    assert "Traceback" not in ending.error
    assert len(ending.error.splitlines()) == (ending.code == 2), ending
    assert ending.code == 0 or ending.error.startswith("error: "), ending


def _size(patch: pytest.MonkeyPatch) -> None:
    """Enough samples for the devices of the scenarios."""
    patch.setattr(data_files, "NUM_TRAIN", 600)
    patch.setattr(data_files, "NUM_TEST", 100)


def _work() -> None:
    from wsim import engine
    from wsim.cli import execute

    patch = pytest.MonkeyPatch()
    _size(patch)
    data_files.shrink(patch)

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    simulate = engine.simulate

    def briefly(loaded: Any, executor: str, window: int | None, progress: Any) -> Any:
        scenario, stop = loaded.scenario, loaded.scenario.stop
        if scenario.num_devices > MANY_DEVICES:
            raise SystemExit(0)
        limits = {"simulated_s": min(stop.simulated_s or MOMENT_S, MOMENT_S)}
        if stop.rounds or scenario.algorithm.own.get("round_clock") != "newest":  # which has no number of rounds
            limits["rounds"] = min(stop.rounds or MOMENT_ROUNDS, MOMENT_ROUNDS)
        scenario = scenario.model_copy(update={"stop": stop.model_copy(update=limits)})
        begun, last_s = time.perf_counter(), 0.0

        def look(progress: Any) -> None:
            nonlocal last_s
            if progress.simulated_s > last_s and time.perf_counter() - begun > LONG_S:
                raise SystemExit(0)
            last_s = progress.simulated_s

        return simulate(replace(loaded, scenario=scenario), executor=executor, window=window, progress=look)

    engine.simulate = briefly
    for line in sys.stdin:
        error = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
            code = execute(json.loads(line))
        print(json.dumps([code, error.getvalue()]), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    _work()
