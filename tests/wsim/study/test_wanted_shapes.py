"""Three studies that users asked for, in the shape in which they would write them: keys on one line, dotted keys of arms, axes
of arrays and of deadlines. Where they want a radio, model or learner that is not built yet, a built one stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsim.errors import ScenarioError
from wsim.scenario import load
from wsim.study.plan import Plan, plan

SEMANTIC = """
scenario  = { name = "quantiser_loss", seed = 1 }
seeds     = { data = 7 }
stop      = { simulated_s = 180.0 }
area      = { shape = "disc", radius_m = 60.0 }
transport = { mtu_bytes = 1500, header_bytes = 44, reliability = "none", partial = "use", expires_s = 1.0 }
codec     = { name = "float32", scale_per = "packet" }
topology  = { kind = "radio", neighbor_mean_snr_db = 8.0, hysteresis_db = 3.0, discovery = "genie" }
data      = { name = "digits", partition = "iid", test_fraction = 0.2, centered = true }
model     = { name = "bias_mlp", feature_dim = 32, variants = [{ name = "bias_mlp" }, { name = "bias_mlp", hidden = [256] }] }
algorithm = { name = "semantic_mcr2", matrix = "triangle", projection = "psd_trace1", local_steps = 5, exchange = "broadcast", deadline_s = 1.0 }
[[devices]]
count     = 10
mobility  = { kind = "static" }
compute   = { effective_flops = 2.0e8, jitter = "lognormal", jitter_sigma_ln = 0.2, active_w = 1.2 }
radio     = { tx_power_dbm = 15.0, antenna_gain_dbi = 0.0, noise_figure_db = 7.0 }
energy    = { tx_w = 1.14, rx_w = 0.94, listen_w = 0.82 }
[channel]
carrier_hz   = 5.18e9
bandwidth_hz = 20.0e6
path_loss    = "tr36843_d2d"
shadowing    = { sigma_db = 7.0, correlation_m = 25.0 }
fading       = { kind = "rayleigh", correlation = "doppler", environment_speed_mps = 0.5 }
forced_loss  = { unit = "packet", rate = 0.20, mean_burst_packets = 5.0 }
[mac]
kind = "shared"
broadcast_rate_bps = 6.0e6
[evaluation]
every_s = 2.0
metrics = ["cross_subspace_accuracy", "own_subspace_accuracy", "consensus_gap"]
inference = "cross_subspace_accuracy"
over_devices = ["mean", "worst", "p10"]
targets = { accuracy = [0.80, 0.85] }
[study]
seeds = "1..20"
axes  = { "channel.forced_loss.rate" = [0.0, 0.1, 0.2, 0.3], "channel.forced_loss.mean_burst_packets" = [1.0, 5.0] }
arms  = [{ name = "fp32" }, { name = "fp16", codec.name = "float16" }, { name = "int4", codec.name = "int4_affine" },
         { name = "3 bit", codec = { name = "uniform", bits = 3 } }, { name = "qsgd4 Elias", codec = { name = "qsgd", levels = 7, code = "elias" } },
         { name = "int8 all or nothing", codec.name = "int8_affine", transport.partial = "drop" },
         { name = "fp32 ARQ", transport.reliability = "arq" },
         { name = "int8 fountain", codec.name = "int8_affine", transport.reliability = "fountain" }]
