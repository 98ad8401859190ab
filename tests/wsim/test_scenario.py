"""Scenario files: what is refused, in which words, and that damage never gives anything but one clear line."""

import contextlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsim.errors import ScenarioError, one_line
from wsim.scenario import Loaded, load, load_text
from wsim.scenario.losses import loses_for_good
from wsim.scenario.quantities import Quantity, number, ranges

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@dataclass(frozen=True)
class Peers:
    """A synchronous learner between devices, so that these tests need no torch."""

    task: Any
    codec: Any
    num_rounds: int | None
    learning_rate: float = 0.1
    local_steps: int | None = None
    exchange: str = "unicast"
    deadline_s: float | None = None
    clients_per_round: int | None = None
    mixing_weights: str = "metropolis"

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = True
    value_dependent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate = {self.learning_rate!r}: a positive finite number")


@dataclass(frozen=True)
class Cell(Peers):
    """The same with a server."""

    uses_server: ClassVar[bool] = True


RING = """
stop = { rounds = 5 }
area = { shape = "disc", radius_m = 100.0 }
topology = { kind = "ring" }
mac = { kind = "ideal" }
channel = { carrier_hz = 2.4e9, bandwidth_hz = 1e6 }
algorithm = { name = "peers" }
[[devices]]
name = "first"
count = 4
compute = { effective_flops = 1e8, spread = "lognormal" }
radio = { tx_power_dbm = 10.0 }
[[devices]]
name = "second"
like = "first"
count = 2
radio = { noise_figure_db = 9.0 }
"""
STAR = RING.replace('"ring"', '"star"').replace('"ideal"', '"fdma"') + "[server]\nradio = { tx_power_dbm = 44.0 }\n"


def loaded(*overrides: str, text: str = RING, learner: type = Peers, **options: Any) -> Loaded:
    return load_text(text, overrides, name="ring.toml", learner=learner, **options)


