"""`wsim compare`: what may stand side by side, what is refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wsim.study.runs import arm_record, write_arms
from wsim import cli
from wsim.errors import ResultError, ScenarioError
from wsim.results import write
from wsim.study.gather import gather
from wsim.study.world import allowed, differing, of_study


def put(folder: Path, name: str, arm: str | None = "slow", seed: int = 1, **changes: Any) -> Path:
    write(arm_record(arm, seed, **changes), folder / name)
    return folder / name


def test_arms_stand_in_the_order_of_their_study_with_all_their_seeds(tmp_path: Path) -> None:
    found = gather([write_arms(tmp_path)])
    assert [(row.arm, [run.seed for run in row.runs]) for row in found.rows] == [
        ("slow", [1, 2, 3]),
        ("fast", [1, 2, 3]),
    ]
    assert (found.baseline, found.num_seeds, found.rows[0].equal_time_s) == ("slow", 3, 100.0)
    assert gather([tmp_path], baseline="fast").baseline == "fast"


def test_points_stand_in_the_order_of_their_axes_and_an_arm_without_one_at_all(tmp_path: Path) -> None:
    for arm, point in [
        ("fast", {"channel.bandwidth_hz": 1e6}),
        ("fast", {"channel.bandwidth_hz": 2e6}),
        ("slow", {"channel.bandwidth_hz": 1e6}),
        ("odd", {}),
    ]:
        put(tmp_path, f"{arm}{len(point) and point['channel.bandwidth_hz']:g}.h5", arm, point=point)
    found = [(row.arm, row.point["channel.bandwidth_hz"]) for row in gather([tmp_path]).rows]
    assert found == [("slow", 1e6), ("fast", 2e6), ("fast", 1e6), ("odd", 2e6), ("odd", 1e6)]


def test_results_of_no_study_are_called_by_their_learner_and_what_differs(tmp_path: Path) -> None:
    one = put(tmp_path, "a.h5", None, learner="fedavg")
    other = put(tmp_path, "b.h5", None, learner="dpsgd")
    assert [row.arm for row in gather([one, other]).rows] == ["fedavg", "dpsgd"]
    third = put(tmp_path, "c.h5", None, learner="fedavg", resolved={"codec": {"name": "int8"}})
    labels = [row.arm for row in gather([one, third]).rows]
    assert labels == ['fedavg (codec.name = "float32")', 'fedavg (codec.name = "int8")']


@pytest.mark.parametrize(
    ("resolved", "words"),
    [
        ({"stop": {"simulated_s": 50.0}}, "stop.simulated_s (100, 50)"),
        ({"devices": [{"count": 5, "radio": {"tx_power_dbm": 10.0}}]}, "devices.0.count (4, 5)"),
        ({"evaluation": {"every_s": 5.0, "targets": {"accuracy": [0.8]}}}, "evaluation.targets.accuracy"),
        ({"data": {"alpha": 0.1}}, "data.alpha (nothing, 0.1)"),
    ],
)
def test_another_world_is_refused_without_force(tmp_path: Path, resolved: dict[str, Any], words: str) -> None:
    files = [put(tmp_path, "a.h5"), put(tmp_path, "b.h5", seed=2, resolved=resolved)]
    with pytest.raises(ResultError) as caught:
        gather(files)
    assert words in str(caught.value)
    assert "--force" in str(caught.value)
    assert len(gather(files, force=True).rows) == 2  # two variants of one arm


@pytest.mark.parametrize(
    "resolved",
    [
        {"evaluation": {"every_s": 2.0, "targets": {"accuracy": [0.8, 0.99]}}},
        {"scenario": {"name": "renamed", "seed": 2}},
        {"output": {"topology_every_s": 3.0}},
    ],
)
def test_what_changes_nothing_is_no_difference(tmp_path: Path, resolved: dict[str, Any]) -> None:
    found = gather([put(tmp_path, "a.h5"), put(tmp_path, "b.h5", seed=2, resolved=resolved)])
    assert len(found.rows) == 1


def test_learners_from_python_stand_beside_others_and_tasks_are_another_world(tmp_path: Path) -> None:
    mine = ["own learner Mine: was handed in; [algorithm] does not say all of it"]
    files = [
        put(tmp_path, "a.h5", None, learner="fedavg"),
        put(tmp_path, "b.h5", None, learner="Mine", notes=mine),
        put(tmp_path, "c.h5", None, learner="Other", notes=[mine[0].replace("Mine", "Other")]),
    ]
    assert [row.arm for row in gather(files).rows] == ["fedavg", "Mine", "Other"]
    in_arms = [put(tmp_path, "d.h5"), put(tmp_path, "e.h5", notes=mine)]
    assert [row.arm for row in gather(in_arms).rows] == ["slow (own learner = nothing)", 'slow (own learner = "Mine")']
    task = put(tmp_path, "f.h5", None, seed=2, notes=["own task Quadratic: of [data] and [model] ..."])
    with pytest.raises(ResultError, match=r'own task \(nothing, "Quadratic"\)'):
        gather([files[0], task])


def test_a_study_may_compare_worlds_by_its_arms_and_axes() -> None:
    text = '[study]\narms = [{ name = "a", devices.0.radio.tx_power_dbm = 3.0, phy.duplex = "tdd" }]\naxes.area = [1]\n'
    keys = of_study("[[devices]]\ncount = 3\n" + text)
    assert allowed("devices.1.radio.tx_power_dbm", keys)  # a later group may be like the first
    assert allowed("phy.duplex", keys)
    assert allowed("area.radius_m", keys)
    assert allowed("algorithm.name", [])
    assert not allowed("devices.0.radio.noise_figure_db", keys)
    assert not allowed("phy.overhead", keys)
    assert not allowed("phy.duplex", [])


def test_other_files_and_another_version_are_another_scenario(tmp_path: Path) -> None:
    first = put(tmp_path, "a.h5")
    with pytest.raises(ResultError, match=r"file ring\.edges"):
        gather([first, put(tmp_path, "b.h5", seed=2, referenced_files={"ring.edges": "0 2\n"})])
    with pytest.raises(ResultError, match=r"version of wsim \(\"0.1.0\", \"9.9\"\)"):
        gather([first, put(tmp_path, "c.h5", seed=2, versions={"wsim": "9.9"})])


def test_the_same_arm_and_seed_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError) as caught:
        gather([put(tmp_path, "a.h5", seed=3), put(tmp_path, "b.h5", seed=3)], force=True)
    message = str(caught.value)
    assert all(words in message for words in ("a.h5", "b.h5", "slow, seed 3"))


def test_differing_keys_are_found_at_any_depth() -> None:
    a = {"x": {"y": [1, 2]}, "groups": [{"n": 1}, {"n": 2}]}
    b = {"x": {"y": [1, 3]}, "groups": [{"n": 1}]}
    assert differing([a, b]) == {"x.y": [[1, 2], [1, 3]], "groups.1.n": [2, None]}
    assert differing([a, a]) == {}


def test_nothing_to_compare_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="holds no results"):
        gather([tmp_path])
    with pytest.raises(ResultError, match=r"no\.h5"):
        gather([tmp_path / "no.h5"])
    with pytest.raises(
        ScenarioError, match=r"--baseline fas: no arm of that name \(fast\?\), known: \"slow\", \"fast\""
    ):
        gather([write_arms(tmp_path / "f")], baseline="fas")


def test_the_command_prints_a_table_and_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_arms(tmp_path / "made_up")
    assert cli.execute(["compare", str(folder)]) == 0
    printed = capsys.readouterr()
    for words in ("slow", "fast", "3 of 3", "accuracy at equal time", "paired s.e.", "difference from slow"):
        assert words in printed.out, words
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert f"{folder}/compare.png written" in printed.err


def test_json_holds_the_values_of_every_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_arms(tmp_path / "made_up")
    assert cli.execute(["compare", str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert printed.err == ""
    assert not (folder / "compare.png").exists()
    ends = [row["accuracy_end"] for row in found["rows"]]
    records = [[arm_record(arm, seed).accuracy[-1] for seed in (1, 2, 3)] for arm in ("slow", "fast")]
    assert [end["values"] for end in ends] == records
    difference = next(entry for entry in found["differences"] if entry["of"] == "accuracy_end")
    per_seed = np.subtract(records[1], records[0])
    assert difference["mean"] == pytest.approx(per_seed.mean(), rel=1e-12)
    assert difference["paired_se"] == pytest.approx(per_seed.std(ddof=1) / 3**0.5, rel=1e-12)
    assert difference["ratio"] > 3  # the worlds of the seeds differ more than the arms do in them
    assert found["rows"][0]["time_to_0.99_s"]["mean"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.h5"], "nothing.h5"),
        (["a.txt"], "a.txt"),
        (["made_up", "--out", "x.jpg"], ".png"),
        (["made_up", "--baseline", "x"], "--baseline x"),
        (["made_up", "made_up"], "seed 1: a seed counts once"),
        ([], "RESULT"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("no result")
    write_arms(tmp_path / "made_up")
    assert cli.execute(["compare", *arguments]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1