"""

CELL = """
scenario = { name = "cell_with_an_edge", seed = 1 }
seeds    = { data = 7 }
stop     = { simulated_s = 7200.0 }
area     = { shape = "disc", radius_m = 250.0, min_distance_m = 10.0 }
data     = { name = "cifar10", partition = "classes_per_device", classes = 2, samples_per_device = 400, local_test_fraction = 0.2 }
model    = { name = "small_cnn" }
codec    = { name = "float32" }
[server]
position_m = [0.0, 0.0, 10.0]
radio   = { tx_power_dbm = 44.0, antenna_gain_dbi = 8.0, rx_antennas = 2, noise_figure_db = 5.0 }
energy  = "not counted"
[[devices]]
name     = "centre"
count    = 24
position = { ring_m = [10.0, 200.0], height_m = 1.5 }
compute  = { effective_flops = 1.0e10, jitter = "lognormal", jitter_sigma_ln = 0.3, active_w = 2.0 }
radio    = { tx_power_dbm = 23.0, antenna_gain_dbi = 0.0, noise_figure_db = 9.0 }
energy   = { pa_efficiency = 0.35, tx_circuit_w = 0.10, rx_w = 0.80, idle_w = 0.05 }
[[devices]]
name     = "edge"
like     = "centre"
count    = 6
position = { ring_m = [200.0, 250.0], height_m = 1.5 }
compute  = { effective_flops = 2.5e9, jitter = "lognormal", jitter_sigma_ln = 0.3, active_w = 2.0 }
[channel]
carrier_hz   = 3.5e9
bandwidth_hz = 20.0e6
path_loss    = "tr38901_umi"
los          = "field"
shadowing    = "tr38901_umi"
fading       = { kind = "rayleigh", correlation = "doppler", both_ends_move = false }
[phy]
duplex       = "tdd"
tdd_pattern  = "DDDSU"
special_slot_symbols = [10, 2, 2]
[mac]
kind = "fdma"
[transport]
mtu_bytes = 1500
header_bytes = 44
[algorithm]
name = "fedavg"
local_epochs = 2
batch_size = 64
learning_rate = 0.01
clients_per_round = 30
deadline_s = 60.0
server_weights = "samples"
[evaluation]
every_s  = 30.0
subjects = ["device"]
data     = ["own_test"]
model_time = "method_default"
inference = "method_default"
over_devices = ["mean", "worst", "p10"]
by_group = true
targets  = { accuracy = [0.75, 0.80, 0.85], over_devices = "mean", sustained_evaluations = 3 }
[study]
seeds = "1..10"
arms = [
  { name = "FedAvg" }, { name = "FedAvg int8", codec.name = "int8_affine" },
  { name = "FedProto", algorithm.name = "fedproto", algorithm.prototype_weight = 0.1 }, { name = "alone", algorithm.name = "local_only" },
]
axes = { "phy.duplex" = ["tdd", "fdd"], "algorithm.deadline_s" = [20.0, 60.0, inf] }
"""

MOBILE = """
scenario = { name = "mobile_d2d", seed = 1 }
seeds    = { data = 7 }
stop     = { simulated_s = 1800.0 }
area     = { shape = "square", side_m = 400.0 }
topology = { kind = "radio", neighbor_mean_snr_db = 8.0, hysteresis_db = 3.0, update_every_s = 1.0, discovery = "beacon", beacon_every_s = 1.0, beacon_bytes = 64 }
data     = { name = "fashion_mnist", partition = "dirichlet", alpha = 0.1, samples_per_device = 600, local_test_fraction = 0.2 }
model    = { name = "lenet5", same_initial_weights = true }
codec    = { name = "float32" }
[[devices]]
count    = 90
mobility = { kind = "random_waypoint", speed_mps = [0.8, 2.0], pause_s = [0.0, 30.0] }
compute  = { effective_flops = 1.0e9, spread = "lognormal", spread_sigma_ln = 0.4, active_w = 2.0 }
radio    = { tx_power_dbm = 20.0, antenna_gain_dbi = 0.0, noise_figure_db = 7.0 }
energy   = { tx_w = 1.14, rx_w = 0.94, listen_w = 0.82, battery_j = 10000.0 }
[[devices]]
count    = 10
like     = 0
compute  = { effective_flops = 1.0e8, spread = "none", active_w = 2.0 }
[channel]
carrier_hz   = 5.18e9
bandwidth_hz = 20.0e6
path_loss    = { kind = "log_distance", exponent = 3.0 }
shadowing    = { sigma_db = 7.0, correlation_m = 25.0 }
fading       = { kind = "rayleigh", correlation = "doppler", both_ends_move = true, environment_speed_mps = 0.5 }
[mac]
kind = "shared"
level = "fluid"
broadcast_rate_bps = 6.0e6
[transport]
mtu_bytes = 1500
header_bytes = 44
reliability = "none"
partial = "use"
expires_s = 8.0
[algorithm]
name = "dpsgd"
local_epochs = 1
batch_size = 32
learning_rate = 0.05
exchange = "broadcast"
deadline_s = 8.0
mixing_weights = "metropolis"
[evaluation]
every_s  = 20.0
charge_time = false
subjects = ["device", "mean_model"]
data     = ["global_test", "own_test"]
over_devices = ["mean", "worst", "p10", "std", "disagreement"]
targets  = { accuracy = [0.70, 0.75, 0.80], subject = "device", data = "global_test", over_devices = "mean", sustained_evaluations = 3 }
[study]
seeds = "1..10"
arms = [
  { name = "D-PSGD" }, { name = "D-PSGD int8", codec.name = "int8_affine", codec.scale_per = "packet" },
  { name = "gossip, asynchronous", algorithm.name = "gossip", algorithm.period_s = 6.0 },
  { name = "D-PSGD unicast ARQ", algorithm.exchange = "unicast", transport.reliability = "arq" },
  { name = "local only", algorithm.name = "local_only" },
]
axes = { "devices.0.mobility.speed_mps" = [[0.0, 0.0], [0.8, 2.0], [8.0, 20.0]] }
"""


def planned(folder: Path, text: str) -> Plan:
    file = folder / "wanted.toml"
    file.write_text(text)
    return plan(file)


def test_a_study_of_codecs_under_packet_loss(tmp_path: Path) -> None:
    study = planned(tmp_path, SEMANTIC)
    assert len(study.cells) == 8 * 4 * 2
    assert len(study.seeds) == 20
    three = next(cell.loaded.scenario for cell in study.cells if cell.arm == "3 bit")
    assert (three.codec.name, three.codec.own["bits"], three.codec.own["scale_per"]) == ("uniform", 3, "packet")
    elias = next(cell.loaded.scenario for cell in study.cells if cell.arm == "qsgd4 Elias")
    assert (elias.codec.name, elias.codec.own["code"], elias.codec.own["scale_per"]) == ("qsgd", "elias", "packet")
    assert {cell.loaded.scenario.seed_of("data") for cell in study.cells} == {7}


def test_a_study_of_a_cell_whose_last_deadline_never_comes(tmp_path: Path) -> None:
    study = planned(tmp_path, CELL)
    assert study.base.scenario.topology.kind == "star"  # nothing else is possible with a [server]
    deadlines = {
        cell.loaded.scenario.algorithm.hyperparameters["deadline_s"] for cell in study.cells if cell.arm != "alone"
    }
    assert deadlines == {20.0, 60.0, None}
    assert len({run.file for run in study.runs}) == 10 * (3 * 2 * 3 + 2)  # alone: one run for three deadlines
    groups = [(group.name, group.count, group.radio.noise_figure_db) for group in study.base.scenario.devices]
    assert groups == [("centre", 24, 9.0), ("edge", 6, 9.0)]


def test_a_study_of_walkers_at_three_speeds(tmp_path: Path) -> None:
    study = planned(tmp_path, MOBILE)
    speeds = [cell.loaded.scenario.devices[0].mobility.speed_mps for cell in study.cells if cell.arm == "D-PSGD"]
    assert speeds == [(0.0, 0.0), (0.8, 2.0), (8.0, 20.0)]
    assert study.base.scenario.devices[1].energy.battery_j == 10000.0  # like the first group


def test_a_remedy_that_would_not_help_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(
        ScenarioError, match=r"waits for every message, and transport.expires_s = 60 .*; set deadline_s$"
    ):
        planned(tmp_path, CELL.replace("[transport]", "[transport]\nexpires_s = 60.0"))


def test_a_limit_that_is_inf_is_none(tmp_path: Path) -> None:
    file = tmp_path / "wanted.toml"
    file.write_text(CELL.replace("[transport]", "[transport]\nexpires_s = inf"))
    loaded = load(file, ["algorithm.deadline_s=inf", "stop.energy_j=inf"])
    assert loaded.scenario == load(file, ["algorithm.deadline_s=none"]).scenario
    assert loaded.scenario.transport.expires_s is None
    with pytest.raises(ScenarioError, match=r"\[evaluation\] every_s = inf: has to be finite"):
        load(file, ["evaluation.every_s=inf"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'shape = "square"',
            'boundary = "reflect", shape = "square"',
            '[area] boundary = "reflect": unknown key, known: min_',
        ),
        (
            "pause_s =",
            "stationary_start = true, pause_s =",
            "[devices.0.mobility] stationary_start = true: unknown key of random_waypoint",
        ),
        (
            "[phy]",
            "[phy]\nbandwidth_hz = 20e6",
            "[phy] bandwidth_hz = 2e7: unknown key (a key of [channel]), known: duplex",
        ),
        ("[phy]", "[phy]\nharq = { processes = 16 }", "[phy.harq]: unknown table, known: duplex"),
        ('level = "fluid"', 'level = "frame"', '[mac] level = "frame": accepted are "fluid"'),
        ('kind = "shared"', 'kind = "csma"', '[mac] kind = "csma": unknown medium access'),
        ('kind = "shared"', 'kind = "shared"\nretry_limit = 7', "[mac] retry_limit = 7: unknown key of shared"),
        ("[transport]", "[transport]\nrlc = { header_bytes = 5 }", "[transport.rlc]: unknown table, known: expires_s"),
        (
            'name = "small_cnn"',
            'name = "small_cnn", heterogeneous = "cycle5"',
            '[model] heterogeneous = "cycle5": unknown key of small_cnn',
        ),
        (
            'name = "dpsgd"',
            'name = "moon"',
            '[algorithm] name = "moon": unknown algorithm, known: ad_psgd',
        ),
        ('name = "dpsgd"', 'name = "dpsgd"\noverlap = false', "[algorithm] overlap = false: unknown key of dpsgd"),
        (
            "algorithm.prototype_weight",
            "algorithm.lambda",
            "[algorithm] lambda = 0.1: unknown key of fedproto, known: augmentation",
        ),
        (
            "server_weights =",
            'on_late = "discard"\nserver_weights =',
            '[algorithm] on_late = "discard": unknown key of fedavg',
        ),
        (
            'codec = { name = "uniform", bits = 3 }',
            'codec = { name = "powersgd", rank = 1 }',
            '[codec] name = "powersgd": unknown codec',
        ),
        (
            'name = "float32", scale',
            'name = "float32", triangle = true, scale',
            "[codec] triangle = true: unknown key of float32",
        ),
        (
            'metrics = ["cross',
            'metrics = ["consensus", "cross',
            '[evaluation] metrics.0 = "consensus": accepted are',
        ),
        (
            'matrix = "triangle"',
            'on_missing = "last_value"',
            '[algorithm] on_missing = "last_value": unknown key of semantic_mcr2',
        ),
        ("[server]", "[server]\nbackhaul = { latency_s = 5e-3 }", "[server.backhaul]: unknown table, known: compute"),
        (
            "tx_power_dbm = 44.0",
            'tx_power_dbm = 44.0, tx_power_is = "total"',
            '[server.radio] tx_power_is = "total": unknown key (tx_power_dbm?)',
        ),
    ],
)
def test_what_is_not_built_is_refused_by_name(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = next(text for text in (MOBILE, CELL, SEMANTIC) if before in text)
    with pytest.raises(ScenarioError) as refused:
        planned(tmp_path, text.replace(before, after, 1))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
