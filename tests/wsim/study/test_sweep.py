"""Sweeps as their users meet them: whatever interrupts one, the next goes on, and the tables are the same."""

from __future__ import annotations

import csv
import errno
import fcntl
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from learners.decentralized.gossip import Gossip
from tests.wsim.study.studies import ARMS, GOSSIP, STUDY, WORLD, results, start, study, write_study, wsim
from wsim import cli, load, simulate, write
from wsim.atomic import write_atomically
from wsim.results import content_digest
from wsim.results import read as read_result
from wsim.study.finished import read
from wsim.study.plan import PlannedRun, plan

ALL = {f"{arm}-s{seed}.h5" for arm in ("FedAvg", "half_rate", "gossip") for seed in (1, 2, 3)}
ENDLESS = f'{{ name = "endless", {GOSSIP}, stop.simulated_s = 1e6 }}'
DEAF = f'{{ name = "deaf", {GOSSIP}, devices.phones.radio.tx_power_dbm = -60.0 }}'  # seen when the world is built


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of an undisturbed sweep, one run at a time."""
    home = tmp_path_factory.mktemp("reference")
    write_study(home)
    code, out, errors = wsim(home, "sweep", "tiny.toml", "--jobs", "1")
    assert code == 0, errors
    assert "difference from FedAvg" in out
    assert "[9/9] gossip, seed 3" in errors
    return home / "outputs/tiny"


Sweep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweep:
    """`wsim sweep tiny.toml` in this process, in tmp_path: exit code, standard output, standard error."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # restores what the command line sets
    monkeypatch.chdir(tmp_path)

    def execute(*arguments: str) -> tuple[int, str, str]:
        code = cli.execute(["sweep", "tiny.toml", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return execute


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def offspring(process: int) -> list[int]:
    """All processes below this one."""
    children = []
    for task in Path(f"/proc/{process}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children + [below for child in children for below in offspring(child)]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.h5")}


def test_a_sweep_writes_every_run_two_tables_and_a_picture(reference: Path) -> None:
    assert results(reference) == ALL
    rows = list(csv.DictReader((reference / "table.csv").open()))
    assert [(row["arm"], row["seed"]) for row in rows][:4] == [("FedAvg", str(s)) for s in (1, 2, 3)] + [
        ("half rate", "1")
    ]
    for row in rows:
        run = read(reference / row["result"])
        assert (run.arm, run.seed) == (row["arm"], int(row["seed"]))
        assert read_result(reference / row["result"]).channel_provenance["run_number"] == run.seed  # the seeds are 1..3
        assert float(row["accuracy_end"]) == run.accuracy[-1]
        assert float(row["energy_j"]) == run.totals["energy_j"]
        assert row["time_to_0.999_s"] == ""  # never reached, never made up
    table = (reference / "table.md").read_text()
    assert "not reached (0 of 3)" in table
    assert "unpaired s.e." in table
    assert (reference / "study.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_of_a_sweep_is_bit_for_bit_the_run_of_its_arm(reference: Path, tmp_path: Path, sweep: Sweep) -> None:
    write_study(tmp_path)
    out = ["--out", "one.h5", "--quiet"]
    assert cli.execute(["run", "tiny.toml", "--arm", "gossip", "--seed", "2", *out]) == 0
    assert content_digest("one.h5") == content_digest(reference / "gossip-s2.h5")


def test_a_finished_sweep_repeats_nothing_and_gives_the_same_bytes(
    reference: Path, monkeypatch: pytest.MonkeyPatch, sweep: Sweep
) -> None:
    before = stamps(reference)
    files = {name: (reference / name).read_bytes() for name in ("table.csv", "table.md", "study.png")}
    monkeypatch.chdir(reference.parent.parent)
    code, _, errors = sweep()
    assert (code, stamps(reference)) == (0, before)
    assert "9 runs, 9 finished already" in errors
    assert {name: (reference / name).read_bytes() for name in files} == files


def test_a_killed_sweep_goes_on_where_it_was_and_ends_alike(
    reference: Path, tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with two jobs and finished with two, against the reference of one job. One worker would never end by itself."""
    write_study(tmp_path, WORLD + study(ENDLESS, *ARMS))
    folder = tmp_path / "outputs/tiny"
    process = start(tmp_path, "sweep", "tiny.toml", "--jobs", "2")
    wait_for(lambda: len(results(folder)) >= 3)
    below = offspring(process.pid)
    assert below
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, below)))
    write_study(tmp_path)
    before = stamps(folder)
    assert 3 <= len(before) < len(ALL), "killed too late for this test"
    assert not (folder / "table.csv").exists()
    half = leave_half(folder / "gossip-s2.h5", monkeypatch)  # as a kill in mid-write leaves it
    others = leave_half(folder / "of_wsim_run.h5", monkeypatch)  # another command may be writing it at this moment
    code, _, errors = sweep("--jobs", "2")
    assert code == 0, errors
    assert f"9 runs, {len(before)} finished already" in errors
    after = stamps(folder)
    assert {name: after[name] for name in before} == before
    assert results(folder) == ALL
    for name in ("table.csv", "table.md", "study.png"):
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
    assert not half.exists()
    written = {"table.csv", "table.md", "study.png", ".sweep.lock", others.name}
    assert {path.name for path in folder.iterdir()} == ALL | written


def leave_half(target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary file of a write that was killed before it was renamed."""
    before = set(target.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("wsim.atomic.os.replace", lambda source, to: None)
        write_atomically(target, b"half a result")
    (left,) = set(target.parent.iterdir()) - before
    return left


@pytest.mark.slow  # as a sweep that is killed with all its workers
def test_a_killed_worker_takes_its_own_run_with_it_and_no_other(reference: Path, tmp_path: Path) -> None:
    write_study(tmp_path, WORLD + study(ENDLESS, *ARMS, seeds="[2]"))
    folder = tmp_path / "outputs/tiny"
    process = start(tmp_path, "sweep", "tiny.toml", "--jobs", "2")
    expected = {name for name in ALL if "-s2" in name}
    wait_for(lambda: results(folder) == expected and len(offspring(process.pid)) == 2)
    _, worker = offspring(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-2].startswith("failed: endless, seed 2: killed (SIGKILL)")
    assert errors.splitlines()[-1] == "error: 1 run failed; 3 of 4 runs are finished and kept in outputs/tiny"
    kept = csv.DictReader((folder / "table.csv").open())
    assert {row["result"] for row in kept} == expected


@pytest.mark.slow
def test_a_killed_server_is_replaced(tmp_path: Path) -> None:
    """The run that was under way has failed, those that waited are done."""
    write_study(tmp_path, WORLD + study(ENDLESS, *ARMS, seeds="[2]"))
    process = start(tmp_path, "sweep", "tiny.toml", "--jobs", "1")
    wait_for(lambda: len(offspring(process.pid)) == 2)
    server, worker = offspring(process.pid)
    os.kill(server, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert not alive(worker)
    assert results(tmp_path / "outputs/tiny") == {name for name in ALL if "-s2" in name}
    assert "failed: endless, seed 2: killed" in errors


def test_ctrl_c_stops_the_workers_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_study(tmp_path, WORLD + study(*ARMS, ENDLESS, seeds="[2]"))
    folder = tmp_path / "outputs/tiny"
    process = start(tmp_path, "sweep", "tiny.toml", "--jobs", "2")
    wait_for(lambda: len(results(folder)) == 3 and len(offspring(process.pid)) == 2)
    below = offspring(process.pid)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert errors.splitlines()[-1].startswith("error: interrupted; 3 of 4 runs are finished and kept in outputs/tiny")
    assert not any(map(alive, below))
    assert {path.suffix for path in folder.iterdir() if path.name != ".sweep.lock"} == {".h5"}


def test_runs_that_fail_are_reported_and_the_others_are_kept(tmp_path: Path, sweep: Sweep) -> None:
    write_study(tmp_path, WORLD + study(*ARMS, DEAF, seeds="[1, 2]"))
    code, out, errors = sweep()
    assert code == 2  # what it says is about the scenario
    lines = errors.splitlines()
    assert [line[:21] for line in lines[-3:-1]] == ["failed: deaf, seed 1:", "failed: deaf, seed 2:"]
    assert "tx_power_dbm" in lines[-2]
    assert lines[-1] == "error: 2 runs failed; 6 of 8 runs are finished and kept in outputs/tiny"
    assert "FedAvg" in out
    assert len(list(csv.DictReader((tmp_path / "outputs/tiny/table.csv").open()))) == 6


def test_a_full_disk_is_one_clear_line_and_loses_nothing(reference: Path, tmp_path: Path, sweep: Sweep) -> None:
    """A limit on the size of files stands for the disk: no result fits, whatever is smaller does."""
    write_study(tmp_path)
    folder = tmp_path / "outputs/tiny"
    folder.mkdir(parents=True)
    kept = {"FedAvg-s1.h5", "gossip-s1.h5"}
    for name in kept:
        shutil.copy(reference / name, folder)
    before = stamps(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        code, _, errors = sweep("--jobs", "2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert errors.count("error: ") == 1
    assert "cannot be written (file too large)" in errors.splitlines()[-1]
    assert "2 of 9 runs are finished and kept: make room and sweep again" in errors.splitlines()[-1]
    assert stamps(folder) == before
    assert not list(folder.glob(".*.tmp"))


def test_tables_that_do_not_fit_lose_no_result(
    reference: Path, tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path)
    shutil.copytree(reference, tmp_path / "outputs/tiny")
    before = stamps(tmp_path / "outputs/tiny")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wsim.atomic.os.fsync", full)
    code, _, errors = sweep()
    assert code == 2
    assert "table.csv: cannot be written (no space left on device)" in errors.splitlines()[-1]
    assert "9 results in outputs/tiny are whole" in errors.splitlines()[-1]
    assert stamps(tmp_path / "outputs/tiny") == before


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The results that sweeps would have made, none of which is begun."""
    files: list[str] = []

    def run_none(plan: Any, runs: Sequence[PlannedRun], *arguments: Any) -> list[Any]:
        files.extend(run.file for run in runs)
        return []

    monkeypatch.setattr("wsim.study.sweep.run_all", run_none)
    return files


@pytest.mark.parametrize("data", ['name = "mnist", folder = "nowhere"', 'name = "npz", file = "nowhere"'])
def test_data_that_is_not_there_is_one_line_before_any_run(
    data: str, tmp_path: Path, sweep: Sweep, begun: list[str]
) -> None:
    arms = f'{{ name = "here" }}, {{ name = "there", data = {{ {data} }}, model = {{ name = "mlp", hidden = [8] }} }}'
    write_study(tmp_path, WORLD + study(arms, seeds="[1, 2]"))
    code, out, errors = sweep()
    assert (code, out, errors.count("\n"), begun) == (2, "", 1, [])
    key = data.rpartition(", ")[2]
    assert errors == f"error: tiny.toml [data] {key}: there is no such file or folder ({tmp_path}/nowhere)\n"
    assert sweep("--arm", "here")[0] == 0  # which does not need them
    assert set(begun) == {"here-s1.h5", "here-s2.h5"}


def test_results_of_another_scenario_are_refused_and_replaced_by_force(
    reference: Path, tmp_path: Path, sweep: Sweep, begun: list[str]
) -> None:
    write_study(tmp_path, (WORLD + STUDY).replace("simulated_s = 0.5", "simulated_s = 0.25"))
    (tmp_path / "here").mkdir()
    shutil.copy(reference / "gossip-s1.h5", tmp_path / "here")
    arguments = ("--out", "here", "--arm", "gossip", "--set", "study.seeds=[1]")
    code, _, errors = sweep(*arguments)
    assert (code, errors.count("\n")) == (2, 1)
    assert all(words in errors for words in ("gossip-s1.h5", "stop.simulated_s (0.5, 0.25)", "--out", "--force"))
    assert begun == []
    assert sweep(*arguments, "--force")[0] == 0
    assert begun == ["gossip-s1.h5"]


def test_a_result_of_a_learner_from_python_is_no_result_of_the_study(
    tmp_path: Path, sweep: Sweep, begun: list[str]
) -> None:
    run = next(run for run in plan(write_study(tmp_path)).runs if run.file == "gossip-s1.h5")
    record = simulate(load("tiny.toml", run.overrides), learner=lambda *given: Gossip(*given, learning_rate=0.5))
    (tmp_path / "here").mkdir()
    write(record, "here/gossip-s1.h5")
    code, _, errors = sweep("--out", "here")
    assert (code, begun) == (2, [])
    assert "another version of wsim, other files, or what Python handed in" in errors


def test_a_result_of_another_format_is_refused_and_replaced_by_force(
    reference: Path, tmp_path: Path, sweep: Sweep, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path)
    shutil.copytree(reference, tmp_path / "here")
    monkeypatch.setattr("wsim.results.FORMAT_VERSION", 3)
    code, _, errors = sweep("--out", "here")
    assert (code, errors.count("\n"), begun) == (2, 1, [])
    assert all(words in errors for words in ("has format version 2, not 3", "--out", "--force"))
    assert sweep("--out", "here", "--force")[0] == 0
    assert set(begun) == ALL


def test_a_damaged_result_is_run_again(reference: Path, tmp_path: Path, sweep: Sweep, begun: list[str]) -> None:
    write_study(tmp_path)
    shutil.copytree(reference, tmp_path / "here")
    result = tmp_path / "here/gossip-s2.h5"
    result.write_bytes(result.read_bytes()[:-100])
    code, _, errors = sweep("--out", "here")
    assert code == 0, errors
    assert "9 runs, 8 finished already" in errors
    assert begun == ["gossip-s2.h5"]


def test_two_sweeps_never_share_a_folder(tmp_path: Path, sweep: Sweep) -> None:
    write_study(tmp_path)
    (tmp_path / "here").mkdir()
    with (tmp_path / "here/.sweep.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, errors = sweep("--out", "here")
    assert (code, errors) == (2, "error: here: another sweep is at work here; wait for it, or choose another --out\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arm", "FedAv"], 'unknown arm "FedAv" (FedAvg?)'),
        (["--baseline", "x"], 'unknown arm "x"'),
        (["--jobs", "0"], "--jobs"),
        (["--set", "study.seeds=2..1"], '"1..2"?'),
        (["--out", "tiny.toml"], "tiny.toml"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, sweep: Sweep, arguments: list[str], words: str) -> None:
    write_study(tmp_path)
    code, _, errors = sweep(*arguments)
    assert (code, errors.count("\n")) == (2, 1), errors
    assert words in errors
    assert not (tmp_path / "outputs").exists()