def refusal(*overrides: str, text: str = RING, learner: type = Peers, **options: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        loaded(*overrides, text=text, learner=learner, **options)
    message = str(caught.value)
    assert message == one_line(message)
    return message


# -- what is read -----------------------------------------------------------------------------------------------------


def test_defaults_are_filled_in_and_everything_is_frozen() -> None:
    scenario = loaded().scenario
    assert (scenario.scenario.name, scenario.scenario.seed) == ("ring", 1)
    assert (scenario.transport.mtu_bytes, scenario.phy.overhead, scenario.dtype) == (1500, 0.25, "float32")
    assert scenario.algorithm.hyperparameters["learning_rate"] == 0.1
    with pytest.raises(ValueError, match="frozen"):
        scenario.stop.rounds = 7  # type: ignore[misc]


def test_resolved_scenario_is_json_and_complete() -> None:
    resolved = json.loads(json.dumps(loaded().scenario.resolved(), allow_nan=False))
    assert resolved["devices"][1]["radio"]["antenna_gain_dbi"] == 0.0
    assert resolved["algorithm"]["mixing_weights"] == "metropolis"


def test_like_copies_a_group_table_by_table() -> None:
    first, second = loaded().scenario.devices
    assert (second.count, second.radio.tx_power_dbm, second.radio.noise_figure_db) == (2, 10.0, 9.0)
    assert second.compute == first.compute


def test_like_with_another_kind_replaces_the_whole_table() -> None:
    walking = RING.replace("count = 4", 'count = 4\nmobility = { kind = "random_waypoint", speed_mps = [1.0, 2.0] }')
    standing = walking.replace("count = 2", 'count = 2\nmobility = { kind = "static" }')
    assert loaded(text=walking).scenario.devices[1].mobility.own["speed_mps"] == (1.0, 2.0)
    assert loaded(text=standing).scenario.devices[1].mobility.own == {}


def test_a_string_stands_for_a_table_with_that_kind() -> None:
    channel = loaded("channel.fading=rayleigh", "channel.shadowing={sigma_db=4, correlation_m=10}").scenario.channel
    assert (channel.fading.kind, channel.shadowing.kind) == ("rayleigh", "lognormal")


def test_seeds_default_to_the_scenario_seed() -> None:
    scenario = loaded("seeds.data=7", seed=3).scenario
    assert [scenario.seed_of(part) for part in ("data", "radio", "learner")] == [7, 3, 3]  # type: ignore[arg-type]


def test_text_and_overrides_give_the_same_scenario_again() -> None:
    once = loaded("stop.rounds=9", seed=4)
    again = load_text(once.text, once.overrides, name="other.toml", learner=Peers)
    assert again.scenario.stop == once.scenario.stop
    assert again.scenario.scenario.seed == 4


def test_a_file_gives_its_own_directory_to_the_names_inside(tmp_path: Path) -> None:
    (tmp_path / "graph.txt").write_text("# a square with a tail\n0 1\n1 2, \n2 3\n3 4\n4 5\n")
    path = tmp_path / "here.toml"
    path.write_text(RING.replace('{ kind = "ring" }', '{ kind = "file", file = "graph.txt" }'))
    found = load(path, learner=Peers)
    assert list(found.files) == ["graph.txt"]
    assert found.scenario.scenario.name == "here"
    kept = load_text(found.text, learner=Peers, referenced=found.files)  # as from a result file, elsewhere
    assert kept.files == found.files


@pytest.mark.parametrize("name", sorted(path.name for path in SCENARIOS.glob("*.toml")))
def test_shipped_scenarios_load_and_open_with_a_comment(name: str) -> None:
    text = (SCENARIOS / name).read_text()
    assert text.startswith("# ")
    assert load(SCENARIOS / name).scenario.scenario.name == Path(name).stem


# -- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_reach_tables_groups_and_missing_tables() -> None:
    scenario = loaded(
        "devices.0.count=5",
        "devices.second.radio.rx_antennas=2",
        "phy.rate=fixed",
        "phy.fixed_efficiency_bps_hz=1",
        "algorithm.deadline_s=1",
    ).scenario
    assert [group.count for group in scenario.devices] == [5, 2]
    assert scenario.devices[1].radio.rx_antennas == 2
    assert scenario.phy.fixed_efficiency_bps_hz == 1.0


def test_an_override_of_a_group_reaches_the_groups_like_it() -> None:
    assert loaded("devices.first.radio.tx_power_dbm=3").scenario.devices[1].radio.tx_power_dbm == 3.0


def test_an_override_may_enter_a_table_written_as_a_string() -> None:
    text = RING.replace("bandwidth_hz = 1e6", 'bandwidth_hz = 1e6, fading = "rayleigh"')
    fading = loaded("channel.fading.block_s=0.5", text=text).scenario.channel.fading
    assert (fading.kind, fading.block_s) == ("rayleigh", 0.5)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stop.ronds=3", ["stop.ronds=3", "(rounds?)"]),
        ("chanel.carrier_hz=3e9", ["(channel?)"]),
        ("devices.frist.count=3", ["frist", "(first?)", "0 to 1, first, second"]),
        ("devices.7.count=3", ["no entry 7", "0 to 1"]),
        ("devices.first.radio.power=3", ["power", "[devices.first.radio]", "known: antenna_gain_dbi"]),
        ("topology.kind.x=3", ["topology.kind is a value"]),
        ("stop.rounds", ["path.to.key=value"]),
        ("=3", ["path.to.key=value"]),
        ("stop..rounds=3", ["path.to.key=value"]),
        ("stop.rounds=many", ["--set stop.rounds=many", '"many"', "whole number"]),
        ("stop.rounds=__import__('os').getpid()", ["whole number"]),
        ("devices.first.count=-2", ["--set", "[devices.0] count = -2", "1 to 1e6"]),
    ],
)
def test_an_override_that_leads_nowhere_says_so(override: str, words: list[str]) -> None:
    message = refusal(override)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("evaluation.subjects=['device', 'divice']", '[evaluation] subjects.1 = "divice"'),
        ("evaluation.data=['own_test']", '[evaluation] data.0 = "own_test"'),
        ("evaluation.targets.accuracy=[0.5, 0.4]", "[evaluation.targets] accuracy.1 = 0.4"),
        ("evaluation={ targets = { accuracy = [0.5, 0.4] } }", "[evaluation.targets] accuracy.1 = 0.4"),
        ("model.variants=[{ name = 'mlp', hidden = [-1] }]", "[model.variants.0] hidden"),
        ("devices.first.position={ ring_m = [-1.0, 5.0] }", "[devices.0.position] ring_m.0 = -1"),
    ],
)
def test_what_is_wrong_inside_an_override_is_blamed_on_it(override: str, key: str) -> None:
    message = refusal(override)
    assert message.startswith(f"--set {override}: ring.toml {key}"), message


