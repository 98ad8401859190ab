"""The command line as its users meet it: speed of `--help`, exit codes, one clear line for whatever goes wrong."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from learners.federated.fedavg import FedAvg
from learners.references.local_only import LocalOnly
from tests.wsim.records import make_record
from wsim import cli, load, simulate
from wsim.cli.commands import COMMANDS, app
from wsim.errors import DataError, ScenarioError, SimulationError
from wsim.results import content_digest, read, write

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "numpy", "h5py", "matplotlib", "scipy", "sklearn", "networkx", "simpy"}

CELL = """# Three devices, two rounds.
stop = { rounds = 2 }
area = { shape = "disc", radius_m = 100.0 }
topology = { kind = "star" }
mac = { kind = "fdma" }
channel = { carrier_hz = 3.5e9, bandwidth_hz = 1.08e6 }
data = { samples_per_device = 20 }
model = { hidden = [8] }
algorithm = { name = "fedavg", local_steps = 1 }
[server]
radio = { tx_power_dbm = 44.0 }
[[devices]]
count = 3
compute = { effective_flops = 1e8 }
radio = { tx_power_dbm = 10.0 }
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with cell.toml in it."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # restores what the command line sets
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cell.toml").write_text(CELL)
    return tmp_path


def wsim(*arguments: str) -> int:
    return cli.execute(arguments)


