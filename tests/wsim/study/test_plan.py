"""What a study consists of, and that every point of it is checked before anything runs."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wsim.study.studies import GOSSIP, STUDY, WORLD, write_study
from wsim.errors import ScenarioError, one_line
from wsim.scenario import load_text
from wsim.scenario.arms import toml
from wsim.study.plan import plan


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        plan(write_study(folder, text), overrides)
    assert str(caught.value) == one_line(str(caught.value))
    return str(caught.value)


def test_all_arms_points_and_seeds(tmp_path: Path) -> None:
    text = WORLD + STUDY + 'axes = { "channel.bandwidth_hz" = [1e6, 2e6], "devices.phones.count" = [4, 5] }\n'
    found = plan(write_study(tmp_path, text))
    assert (found.arms, found.seeds, len(found.cells), len(found.runs)) == (
        ["FedAvg", "half rate", "gossip"],
        (1, 2, 3),
        12,
        36,
    )
    assert [run.seed for run in found.runs] == sorted(run.seed for run in found.runs)  # seed by seed
    last = found.cells[-1]
    assert (last.arm, dict(last.point)) == ("gossip", {"channel.bandwidth_hz": 2e6, "devices.phones.count": 5})
    assert last.runs[2].file == "gossip,bandwidth_hz=2e6,count=5-s3.h5"
    again = load_text(found.base.text, last.runs[2].overrides)
    assert (again.scenario.num_devices, again.scenario.channel.bandwidth_hz, again.scenario.scenario.seed) == (
        5,
        2e6,
        3,
    )
    assert len({run.digest for run in found.runs}) == len({run.file for run in found.runs}) == 36


def test_a_digest_tells_what_matters_and_nothing_else(tmp_path: Path) -> None:
    def digests(text: str, *overrides: str) -> list[str]:
        return [run.digest for run in plan(write_study(tmp_path, text), overrides).runs]

    once = digests(WORLD + STUDY)
    assert digests("# a comment\n" + WORLD + STUDY + 'axes = { "dtype" = ["float32"] }') == once
    assert digests(WORLD + STUDY, "study.seeds=1..5")[: len(once)] == once
    assert not set(digests(WORLD + STUDY, "stop.simulated_s=3")) & set(once)
    assert not set(digests(WORLD.replace("num_samples = 300", "num_samples = 301") + STUDY)) & set(once)


def test_an_axis_leaves_arms_alone_whose_learner_does_not_have_the_key(tmp_path: Path) -> None:
    found = plan(write_study(tmp_path, WORLD + STUDY + "axes = { algorithm.deadline_s = [0.5, 1.0] }\n"))
    gossip = [cell for cell in found.cells if cell.arm == "gossip"]
    assert [cell.point for cell in gossip] == [{"algorithm.deadline_s": 0.5}, {"algorithm.deadline_s": 1.0}]
    assert gossip[0].runs == gossip[1].runs
    assert len(found.runs) == 3 * (2 + 2 + 1)


def test_an_axis_over_the_learner(tmp_path: Path) -> None:
    world = WORLD.replace('kind = "star"', 'kind = "complete"').replace('kind = "tdma"', 'kind = "shared"')
    world = world.replace("[server]\nradio = { tx_power_dbm = 30.0 }\nenergy", "#").replace('"fedavg"', '"dpsgd"')
    found = plan(write_study(tmp_path, world + '[study]\naxes = { algorithm.name = ["dpsgd", "gossip"] }'))
    assert [cell.loaded.scenario.algorithm.name for cell in found.cells] == ["dpsgd", "gossip"]


def test_without_arms_the_base_is_the_arm(tmp_path: Path) -> None:
    found = plan(write_study(tmp_path, WORLD), ["study.seeds=[4, 2]"])
    assert (found.arms, [run.file for run in found.runs]) == (["fedavg"], ["tiny-s2.h5", "tiny-s4.h5"])


def test_arms_alone_run_with_the_scenarios_seed(tmp_path: Path) -> None:
    found = plan(write_study(tmp_path, WORLD + f"[study]\narms = [{{ name = 'a/b' }}, {{ name = 'a_b', {GOSSIP} }}]"))
    assert [run.seed for run in found.runs] == [1, 1]
    assert len({run.file.casefold() for run in found.runs}) == 2


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("", ["tiny.toml: has no [study]", "study.seeds=1..5"]),
        ("[study]", ["[study]: is empty"]),
        (
            "[study]\naxes = { phy.duplx = ['fdd'] }",
            ['[study] axes "phy.duplx"', "unknown key duplx in [phy] (duplex?)"],
        ),
        ("[study]\naxes = { mac.knd = ['tdma'] }", ['(mac.knd = "tdma")', "[mac] knd", "unknown key of tdma (kind?)"]),
        ("[study]\naxes = { devices.walkers.count = [3] }", ['axes "devices.walkers.count"', "phones"]),
        ("[study]\naxes = { devices.phones.count = [3, 0] }", ["(devices.phones.count = 0)", "[devices.0] count = 0"]),
        ("[study]\naxes = { algorithm.local_step = [3] }", ["algorithm.local_step = 3", "unknown key", "local_steps?"]),
        ("[study]\naxes = { algorithm.merge = ['age'] }", ['axes "algorithm.merge"', "no arm has a learner"]),
        (
            "[study]\narms = [{ name = 'x', mac.kind = 'csma' }]",
            ['arm "x" [mac] kind = "csma"', "unknown medium access"],
        ),
        (
            "[study]\narms = [{ name = 'x' }]\naxes = { data.num_samples = [300, 1] }",
            ['arm "x" (data.num_samples = 1) [data] num_samples = 1'],
        ),
    ],
)
def test_a_wrong_point_is_one_line_that_names_arm_axis_and_key(tmp_path: Path, study: str, words: list[str]) -> None:
    message = refusal(tmp_path, WORLD + study)
    assert message.startswith("tiny.toml")
    assert all(word in message for word in words), message


ODD = st.one_of(
    st.none(),
    st.sampled_from(
        [0, -1, 2**70, 1e400, "", "x", "1..2", "none", True, [], {}, [[]], {"name": "y"}, ["a", 1], "9..1"]
    ),
    st.dictionaries(
        st.sampled_from(["name", "algorithm", "devices", "0", "server", "é.x", ""]), st.integers(), max_size=2
    ),
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 30), ODD), min_size=1, max_size=3))
def test_a_damaged_study_is_one_line_or_a_plan(tmp_path: Path, damages: list[tuple[int, Any]]) -> None:
    """Values of the table, at any depth, replaced or (None) removed."""
    study: Any = tomllib.loads(STUDY + 'axes = { "channel.bandwidth_hz" = [1e6], devices.phones.count = [4] }')["study"]
    for where, value in damages:
        places = [(study, key) for key in study]
        for holder, key in places:
            inner = holder[key]
            keys = list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else []
            places += [(inner, each) for each in keys]
        if places:
            holder, key = places[where % len(places)]
            if value is None:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(value)
    message = "tiny.toml"
    try:
        found = plan(write_study(tmp_path, f"study = {toml(study)}\n{WORLD}"))
    except ScenarioError as error:
        message = str(error)
    else:
        assert len({run.file for run in found.runs}) == len(found.runs) > 0
    assert message == one_line(message)
    assert message.startswith("tiny.toml")


def test_a_sweep_takes_no_arm_by_set(tmp_path: Path) -> None:
    assert "--arm" in refusal(tmp_path, WORLD + STUDY, "study.arm=FedAvg")