def test_what_is_wrong_beside_an_override_is_not_blamed_on_it() -> None:
    assert refusal("evaluation.subjects=['device']", "evaluation.over_devices=['std']").startswith(
        "--set evaluation.over"
    )
    assert refusal("stop.rounds=3", text=RING.replace("2.4e9", "3.5")).startswith("ring.toml [channel]")


def test_an_override_cannot_smuggle_in_other_tables() -> None:
    assert "whole number" in refusal("stop.rounds=1\n[channel]")


# -- what is refused, in which words ----------------------------------------------------------------------------------


def test_the_carrier_of_3_5_hz() -> None:
    expected = "ring.toml [channel] carrier_hz = 3.5: carrier frequencies are in Hz, 1e6 to 3e11 (3.5e9?)"
    assert refusal(text=RING.replace("2.4e9", "3.5")) == expected


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("carrier_hz", "carier_hz", ["[channel] carier_hz = 2.4e9", "unknown key (carrier_hz?)"]),
        ("topology =", "topolgy =", ["[topolgy]", "unknown table (topology?)"]),
        ('area = { shape = "disc", radius_m = 100.0 }', "", ["[area]", "missing"]),
        ("carrier_hz = 2.4e9, ", "", ["[channel] carrier_hz", "missing", "in Hz"]),
        ("2.4e9", '"2.4 GHz"', ['carrier_hz = "2.4 GHz"', "has to be a number"]),
        ("2.4e9", "nan", ["carrier_hz = nan", "finite"]),
        ("2.4e9", "inf", ["carrier_hz = inf", "finite"]),
        ("count = 4", "count = -4", ["[devices.0] count = -4", "1 to 1e6"]),
        ("count = 4", "count = 4.5", ["count = 4.5", "whole number"]),
        ("count = 4", "count = true", ["count = true", "whole number"]),
        ("1e6 }", "20 }", ["bandwidth_hz = 20", "in Hz", "(2e7?)"]),
        ("10.0 }", "2000.0 }", ["tx_power_dbm = 2000", "in dBm", "(33.0103?)"]),
        ("100.0 }", "-1.0 }", ["radius_m = -1", "in m"]),
        ("1e8", "0.1", ["effective_flops = 0.1", "FLOP/s"]),
        ('"ring"', '"rings"', ['kind = "rings"', "(ring?)"]),
        ("rounds = 5", "rounds = -1", ["[stop] rounds = -1", "1 to 1e9"]),
        ("{ rounds = 5 }", "{}", ["[stop]", "simulated_s"]),
        ('like = "first"', 'like = "frist"', ['like = "frist"', "(first?)"]),
        ('like = "first"', "like = 1", ["like = 1", "earlier"]),
        ('name = "second"', 'name = "first"', ['name = "first"', "group 0"]),
        ("count = 4", "count = 4\nposition = { ring_m = [10, 500] }", ["ring_m = [10, 500]", "100 m"]),
        ("count = 4", "count = 4\nposition = { ring_m = [50, 10] }", ["lowest first"]),
        ("count = 4", "count = 4\npositions_m = [[0, 0]]", ["count = 4", "1 places"]),
        ("count = 4", "count = 4\nmobility = { kind = 'random_waypoint' }", ["[devices.0.mobility] speed_mps", "m/s"]),
        ("count = 4", "count = 4\nmobility = { kind = 'trace', file = 'no.csv' }", ["no.csv", "no such file"]),
        ("count = 4", "count = 4\nmobility = { kind = 'trace' }", ["[devices.0.mobility] file", "missing"]),
        (
            "count = 4",
            "count = 4\nmobility = { kind = 'random_waypoint', speed_mps = [0, 2] }",
            ["[devices.0.mobility] speed_mps = [0, 2]", "above 0, or [0, 0]"],
        ),
        (
            "count = 4",
            "count = 4\nmobility = { kind = 'manhattan', speed_mps = [9.0, 15.0], block_m = 7.0 }",
            ["[devices.0.mobility] kind", '[area] shape = "square"'],
        ),
        (
            "count = 4",
            "count = 4\nposition = { ring_m = [10, 50] }\nmobility = { kind = 'random_waypoint', speed_mps = [1, 2] }",
            ["[devices.0] position", "leave this out"],
        ),
        ('{ kind = "ring" }', '{ kind = "random_regular", degree = 6 }', ["degree = 6", "less than the 6 devices"]),
        ('{ kind = "ring" }', '{ kind = "random_regular" }', ["degree", "missing"]),
        ('{ kind = "ring" }', '{ kind = "torus" }', ['kind = "torus"', "9 devices"]),
        ('{ kind = "ring" }', '{ kind = "star" }', ['kind = "star"', "[server]"]),
        ('"ideal"', '"fdma"', ['[mac] kind = "fdma"', "[server]"]),
        ("1e6 }", '1e6, path_loss = "tr38901_umi" }', ["path_loss", "base-station"]),
        ("1e6 }", '1e6, path_loss = "log_distance" }', ["[channel.path_loss] exponent", "missing"]),
        ("1e6 }", '1e6, fading = "rician" }', ["[channel.fading] k_db", "missing"]),
        ("1e6 }", '1e6, fading = "nakagami" }', ["[channel.fading] m", "missing", "0.5 to 1000"]),
        ("1e6 }", '1e6, fading = { kind = "nakagami", m = 0.2 } }', ["[channel.fading] m = 0.2", "0.5 to 1000"]),
        ("1e6 }", '1e6, fading = "raleigh" }', ["[channel.fading] kind", "rayleigh?"]),
        (
            "1e6 }",
            '1e6, fading = { kind = "rayleigh", correlation = "jakes" } }',
            ["correlation", "doppler", "ergodic"],
        ),
        (
            "1e6 }",
            '1e6, fading = { kind = "rayleigh", k = 3.0 } }',
            ["[channel.fading] k = 3", "unknown key of rayleigh"],
        ),
        (
            "1e6 }",
            "1e6, forced_loss = { rate = 0.9, mean_burst_packets = 2.0 } }",
            ["mean_burst_packets = 2", "at least 9"],
        ),
        ("1e6 }", "1e6, forced_loss = { rate = 1.0 } }", ["rate = 1", "below 1"]),
        ("[[devices]]", "[data]\npartition = 'dirichlet'\n[[devices]]", ["[data] alpha", "missing"]),
        ("[[devices]]", "[data]\ntest_fraction = 1.5\n[[devices]]", ["test_fraction = 1.5", "below 1"]),
        ("[[devices]]", "[evaluation]\ntargets = { accuracy = [0.5, 1.2] }\n[[devices]]", ["accuracy.1 = 1.2"]),
        ("[[devices]]", "[evaluation]\nevery_s = 1\nevery_rounds = 1\n[[devices]]", ["[evaluation]", "not both"]),
        ("[[devices]]", "[transport]\nheader_bytes = 1500\n[[devices]]", ["[transport]", "mtu_bytes"]),
        ("[[devices]]", "[scenario]\nname = '../up'\n[[devices]]", ['name = "../up"', "letters"]),
        ("[[devices]]", "[phy]\ntdd_pattern = 'DDXU'\n[[devices]]", ['tdd_pattern = "DDXU"', "D, S and U"]),
        ('name = "peers"', 'name = "peers", learning_rate = -1', ["[algorithm] learning_rate = -1", "positive"]),
        ('name = "peers"', 'name = "peers", lerning_rate = 1', ["lerning_rate = 1", "(learning_rate?)"]),
        ('name = "peers"', 'name = "peers", local_steps = 1.5', ["local_steps = 1.5", "whole number"]),
        ('name = "peers"', 'name = "peers", clients_per_round = 7', ["clients_per_round = 7", "6 devices"]),
        ('name = "peers"', 'name = "peers", num_rounds = 7', ["num_rounds = 7", "stop.rounds"]),
        ("stop =", "stop = = 1 #", ["ring.toml line 2, column 8", "not valid TOML"]),
    ],
)
def test_what_is_wrong_is_named_with_key_value_and_remedy(old: str, new: str, words: list[str]) -> None:
    assert old in RING
    message = refusal(text=RING.replace(old, new, 1))
    assert all(word in message for word in ["ring.toml", *words]), message


