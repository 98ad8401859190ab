"""[study] in a scenario file: what arms change, and in which words a wrong study is refused."""

from __future__ import annotations

from typing import Any

import pytest

from wsim.errors import ScenarioError, one_line
from wsim.scenario import Loaded, load_text
from wsim.scenario.arms import Selection, split, toml
from wsim.scenario.overrides import parse
from wsim.scenario.study import definition

CELL = """
stop = { simulated_s = 5.0 }
area = { shape = "disc", radius_m = 100.0 }
topology = "star"
mac = { kind = "tdma", latency_s = 0.01 }
channel = { carrier_hz = 2.4e9, bandwidth_hz = 1e6 }
transport = { expires_s = 1.0 }
algorithm = { name = "fedavg", local_steps = 2, learning_rate = 0.3, server_weights = "uniform", deadline_s = 2.0 }
[server]
radio = { tx_power_dbm = 30.0 }
[[devices]]
name = "phones"
count = 4
compute = { effective_flops = 1e8 }
radio = { tx_power_dbm = 10.0 }
[[devices]]
name = "sensors"
like = "phones"
count = 2
"""


def arms(*tables: str, seeds: str = '"1..3"', axes: str = "{}") -> str:
    return f"{CELL}[study]\nseeds = {seeds}\naxes = {axes}\narms = [{', '.join(tables)}]\n"


def of_arm(change: str, *overrides: str, **options: Any) -> Loaded:
    """The scenario of an arm that makes this change."""
    return load_text(arms(f'{{ name = "x", {change} }}'), overrides, name="cell.toml", arm="x", **options)


def refusal(text: str, *overrides: str, arm: str | None = None) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_text(text, overrides, name="cell.toml", arm=arm)
    message = str(caught.value)
    assert message == one_line(message)
    return message


# -- what an arm changes ----------------------------------------------------------------------------------------------


def test_the_base_runs_by_itself_and_its_resolved_form_knows_no_study() -> None:
    base, plain = load_text(arms('{ name = "x" }'), name="cell.toml"), load_text(CELL, name="cell.toml")
    assert base.scenario.resolved() == plain.scenario.resolved()
    assert base.overrides == []


def test_a_table_is_merged_and_a_leaf_replaces() -> None:
    merged = of_arm('mac.kind = "fdma", devices.0.radio.noise_figure_db = 3.0').scenario
    assert (merged.mac.kind, merged.mac.latency_s) == ("fdma", 0.01)
    assert [group.radio.noise_figure_db for group in merged.devices] == [3.0, 3.0]  # the second is like the first
    assert merged.devices[0].radio.tx_power_dbm == 10.0
    assert of_arm('mac = { kind = "fdma" }').scenario.mac == merged.mac
    assert of_arm('mac = "fdma"').scenario.mac.latency_s == 0.0  # a string stands for the whole table


def test_groups_are_found_by_name() -> None:
    scenario = of_arm("devices.sensors.radio.tx_power_dbm = 0.0, devices.phones.count = 5").scenario
    assert [(group.count, group.radio.tx_power_dbm) for group in scenario.devices] == [(5, 10.0), (2, 0.0)]


def test_none_takes_away_what_the_base_has() -> None:
    assert of_arm('transport.expires_s = "none"').scenario.transport.expires_s is None
    peers = of_arm('server = "none", topology = "complete", mac = "shared", algorithm.name = "dpsgd"').scenario
    assert peers.server is None
    assert peers.devices == load_text(CELL).scenario.devices


def test_another_learner_keeps_the_keys_it_shares_and_loses_the_rest() -> None:
    change = 'server = "none", topology = "complete", mac = "shared", algorithm.name = "%s"'
    chosen = of_arm(change % "dpsgd").scenario.algorithm.hyperparameters
    assert (chosen["learning_rate"], chosen["local_steps"], chosen["deadline_s"]) == (0.3, 2, 2.0)
    assert "server_weights" not in chosen
    assert "deadline_s" not in of_arm(change % "gossip").scenario.algorithm.hyperparameters


def test_a_key_that_no_learner_knows_stays_an_error() -> None:
    text = arms('{ name = "x", algorithm.name = "gossip" }').replace("server_weights", "sever_weights")
    assert '[algorithm] sever_weights = "uniform": unknown key of gossip' in refusal(text, arm="x")


def test_set_wins_over_the_arm_and_the_arm_over_the_base() -> None:
    assert of_arm("algorithm.learning_rate = 0.5").scenario.algorithm.hyperparameters["learning_rate"] == 0.5
    changed = of_arm("algorithm.learning_rate = 0.5", "algorithm.learning_rate=0.7").scenario
    assert changed.algorithm.hyperparameters["learning_rate"] == 0.7


def test_overrides_of_an_arm_give_the_same_scenario_again() -> None:
    point = Selection(None, {"devices.0.radio.tx_power_dbm": 3.5, "mac.kind": "fdma"})
    text = arms('{ name = "a \\"b\\" Ü €" , algorithm.local_steps = 7 }')
    once = load_text(text, point.overrides(), 9, arm='a "b" Ü €')
    again = load_text(once.text, once.overrides)
    assert again.scenario.resolved() == once.scenario.resolved()
    assert once.scenario.algorithm.hyperparameters["local_steps"] == 7
    assert (once.scenario.devices[1].radio.tx_power_dbm, once.scenario.mac.kind) == (3.5, "fdma")


