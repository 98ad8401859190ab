"""Processors by their clock, the joules of a cycle, jobs that take longer than usual, sleep, presets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners.protocol import Compute, Observe, Payload, Send, Sleep
from tests.wsim.builders import IDLE_W, cell, coded_bits, peers, play, rate_bps
from wsim.compute import slow_down
from wsim.errors import ScenarioError
from wsim.record import RADIO_STATES
from wsim.scenario import compute as tables
from wsim.scenario import load_text, presets
from wsim.streams import Streams

ASLEEP, LISTEN = RADIO_STATES.index("asleep"), RADIO_STATES.index("listening")


def one_job(*changes: str, **how: Any) -> tuple[Any, int, float]:
    """The run, the FLOPs of a job and the seconds that it took."""
    seen: list[Any] = []

    def program(node: Any) -> Any:
        task = boxes[0].learning.task
        step = (node.initial_parameters, *(column[0] for column in node.batches(8, steps=1).steps), 0.1)
        seen.append(task.sgd_step.flops(*step))
        yield Compute(task.sgd_step, step)
        seen.append((yield Observe("time")))

    boxes: list[Any] = []
    run = play(cell([0.0], *changes, **how), {0: program}, hook=boxes.append)
    return run, *seen


def test_cycles_take_their_time_and_kappa_f_squared_joules_each() -> None:
    """T = C / f and E = kappa C f^2 for C cycles; twice the clock: half the time, four times the joules."""
    for frequency_hz in (1e6, 2e6):
        keys = f"{{frequency_hz={frequency_hz}, cycles_per_flop=4.0, kappa_w_per_hz3=1e-20}}"
        run, flops, seconds = one_job(f"devices.0.compute={keys}")
        cycles = 4.0 * flops
        assert seconds == pytest.approx(cycles / frequency_hz, abs=2e-9)
        assert run.record().energy_j[0, 0] == pytest.approx(1e-20 * cycles * frequency_hz**2, rel=1e-6)


def test_who_is_faster_by_spread_is_so_by_its_clock() -> None:
    keys = "{frequency_hz=1e6, cycles_per_flop=1.0, kappa_w_per_hz3=1e-19, spread='lognormal', spread_sigma_ln=1.0}"
    run, flops, seconds = one_job(f"devices.0.compute={keys}")
    clock_hz = flops / seconds
    assert clock_hz != pytest.approx(1e6, rel=0.01)
    assert run.record().energy_j[0, 0] == pytest.approx(1e-19 * flops * clock_hz**2, rel=1e-5)


def test_kappa_of_the_literature_gives_its_watts() -> None:
    """kappa 1e-28 draws 0.8 W at 2 GHz and 0.1 W at 1 GHz."""
    for frequency_hz, watts in ((2e9, 0.8), (1e9, 0.1)):
        processor = tables.Compute(frequency_hz=frequency_hz, cycles_per_flop=1.0, kappa_w_per_hz3=1e-28)
        assert processor.watts(1.0) == pytest.approx(watts)


def test_slowest_and_kth_of_shifted_exponential_jobs_match_their_order_statistics() -> None:
    """Of K jobs of T (1 + Exp(mean m)): the slowest takes 1 + m H_K on average, the k-th 1 + m (H_K - H_{K-k}). The variances
    are m^2 times the sums of 1/i^2; 20,000 rounds, 4 standard errors."""
    num_jobs, k, mean, rounds = 10, 4, 0.7, 20_000
    compute = tables.Compute(effective_flops=1e6, jitter="shifted_exponential", jitter_mean_fraction=mean)
    streams = Streams(5)
    draws = [slow_down(compute, node, {}, streams) for node in range(num_jobs)]
    times = np.sort([[draw() for draw in draws] for _ in range(rounds)], axis=1)
    inverse = 1.0 / np.arange(1, num_jobs + 1)
    for rank, terms in ((num_jobs, inverse), (k, inverse[num_jobs - k :])):
        expected, error = 1.0 + mean * terms.sum(), mean * np.sqrt((terms**2).sum() / rounds)
        assert times[:, rank - 1].mean() == pytest.approx(expected, abs=4 * error)


def test_a_trace_is_taken_in_turns_from_a_place_of_the_devices_own() -> None:
    compute = tables.Compute(effective_flops=1e6, jitter="trace", jitter_file="slow.txt")
    texts = {"slow.txt": "1.0\n2.0  # twice as long\n\n3.0\n5.0\n"}
    rows = []
    for node in range(20):
        draw = slow_down(compute, node, texts, Streams(1))
        rows.append([draw() for _ in range(8)])
    cycle = [1.0, 2.0, 3.0, 5.0]
    for row in rows:
        at = cycle.index(row[0])
        assert row == [cycle[(at + i) % 4] for i in range(8)]
    assert {row[0] for row in rows} == set(cycle)


def test_a_device_that_sleeps_draws_its_sleeping_power_between_its_own_sends() -> None:
    def program(node: Any) -> Any:
        yield Sleep(1.0)
        yield Send(-1, "m", 0, Payload(None, 100_000))
        yield Sleep(2.0)

    changes = ["devices.0.energy.sleep=true", "devices.0.energy.sleep_w=0.001", "transport.reliability=none"]
    awake = play(cell([0.0], changes[-1], mac="fdma"), {0: program}).record()
    asleep = play(cell([0.0], *changes, mac="fdma"), {0: program}).record()
    resting_s = 3.0 - coded_bits(100_000) / rate_bps(0.0)
    assert awake.radio_s[0, [ASLEEP, LISTEN]] == pytest.approx([0.0, resting_s], rel=1e-6)
    assert asleep.radio_s[0, [ASLEEP, LISTEN]] == pytest.approx([resting_s, 0.0], rel=1e-6)
    saved = awake.energy_j[0].sum() - asleep.energy_j[0].sum()
    assert saved == pytest.approx(resting_s * (IDLE_W - 0.001), rel=1e-6)
    battery = play(cell([0.0], *changes, "devices.0.energy.battery_j=0.0005", mac="fdma"), {0: program})
    assert battery.clock.now_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("{active_w=1.0}", r"effective_flops: this key is missing; speeds of computation are in FLOP/s"),
        ("{frequency_hz=1e9}", r"cycles_per_flop: this key is missing"),
        ("{effective_flops=1e6, cycles_per_flop=2.0}", r"cycles_per_flop = 2: is a second speed"),
        ("{effective_flops=1e6, kappa_w_per_hz3=1e-28}", r"frequency_hz: this key is missing; kappa"),
        ("{effective_flops=1e6, frequency_hz=1e9, kappa_w_per_hz3=1e-28, active_w=1.0}", r"active_w = 1: is a second power"),
        ("{effective_flops=1e6, jitter='trace'}", r"jitter_file: this key is missing"),
        ("{effective_flops=1e6, jitter='shifted_exponential'}", r"jitter_mean_fraction: this key is missing"),
        ("{effective_flops=1e6, kappa_w_per_hz3=1.0, frequency_hz=1e9}", r"W/Hz\^3, about 1e-28"),
        ("{effective_flops=1e6, jitter='trace', jitter_file='bad.txt'}", r'bad.txt line 2: "-1": slow-down factors'),
        ("{effective_flops=1e6, jitter='trace', jitter_file='empty.txt'}", r"empty.txt: holds no slow-down factor"),
    ],
)  # fmt: skip
def test_a_processor_that_cannot_be_is_one_clear_line(change: str, says: str) -> None:
    texts = {"bad.txt": "1.0\n-1\n", "empty.txt": "# nothing\n"}
    with pytest.raises(ScenarioError, match=says) as caught:
        peers([(0.0, 0.0), (1.0, 0.0)], f"devices.0.compute={change}", referenced=texts)
    assert "\n" not in str(caught.value)


def test_nobody_sleeps_on_a_carrier_that_it_has_to_sense() -> None:
    with pytest.raises(
        ScenarioError, match=r"energy\] sleep = true: between devices who senses a carrier never sleeps"
    ):
        peers([(0.0, 0.0), (1.0, 0.0)], "devices.0.energy={sleep=true, sleep_w=0.1}", mac="shared")


PRESET = """
scenario = { name = "preset", seed = 1 }
stop = { rounds = 1 }
area = { shape = "disc", radius_m = 100.0 }
topology = "star"
mac = "fdma"
channel = { carrier_hz = 3.5e9, bandwidth_hz = 1e6, path_loss = "free_space" }
algorithm = { name = "fedavg", local_epochs = 1 }
[server]
preset = "base_station"
radio = { tx_power_dbm = 30.0 }
[[devices]]
preset = "%s"
count = 2
%s
"""


@pytest.mark.parametrize("name", presets.DEVICES)
def test_presets_stand_under_ones_own_keys(name: str) -> None:
    own = "radio = { tx_power_dbm = 3.0 }\ncompute = { frequency_hz = 1e9, cycles_per_flop = 2.0, kappa_w_per_hz3 = 1e-28 }"
    plain = load_text(PRESET % (name, "")).scenario
    changed = load_text(PRESET % (name, own + "\nenergy = { tx_circuit_w = 0.3 }")).scenario
    group = plain.devices[0]
    given = presets.DEVICES[name]
    assert group.radio.tx_power_dbm == given["radio"]["tx_power_dbm"]
    assert group.energy.idle_w == given["energy"]["idle_w"]
    assert group.compute.flops_per_s > 0
    own_group = changed.devices[0]
    assert own_group.radio.tx_power_dbm == 3.0
    assert own_group.radio.noise_figure_db == group.radio.noise_figure_db
    assert own_group.compute.flops_per_s == 0.5e9
    assert (own_group.energy.tx_w, own_group.energy.tx_circuit_w) == (None, 0.3)
    assert plain.server is not None
    assert (plain.server.radio.tx_power_dbm, plain.server.radio.antenna_gain_dbi) == (30.0, 8.0)


def test_a_preset_that_there_is_not_is_refused_and_an_override_names_one() -> None:
    with pytest.raises(ScenarioError, match=r'preset = "fone": has to be one of phone, .*\(phone\?\)'):
        load_text(PRESET % ("fone", ""))
    scenario = load_text(PRESET % ("mcu", ""), ["devices.0.preset=phone"]).scenario
    assert scenario.devices[0].compute.effective_flops == 10e9