def test_a_ring_of_two_is_refused() -> None:
    assert "at least 3 devices, there are 2" in refusal(
        text=RING.replace("count = 4", "count = 1").replace("= 2\n", "= 1\n")
    )


def test_a_file_without_groups_is_refused() -> None:
    assert "at least 1" in refusal(text="devices = []\n" + RING.partition("[[devices]]")[0])
    assert "devices" in refusal(text=RING.partition("[[devices]]")[0])


def test_an_empty_file_is_refused() -> None:
    assert "missing" in refusal(text="")


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "quickstart.toml").write_text(RING)
    with pytest.raises(ScenarioError, match=r"quikstart\.toml: no such file \(quickstart\.toml\?\)"):
        load(tmp_path / "quikstart.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.toml"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        load(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        load(tmp_path)


def test_an_unknown_algorithm_names_the_nearest_registered_one() -> None:
    with pytest.raises(ScenarioError, match=r'\[algorithm\] name = "dpsdg": unknown algorithm \(dpsgd\?\)'):
        load_text(RING.replace('"peers"', '"dpsdg"'))


@pytest.mark.parametrize(
    ("overrides", "learner", "words"),
    [
        ((), Peers, ["[algorithm] name", "never uses the [server]"]),
        (("topology.kind=ring",), Cell, ['kind = "ring"', "never reaches the [server]"]),
        (("mac.kind=shared",), Cell, ['kind = "shared"', "fdma"]),
        (("channel.shadowing=tr38901_umi",), Cell, ["shadowing", "tr38901_umi"]),
        (("phy.duplex=tdd", "phy.tdd_pattern=DDD"), Cell, ['tdd_pattern = "DDD"', "one U"]),
    ],
)
def test_a_cell_is_checked_across_tables(overrides: tuple[str, ...], learner: type, words: list[str]) -> None:
    message = refusal(*overrides, text=STAR, learner=learner)
    assert all(word in message for word in words), message


def test_a_learner_with_a_server_needs_one() -> None:
    assert "needs a server" in refusal(learner=Cell)


def test_mixing_weights_stand_in_one_place() -> None:
    both = refusal("topology.mixing_weights=uniform", "algorithm.mixing_weights=metropolis")
    assert "mixing_weights" in both
    chosen = loaded("topology.mixing_weights=uniform").scenario.algorithm.hyperparameters
    assert chosen["mixing_weights"] == "uniform"


def test_a_graph_in_pieces_is_refused() -> None:
    graph = {"g.txt": "0 1\n1 2\n3 4\n4 5\n"}
    message = refusal("topology={kind='file', file='g.txt'}", referenced=graph)
    assert "device 3 has no path to device 0" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1\n1 x\n", "line 2"),
        ("0 1\n0 6\n", "devices are 0 to 5"),
        ("1 1\n", "itself"),
        ("0 1 2\n", "two device numbers"),
    ],
)
def test_a_damaged_graph_file_names_its_line(text: str, words: str) -> None:
    assert words in refusal("topology={kind='file', file='g.txt'}", referenced={"g.txt": text})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0, 0, 1, 1\n0, 0, 2, 2\n", "increase"),
        ("0, 0, 1, nan\n", "finite"),
        ("9, 0, 1, 1\n", "node 9"),
        ("0, 0, 1, 1\n", "node 1 has no point"),
        ("0 0 one 1\n", "line 1"),
    ],
)
def test_a_damaged_trace_names_its_line(text: str, words: str) -> None:
    assert words in refusal("devices.0.mobility={kind='trace', file='t.csv'}", referenced={"t.csv": text})