@pytest.mark.parametrize(
    "value",
    [
        1,
        -3,
        0.1,
        1e300,
        float("inf"),
        True,
        'a"b\\c\n\t\x7f\x01é😀 # =',
        [],
        [[0.5, 1.0], [2]],
        {"a.b": {"c": [1]}},
        {},
    ],
)
def test_values_survive_as_toml(value: Any) -> None:
    assert parse(toml(value)) == value


def test_a_selection_survives_as_overrides() -> None:
    selection = Selection('it\'s # = "arm"', {"a.b": [1, "x"], "c": {"kind": "none"}})
    assert split([*selection.overrides(), "stop.rounds=3"]) == (selection, ["stop.rounds=3"])
    assert split(["study.arm=D-PSGD"])[0].arm == "D-PSGD"  # as --set takes it


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("study = {}", ["[study]: is empty", "arms, axes or seeds"]),
        ("study = { arms = [] }", ["[study]: is empty"]),
        ("study = 3", ["study = 3: has to be a table"]),
        ("study = { arm = [] }", ["[study] arm", "unknown key (arms?)"]),
        ('study = { arms = "x" }', ['[study] arms = "x": has to be an array']),
        ("study = { arms = [1] }", ["[study] arms.0 = 1: has to be a table"]),
        ("study = { arms = [{ codec = 'float16' }] }", ["[study.arms.0] name: this key is missing", "1 to 60"]),
        ("study = { arms = [{ name = 3 }] }", ["[study.arms.0] name = 3: has to be a string"]),
        ("study = { arms = [{ name = ' ' }] }", ['[study.arms.0] name = " "', "1 to 60 characters"]),
        (
            "study = { arms = [{ name = 'a' }, { name = 'a' }] }",
            ['[study.arms.1] name = "a"', "also the name of arm 0"],
        ),
        ("study = { arms = [{ name = 'a', study.seeds = [1] }] }", ["[study.arms.0] study", "no study of its own"]),
        ("study = { arms = [{ name = 'a', family = '' }] }", ['[study.arms.0] family = ""', "1 to 60 characters"]),
        ("study = { seeds = '1', picture.log = true }", ["[study.picture] log"]),
        (
            "study = { seeds = [1], picture.titles = { 'mac.kin' = 'air' }, axes = { mac.kind = ['fdma', 'tdma'] } }",
            ['"mac.kin": is no axis of the study (mac.kind?)'],
        ),
        ("study = { seeds = '5..1' }", ['[study] seeds = "5..1": is empty', '"1..5"?']),
        ("study = { seeds = '1-5' }", ['seeds = "1-5"', '"1..10"']),
        ("study = { seeds = '1..99999' }", ["more than 10000 seeds"]),
        ("study = { seeds = '1..9999999999999999999' }", ["more than 10000 seeds"]),
        ("study = { seeds = 5 }", ["seeds = 5", '"1..10"']),
        ("study = { seeds = [] }", ["seeds = []", "is empty"]),
        ("study = { seeds = [1, 2, 1] }", ["seeds = [1, 2, 1]: seed 1 is there twice"]),
        ("study = { seeds = [1, true] }", ["array of whole numbers"]),
        ("study = { seeds = [-1] }", ["seed -1", "0 to"]),
        ("study = { axes = { 'stop.rounds' = [] } }", ['axes "stop.rounds" = []: is empty']),
        ("study = { axes = { stop.rounds = 3 } }", ['axes "stop.rounds" = 3: has to be an array']),
        ("study = { axes = { stop.rounds = [1, 2, 1] } }", ['axes "stop.rounds": 1 is there twice']),
        ("study = { axes = { scenario.seed = [1, 2] } }", ['axes "scenario.seed": every arm runs', "[study] seeds"]),
        ("study = { axes = { scenario = [{ seed = 1 }] } }", ['axes "scenario": every arm runs', "[study] seeds"]),
        ("study = { arms = [{ name = 'a', scenario.seed = 3 }] }", ["[study.arms.0.scenario] seed: every arm runs"]),
        ("study = { axes = { study.seeds = [1] } }", ['axes "study.seeds": a study has no studies']),
        (
            "study = { arms = [{ name = 'a', mac.kind = 'tdma' }], axes = { mac.kind = ['fdma'] } }",
            ['axes "mac.kind": arm "a" sets this key too'],
        ),
        ("study = { axes = { a = [1.0, inf] } }", ['axes "a" = inf: has to be finite', '"none"']),
        ("study = { axes = { a = [[2024-02-29]] } }", ['axes "a": no key takes dates']),
    ],
)
def test_a_wrong_study_is_one_line_that_names_file_key_and_remedy(study: str, words: list[str]) -> None:
    message = refusal(study + CELL)
    assert message.startswith(("cell.toml [study", "cell.toml study =")), message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('algoritm.name = "dpsgd"', ["unknown key algoritm (algorithm?)"]),
        ('algorithm.name = "dpsdg"', ['[algorithm] name = "dpsdg": unknown algorithm (dpsgd?)']),
        ("algorithm.learning_rat = 1.0", ["[algorithm] learning_rat = 1: unknown key of fedavg (learning_rate?)"]),
        ("channel.carrier_hz = 2.4", ["[channel] carrier_hz = 2.4", "2.4e9?"]),
        ("devices.walkers.count = 3", ["devices has no entry walkers", "phones, sensors"]),
        ("stop.simulated_s.x = 3", ["stop.simulated_s is a value, not a table"]),
        ('server = "none"', ["[topology] kind", "needs a [server]"]),
        ('algorithm.name = "dpsgd"', ["never uses the [server]", 'server = "none"']),
    ],
)
def test_a_wrong_arm_is_named(change: str, words: list[str]) -> None:
    message = refusal(arms(f'{{ name = "my arm", {change} }}'), arm="my arm")
    assert message.startswith('cell.toml arm "my arm"'), message
    assert all(word in message for word in words), message


