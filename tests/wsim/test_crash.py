"""A result is whole or absent, whatever happens while it is written; and what was computed is kept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.wsim.records import make_record
from tests.wsim.test_cli import CELL
from wsim import cli, results
from wsim.errors import WriteError

STEPS = ("open", "write", "flush", "fsync", "close", "replace")
"""What happens to the temporary file, in this order; "write" fails half-way."""


class FaultyFile:
    """A file opened for writing of which one step fails."""

    def __init__(self, file: Any, step: str, fail: Callable[[], None]) -> None:
        self._file, self._step, self._fail = file, step, fail

    def write(self, data: bytes) -> int:
        if self._step == "write":
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            self._fail()
        return self._file.write(data)

    def flush(self) -> None:
        if self._step == "flush":
            self._fail()
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._step == "close" and error[0] is None:
            self._fail()


def break_step(step: str, fail: Callable[[], None], setattr: Callable[[Any, str, Any], None], path: str = "") -> None:
    """Let this step fail in files of a folder."""
    path_open, fsync, replace = Path.open, os.fsync, os.replace
    current = [""]

    def faulty_open(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "x" not in mode or not str(self).startswith(path):
            current[0] = ""
            return path_open(self, mode, *args, **kwargs)
        current[0] = step
        if step == "open":
            fail()
        return FaultyFile(path_open(self, mode, *args, **kwargs), step, fail)

    def faulty_fsync(descriptor: int) -> None:
        if current[0] == "fsync":
            fail()
        fsync(descriptor)

    def faulty_replace(*args: Any) -> None:
        if current[0] == "replace":
            fail()
        replace(*args)

    setattr(Path, "open", faulty_open)
    setattr(os, "fsync", faulty_fsync)
    setattr(os, "replace", faulty_replace)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error", [RuntimeError("gone"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_a_failing_step_leaves_nothing(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    break_step(step, fail, monkeypatch.setattr)
    expected: Any = WriteError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match="no space left" if isinstance(error, OSError) else None):
        results.write(make_record(num_evals=2), tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.wsim.records import make_record
from tests.wsim.test_crash import break_step
from wsim import results
record = make_record(num_evals=2)
for step in {STEPS!r}:
    if not os.fork():
        break_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL), setattr)
        results.write(record, os.path.join(sys.argv[1], step, "run.h5"))
    assert os.wait()[1] == signal.SIGKILL, step
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_leaves_nothing_that_looks_like_a_result(tmp_path: Path) -> None:
    for step in STEPS:
        (tmp_path / step).mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True)
    for step in STEPS:
        left = list((tmp_path / step).iterdir())
        assert len(left) == (step != "open")
        for path in left:
            assert path.name.startswith(".")
            assert path.suffix == ".tmp"
        results.write(make_record(num_evals=2), tmp_path / step / "run.h5")  # and nobody is in the way


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.chdir(tmp_path)
    for folder in ("full", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cell.toml").write_text(CELL)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    return tmp_path


def test_a_run_whose_disk_is_full_is_kept_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    break_step("fsync", fail, monkeypatch.setattr, "full")
    assert cli.execute(["run", "cell.toml", "--out", "full/run.h5", "--quiet"]) == 2
    (kept,) = (home / "elsewhere").glob("*.h5")
    assert capsys.readouterr().err == (
        "error: full/run.h5: cannot be written (no space left on device); nothing is left behind; "
        f"what was computed is kept in {kept}\n"
    )
    assert results.read(kept).name == "cell"
    assert not list((home / "full").iterdir())


def test_a_rivals_file_is_not_overwritten_and_the_run_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "full" / "run.h5").unlink(missing_ok=True)
    fsync = os.fsync

    def rival(descriptor: int) -> None:
        fsync(descriptor)
        (home / "full" / "run.h5").write_text("a rival's result")

    monkeypatch.setattr(os, "fsync", rival)
    assert cli.execute(["run", "cell.toml", "--out", "full/run.h5", "--quiet"]) == 2
    line = capsys.readouterr().err
    assert "exists already" in line
    assert line.count("\n") == 1
    assert len(list((home / "elsewhere").glob("*.h5"))) == 1
    assert (home / "full" / "run.h5").read_text() == "a rival's result"


def test_a_disk_that_is_full_everywhere_is_one_line(home: Path) -> None:
    """A real failure of write(2) half-way, by a limit on the size of files."""
    script = (
        "import resource, sys; from wsim import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "sys.exit(cli.execute(['run', 'cell.toml', '--out', 'full/run.h5', '--quiet']))\n"
    )
    environment = os.environ | {"TMPDIR": str(home / "elsewhere"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: full/run.h5: cannot be written (file too large); nothing is left behind\n"
    assert not [*(home / "full").iterdir(), *(home / "elsewhere").glob("*.h5")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    command = [sys.executable, "-m", "wsim", "list", "codecs", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: cannot be written: no space left on device; make room and try again\n"