# -- a synchronous protocol without a deadline over lossy links -------------------------------------------------------

BROADCAST = ("algorithm.exchange=broadcast", "mac.broadcast_reach=1.0")


@pytest.mark.parametrize(
    "overrides",
    [
        ("transport.expires_s=1.0",),
        ("channel.forced_loss={unit='message', rate=0.1}",),
        ("channel.forced_loss.rate=0.1", "transport.reliability=none"),
        ("channel.fading=rayleigh", "transport.reliability=none", "phy.rate=fixed", "phy.fixed_efficiency_bps_hz=1"),
        (*BROADCAST, "channel.fading=rayleigh"),
        (*BROADCAST, "channel.forced_loss.rate=0.1"),
        (*BROADCAST, "channel.fading=rayleigh", "transport.reliability=nack"),  # who got nothing cannot complain
        ("channel.forced_loss.rate=0.3", "transport.max_attempts=1"),
        ("topology={kind='radio', discovery='beacon'}",),  # one knows the other, who does not know it
        ("channel.forced_loss.rate=0.9",),  # 100 attempts: 3e-5 of the packets
        ("channel.forced_loss.rate=0.5", "transport.max_attempts=19"),
        ("channel.fading=rayleigh", "phy.rate=fixed", "phy.fixed_efficiency_bps_hz=1"),
        ("phy.rate=fixed", "phy.fixed_efficiency_bps_hz=1"),  # who cannot decode it never will
        ("algorithm.exchange=broadcast",),
        ("algorithm.exchange=broadcast", "transport.reliability=arq"),  # a tenth does not decode it, ever
        ("algorithm.exchange=broadcast", "mac.broadcast_rate_bps=1e6", "transport.reliability=arq"),
        (*BROADCAST, "channel.fading=rayleigh", "transport.reliability=arq"),  # a fade may outlast all attempts
        (
            *BROADCAST,
            "devices.0.mobility={kind='random_waypoint', speed_mps=[1.0, 1.0]}",
            "transport.reliability=fountain",
        ),
    ],
)
def test_waiting_for_ever_is_refused_without_a_deadline(overrides: tuple[str, ...]) -> None:
    message = refusal(*overrides)
    assert "[algorithm] deadline_s" in message
    assert "waits for every message" in message
    assert loaded(*overrides, "algorithm.deadline_s=2").scenario.algorithm.hyperparameters["deadline_s"] == 2.0