def failure(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line of a command that fails."""
    assert wsim(*arguments, *(["--quiet"] if arguments[0] == "run" else [])) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)


# -- quick ------------------------------------------------------------------------------------------------------------


def test_help_takes_less_than_half_a_second() -> None:
    """Of the processor's time: other work may run beside the test."""
    times = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, "-m", "wsim", "--help"], capture_output=True, text=True, cwd=ROOT)
        after = os.times()
        times.append(after.children_user - before.children_user + after.children_system - before.children_system)
        assert done.returncode == 0
        assert all(command in done.stdout for command in ("run", "estimate", "show", "plot"))
    assert 0 < min(times) < 0.5


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_are_command_lines_that_wsim_understands(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    assert wsim(name, "--help") == 0
    shown = capsys.readouterr().out
    _, examples = COMMANDS[name]
    for example in examples:
        assert example in shown
        program, command, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, command) == ("wsim", name)
        typer.main.get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["run", "--help"], set()),
        (["--version"], set()),
        (["show", "run.h5"], {"numpy", "h5py"}),
    ],
)
def test_no_command_loads_more_than_it_needs(tmp_path: Path, arguments: list[str], allowed: set[str]) -> None:
    write(make_record(), tmp_path / "run.h5")
    code = "import sys; from wsim.cli import execute; assert execute(sys.argv[1:]) == 0; print('', *sys.modules, sep='\\n#')"
    done = python(code, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {line[1:] for line in done.stdout.splitlines() if line.startswith("#")}
    assert loaded & HEAVY <= allowed


# -- what works -------------------------------------------------------------------------------------------------------


def test_run_writes_a_result_and_a_picture_and_prints_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wsim("run", "cell.toml", "--seed", "3") == 0
    assert sorted(path.name for path in (home / "outputs").iterdir()) == ["cell-s3.h5", "cell-s3.png"]
    printed = capsys.readouterr()
    assert "accuracy" in printed.out
    assert printed.err.splitlines()[0] == "cell: fedavg on 3 devices, seed 3"
    assert "outputs/cell-s3.h5" in printed.err.splitlines()[-1]
    record = read(home / "outputs/cell-s3.h5")
    assert (record.seed, record.scenario_text, record.overrides) == (3, CELL, ["scenario.seed=3"])


def test_quiet_prints_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wsim("run", "cell.toml", "--quiet", "--out", "here.h5") == 0
    assert capsys.readouterr() == ("", "")
    assert (home / "here.png").is_file()


def test_a_result_file_repeats_its_run(home: Path) -> None:
    assert wsim("run", "cell.toml", "--set", "stop.rounds=1", "--quiet", "--out", "first.h5") == 0
    (home / "cell.toml").unlink()
    assert wsim("run", "first.h5", "--quiet", "--out", "second.h5") == 0
    assert content_digest("first.h5") == content_digest("second.h5")


def test_what_python_handed_in_is_not_repeated_from_its_result(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The result holds the scenario, and not the learner."""
    loaded = load("cell.toml", ["stop.rounds=1"])
    record = simulate(loaded, learner=lambda task, codec, num_rounds: LocalOnly(task, codec, num_rounds, local_steps=3))
    assert record.handed_in == "own learner LocalOnly: was handed in; [algorithm] does not say all of it"
    assert record.learner == "LocalOnly"
    assert record.own == {"own learner": "LocalOnly"}
    write(record, "made.h5")
    assert "made.h5: cannot be repeated from here (own learner LocalOnly" in failure(capsys, "run", "made.h5")
    assert not (home / "outputs").exists()
    registered = simulate(loaded, learner=FedAvg)
    assert (registered.handed_in, registered.own, registered.learner) == (None, {}, "fedavg")  # the one of [algorithm]
    write(registered, "other.h5")
    assert wsim("compare", "made.h5", "other.h5", "--json") == 0
    assert [row["arm"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["LocalOnly", "fedavg"]


def test_an_arm_runs_under_its_own_name_and_its_result_repeats_it(home: Path) -> None:
    study = '[study]\narms = [{ name = "half rate", algorithm.learning_rate = 0.05 }]\n'
    (home / "cell.toml").write_text(CELL + study)
    assert wsim("run", "cell.toml", "--arm", "half rate", "--quiet") == 0
    assert wsim("run", "outputs/cell-half_rate-s1.h5", "--quiet", "--out", "again.h5") == 0
    assert read("again.h5").resolved["algorithm"]["learning_rate"] == 0.05
    assert content_digest("again.h5") == content_digest("outputs/cell-half_rate-s1.h5")


def test_eager_and_batched_runs_meet_the_same_events(home: Path) -> None:
    for executor in ("eager", "batched"):
        assert wsim("run", "cell.toml", "--quiet", "--out", f"{executor}.h5", "--executor", executor) == 0
    assert read("eager.h5").event_digest == read("batched.h5").event_digest


def test_estimate_and_show_give_one_object_that_agrees(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wsim("run", "cell.toml", "--quiet", "--out", "run.h5") == 0
    assert wsim("show", "run.h5", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert wsim("estimate", "cell.toml", "--json") == 0
    printed = capsys.readouterr()
    estimated = json.loads(printed.out)
    assert printed.err == ""
    assert 0 <= shown["accuracy_worst"] <= 1
    assert (estimated["accuracy"], estimated["exact"]) == (None, True)
    for key in ("simulated_s", "bits", "energy_j", "messages"):
        assert estimated[key] == shown[key], key
    assert set(shown["bits"]) == {"payload", "coded", "on_air"}
    assert {"sent", "delivered", "lost", "in_flight"} <= set(shown["messages"])


def test_all_arms_of_a_study_are_estimated_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = '[study]\narms = [{ name = "full" }, { name = "half", codec.name = "float16" }]\naxes = { stop.rounds = [1, 2] }\n'
    (home / "cell.toml").write_text(CELL + study)
    assert wsim("estimate", "cell.toml", "--all-arms", "--json", "--seed", "3") == 0
    found = json.loads(capsys.readouterr().out)["arms"]
    assert [(arm["name"], arm["point"]["stop.rounds"]) for arm in found] == [
        ("full", 1), ("full", 2), ("half", 1), ("half", 2),
    ]  # fmt: skip
    assert wsim("estimate", "cell.toml", "--arm", "half", "--json", "--seed", "3") == 0
    one = json.loads(capsys.readouterr().out)
    assert found[3]["bits"] == one["bits"]
    assert found[3]["round_s"] == pytest.approx(one["simulated_s"] / 2, rel=1e-12)
    assert found[0]["bits"]["payload"] == 2 * found[2]["bits"]["payload"]
    assert wsim("estimate", "cell.toml", "--all-arms") == 0
    assert capsys.readouterr().out.count("half") == 2
    assert "give one of the two" in failure(capsys, "estimate", "cell.toml", "--all-arms", "--arm", "half")
    (home / "cell.toml").write_text(CELL)
    assert "has no [study]" in failure(capsys, "estimate", "cell.toml", "--all-arms")


def test_show_and_plot_need_the_file_only(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(make_record(), "made.h5")
    assert wsim("show", "made.h5") == 0
    assert "quickstart" in capsys.readouterr().out
    assert wsim("plot", "made.h5") == 0
    assert wsim("plot", "made.h5", "--out", "elsewhere.png") == 0
    for picture in ("made.png", "elsewhere.png"):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_plot_draws_the_map_of_a_scenario_or_a_result(home: Path) -> None:
    assert wsim("plot", "cell.toml", "--at", "3", "--set", "channel.carrier_hz=2e9") == 0
    assert wsim("run", "cell.toml", "--out", "made.h5", "--quiet") == 0
    assert wsim("plot", "made.h5", "--map") == 0
    for picture in ("outputs/cell-map.png", "made-map.png"):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_plot_draws_sinrs_of_a_run_that_has_kept_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wsim("run", "cell.toml", "--out", "made.h5", "--quiet", "--set", "output.sinr=true") == 0
    assert wsim("plot", "made.h5", "--sinr", "--device", "2", "--device", "0", "--at", "0.1") == 0
    assert Path("made-sinr.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert "no device 3; they are 0 to 2" in failure(capsys, "plot", "made.h5", "--sinr", "--device", "3")
    assert wsim("run", "cell.toml", "--out", "off.h5", "--quiet") == 0
    assert "--set output.sinr=true" in failure(capsys, "plot", "off.h5", "--sinr")
    assert "holds no measures; fedavg gives none" in failure(capsys, "plot", "off.h5", "--measures")


def test_plot_draws_what_devices_measured(home: Path) -> None:
    write(make_record(), "made.h5")
    assert wsim("plot", "made.h5", "--measures") == 0
    assert Path("made-measures.png").read_bytes().startswith(b"\x89PNG")


def test_waits_are_drawn_and_stand_in_the_table_of_devices(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wsim("run", "cell.toml", "--out", "made.h5", "--quiet") == 0
    assert wsim("plot", "made.h5", "--waits") == 0
    assert Path("made-waits.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert wsim("show", "made.h5", "--devices", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["0", "1", "2", "server"]
    assert {row["longest_for"] for row in rows[:3]} == {"server"}
    assert wsim("show", "made.h5", "--devices") == 0
    assert "longest for" in capsys.readouterr().out


# -- bad input: exit code 2 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], ["rnu", "run"]),
        (["run"], ["FILE"]),
        (["run", "cell.toml", "--sead", "1"], ["--sead", "--seed"]),
        (["run", "cell.toml", "--seed", "one"], ["--seed", "integer"]),
        (["run", "cell.toml", "--executor", "lazy"], ["lazy", "batched"]),
        (["run", "cel.toml"], ["cel.toml", "no such file", "cell.toml?"]),
        (["run", "cell.toml", "--seed", "-1"], ["[scenario] seed = -1", "0 to"]),
        (["run", "cell.toml", "--set", "channel.carrier_hz=3.5"], ["cell.toml", "carrier_hz = 3.5", "3.5e9?"]),
        (["run", "cell.toml", "--arm", "other"], ["cell.toml", 'unknown arm "other"']),
        (["run", "cell.toml", "--set", "stop.rounds=-2"], ["rounds = -2", "1 to 1e9"]),
        (["estimate", "cell.toml", "--set", "stop.ronds=2"], ["ronds", "rounds?"]),
        (["estimate", "cell.toml", "--set", "algorithm.name=fedavgg"], ["fedavgg", "fedavg?"]),
        (["run", "cell.toml", "--out", "cell.png"], ["cell.png", ".h5"]),
        (["run", "cell.toml", "--out", "folder/"], ["folder: the name of a result ends in .h5"]),
        (["run", "cell.toml", "--out", "cell.toml/x.h5"], ["cell.toml"]),
        (["run", "nothing.h5"], ["nothing.h5"]),
        (["show", "nothing.h5"], ["nothing.h5"]),
        (["show", "cell.toml"], ["cell.toml"]),
        (["plot", "cel.toml"], ["cel.toml", "no such file", "cell.toml?"]),
        (["plot", "cell.toml", "--out", "cell.jpg"], ["cell.jpg", ".png"]),
        (["plot", "cell.toml", "--out", "cell.toml"], ["cell.toml"]),
        (["plot", "nothing.h5", "--at", "3"], ["nothing.h5", "--at", "--map"]),
        (["plot", "cell.toml", "--sinr"], ["cell.toml", "is a scenario", "output.sinr = true"]),
        (["plot", "made.h5", "--sinr", "--seed", "2"], ["made.h5", "--seed", "--sinr"]),
        (["plot", "made.h5", "--sinr", "--map"], ["made.h5", "--map", "--sinr"]),
        (["plot", "cell.toml", "--waits"], ["cell.toml", "is a scenario", "--waits"]),
        (["plot", "made.h5", "--waits", "--at", "3"], ["made.h5", "--at", "--waits"]),
        (["plot", "made.h5", "--waits", "--sinr"], ["made.h5", "--sinr", "--waits"]),
        (["plot", "cell.toml", "--measures"], ["cell.toml", "is a scenario", "--measures"]),
        (["plot", "made.h5", "--measures", "--sinr"], ["made.h5", "--measures", "--sinr"]),
        (["plot", "made.h5", "--device", "2"], ["made.h5", "--device", "--sinr"]),
        (["plot", "cell.toml", "--at", "-3"], ["--at", "greater than or equal to 0"]),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    quiet = [] if "FILE" in words or arguments[0] != "run" else ["--quiet"]
    assert wsim(*arguments, *quiet) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert all(word in printed.err for word in words), printed.err
    assert not (home / "outputs").exists()


def refuse_to_simulate(*arguments: Any, **options: Any) -> None:
    raise AssertionError("the run was started")


@pytest.mark.parametrize("there", ["run.h5", "run.png"])
def test_an_existing_output_is_refused_before_the_run_starts(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    Path(there).write_bytes(b"precious")
    monkeypatch.setattr("wsim.engine.simulate", refuse_to_simulate)
    message = failure(capsys, "run", "cell.toml", "--out", "run.h5")
    assert there in message
    assert "--force" in message
    assert Path(there).read_bytes() == b"precious"


def test_force_overwrites(home: Path) -> None:
    Path("run.h5").write_bytes(b"old")
    assert wsim("run", "cell.toml", "--out", "run.h5", "--force", "--quiet") == 0
    assert read("run.h5").num_devices == 3


def test_a_directory_without_permission_is_refused_before_the_run_starts(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "locked").mkdir()
    monkeypatch.setattr("wsim.atomic.os.access", lambda path, mode: Path(path).name != "locked")
    monkeypatch.setattr("wsim.engine.simulate", refuse_to_simulate)
    assert "no permission in locked" in failure(capsys, "run", "cell.toml", "--out", "locked/run.h5")


def test_a_truncated_result_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(make_record(), "made.h5")
    whole = Path("made.h5").read_bytes()
    Path("cut.h5").write_bytes(whole[: len(whole) // 2])
    for command in ("show", "plot", "run"):
        assert "cut.h5" in failure(capsys, command, "cut.h5")


def test_a_picture_never_replaces_its_result(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(make_record(), "made.png")
    before = Path("made.png").read_bytes()
    assert "made.png" in failure(capsys, "plot", "made.png")
    assert Path("made.png").read_bytes() == before


# -- exit codes of what happens during a run --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ScenarioError("cell.toml [area] radius_m = 5: nobody hears anybody"), 2, "nobody hears"),
        (DataError("digits: damaged"), 2, "digits: damaged"),
        (SimulationError("device 3 waits\nfor ever"), 1, "device 3 waits for ever"),
        (KeyError("oops"), 1, "unexpected KeyError"),
        (MemoryError(), 1, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_whatever_ends_a_run_is_one_line_and_leaves_no_file(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("wsim.engine.simulate", fail)
    assert words in failure(capsys, "run", "cell.toml", "--out", "run.h5", code=code)
    assert [path.name for path in home.iterdir()] == ["cell.toml"]


def test_ctrl_c_in_mid_run_leaves_no_half_file(home: Path) -> None:
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from wsim import cli, engine\n"
        "real = engine.simulate\n"
        "def simulate(*arguments, **options):\n"
        "    options['progress'] = lambda progress: print('running', flush=True)\n"
        "    return real(*arguments, **options)\n"
        "engine.simulate = simulate\n"
        "sys.exit(cli.execute(['run', 'cell.toml', '--quiet', '--out', 'run.h5', '--set', 'stop.rounds=1000000']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "error: interrupted, nothing written\n")
    assert [path.name for path in home.iterdir()] == ["cell.toml"]


def test_foreign_packages_of_the_same_name_are_refused(home: Path) -> None:
    (home / "channels").mkdir()
    (home / "channels/__init__.py").write_text("")
    run = "import sys; from wsim.cli import execute; sys.exit(execute(['run', 'cell.toml']))"
    path = {"PYTHONPATH": os.pathsep.join([str(home), str(ROOT)])}
    done = python(run, cwd=home, env=path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "channels" in done.stderr
    assert "environment of its own" in done.stderr
    imported = python("from wsim import load", cwd=home, env=path)
    assert "PackageError: package channels" in imported.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "learner"], "'learner' is not one of 'learners', 'channels'"),
        (["run", "quickstart", "--executor", "fast"], "'--executor': 'fast' is not one of 'batched', 'eager'"),
    ],
)
def test_a_choice_that_is_none_is_said_in_our_words(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(arguments) == 2
    assert words in capsys.readouterr().err