def test_an_unknown_arm_is_answered_with_those_that_exist() -> None:
    assert 'unknown arm "FedAv" (FedAvg?), known: "FedAvg", "gossip"' in refusal(
        arms('{ name = "FedAvg" }', '{ name = "gossip" }'), arm="FedAv"
    )
    assert "no [study] with arms" in refusal(CELL, arm="x")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("study.arms.0.name=y", "--arm"),
        ("study.axes=3", "--arm"),
        ("study.point=3", "study.point={"),
        ("study.arm=y", 'unknown arm "y"'),
        ('study.point={ "phy.duplx" = "fdd" }', '[study] axes "phy.duplx": unknown key duplx in [phy] (duplex?)'),
        ('study.point={ "mac.knd" = "fdma" }', '(mac.knd = "fdma") [mac] knd = "fdma": unknown key of tdma (kind?)'),
    ],
)
def test_overrides_of_a_study_are_refused_where_they_make_no_sense(override: str, words: str) -> None:
    assert words in refusal(arms('{ name = "x" }'), override)


def test_seeds_may_be_set_even_where_the_file_has_no_study() -> None:
    assert load_text(CELL, ["study.seeds=1..4"]).scenario.study.seeds == "1..4"  # type: ignore[union-attr]
    assert 'seeds = "4..1": is empty' in refusal(CELL, "study.seeds=4..1")
    assert load_text(arms('{ name = "x" }'), ["study.seeds=[7]"], arm="x").scenario.study is None


@pytest.mark.parametrize("axis", ["devices.0.count", "devices.phones.count", "devices.phones", "devices.0"])
@pytest.mark.parametrize(
    "arm",
    [
        {"devices": {"phones": {"count": 3}}},
        {"devices": {"0": {"count": 3}}},
        {"devices": [{"name": "phones", "count": 3}]},
    ],
)
def test_an_axis_that_undoes_what_an_arm_sets_is_found_under_any_name(axis: str, arm: dict[str, Any]) -> None:
    table = {"arms": [{"name": "a", **arm}], "axes": {axis: [1, 2]}}
    with pytest.raises(ScenarioError, match=rf'axes "{axis}": arm "a" sets this key too'):
        definition(table, "x", ["phones", None])
    for other in ("devices.1.count", "devices.0.radio", "devices.tablets.count"):
        definition({**table, "axes": {other: [1, 2]}}, "x", ["phones", None])


def test_the_names_of_groups_are_those_of_the_file() -> None:
    text = arms('{ name = "a", devices.phones.count = 3 }', axes='{ "devices.0.count" = [2, 4] }')
    assert 'axes "devices.0.count": arm "a" sets this key too' in refusal(text)


@pytest.mark.parametrize("other", ["devices.phones.count", "devices.phones"])
def test_two_axes_over_one_key_are_refused(other: str) -> None:
    with pytest.raises(ScenarioError, match=r'axes ".*": the axis ".*" sets this too'):
        definition({"axes": {"devices.0.count": [1, 2], other: [3, 4]}}, "x", ["phones"])
    definition({"axes": {"devices.0.count": [1, 2], "devices.0.radio": [3, 4]}}, "x", ["phones"])


def test_axes_need_no_quotes() -> None:
    quoted = definition({"axes": {"devices.0.count": [1, 2], "mac.kind": ["fdma"]}}, "x")
    assert quoted == definition({"axes": {"devices": {"0": {"count": [1, 2]}}, "mac": {"kind": ["fdma"]}}}, "x")
    assert quoted.axes == {"devices.0.count": [1, 2], "mac.kind": ["fdma"]}


def test_seeds_are_ranges_with_both_ends_or_lists() -> None:
    assert definition({"seeds": "3..5"}, "x").seeds == (3, 4, 5)
    assert definition({"seeds": [5, 1, 2]}, "x").seeds == (5, 1, 2)
    assert definition({"arms": [{"name": "a"}]}, "x").seeds is None