@pytest.mark.parametrize(
    "overrides",
    [
        ("channel.fading=rayleigh",),  # unicast: the rate adapts
        ("channel.forced_loss.rate=0.1",),  # unicast: repeated
        ("channel.forced_loss.rate=0.5", "transport.max_attempts=20"),  # one packet in a million
        BROADCAST,  # nothing to lose
        ("topology.kind=radio",),
        (*BROADCAST, "mac.kind=shared"),  # half duplex is ordered, without loss
        (*BROADCAST, "channel.forced_loss.rate=0.1", "transport.reliability=arq"),
        (*BROADCAST, "channel.fading={kind='rayleigh', correlation='ergodic'}"),  # rates are means: no fade
    ],
)
def test_lossless_links_need_no_deadline(overrides: tuple[str, ...]) -> None:
    broadcast = "algorithm.exchange=broadcast" in overrides
    assert loses_for_good(loaded(*overrides).scenario, broadcast=broadcast) is None


# -- magnitudes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "quantity"), list(ranges()), ids=lambda item: item if isinstance(item, str) else "")
def test_a_quantity_contains_exactly_its_range_and_guesses_inside_it(name: str, quantity: Any) -> None:
    assert quantity.contains(quantity.low) == (not quantity.above)
    assert quantity.contains(quantity.high) == (not quantity.below)
    assert not quantity.contains(quantity.high + max(1.0, abs(quantity.high)))
    assert not quantity.contains(quantity.low - 1)
    if quantity.typical:
        assert all(quantity.contains(edge) for edge in quantity.typical)
        for value in (quantity.typical[0] / 1e6, quantity.typical[1] * 1e6):
            guess = quantity.guess(value)
            assert guess is None or quantity.contains(float(guess))


def test_of_a_negative_number_only_the_sign_is_doubted() -> None:
    assert Quantity(0.0, 1e12, "energies are in J", typical=(100.0, 1e6), above=True).guess(-5.0) == "5"
    assert Quantity(0.0, 1e3, "energies are in J", typical=(100.0, 900.0), above=True).guess(-2e5) == "200"


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.5, "3.5"), (3.5e9, "3.5e9"), (20, "20"), (1e6, "1e6"), (0.3, "0.3"), (1e-9, "1e-9"), (0.0, "0")],
)
def test_numbers_are_shown_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text


# -- damage -----------------------------------------------------------------------------------------------------------

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just(10**400),
    st.lists(st.one_of(st.floats(), st.integers(), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.sampled_from(["kind", "name", "count", "like", "x"]), st.integers(-2, 5), max_size=2),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in ((*path, key), *paths(item, (*path, key)))]


def toml(value: Any) -> str:
    """A value in TOML notation."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=True) if isinstance(value, str) else repr(value)


@st.composite
def damaged(draw: st.DrawFn, texts: tuple[str, ...] = (RING, STAR)) -> str:
    """A scenario with one to three values replaced or removed, keys misspelt, or its text cut and stirred."""
    base = draw(st.sampled_from(texts))
    if draw(st.integers(0, 3)) == 0:
        cut = draw(st.integers(0, len(base)))
        return base[:cut] + draw(st.text(max_size=6)) + base[cut + draw(st.integers(0, 6)) :]
    document = tomllib.loads(base)
    for _ in range(draw(st.integers(1, 3))):
        places = paths(document)
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        holder: Any = document
        for key in above:
            holder = holder[key]
        damage = draw(st.sampled_from(["replace", "remove", "rename"]))
        if damage == "replace":
            holder[last] = draw(ODD.filter(lambda item: item is not None))
        elif damage == "remove":
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(st.text(min_size=1, max_size=8))] = holder.pop(last)
    return "\n".join(f"{json.dumps(key)} = {toml(item)}" for key, item in document.items())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(text=damaged(), cell=st.booleans())
def test_damage_gives_one_line_or_a_valid_scenario(text: str, cell: bool) -> None:
    try:
        scenario = load_text(text, name="damaged.toml", learner=Cell if cell else Peers).scenario
    except ScenarioError as error:
        message = str(error)
        assert message == one_line(message)
        assert "damaged.toml" in message
    else:
        json.dumps(scenario.resolved(), allow_nan=False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    path=st.lists(
        st.sampled_from(["devices", "0", "first", "radio", "stop", "rounds", "x", "", "topology"]), max_size=4
    ),
    value=st.one_of(ODD.map(str), st.text(max_size=12)),
)
def test_any_override_gives_one_line_or_a_valid_scenario(path: list[str], value: str) -> None:
    with contextlib.suppress(ScenarioError):
        loaded(f"{'.'.join(path)}={value}")
