"""Over-the-air sums through the simulator: alignment, truncation, noise, joules; FedAvg by air and by bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from channels.over_the_air import sum_mse, truncated_inversion
from learners.compression.float32 import Float32
from learners.protocol import SERVER, Payload, Receive, Send, Sleep
from tests.contract.recording import record, value_of
from tests.contract.worlds import calm, harsh
from tests.learners.test_fedavg_differences import run as by_hand
from tests.wsim.builders import AMPLIFIER, BANDWIDTH_HZ, CIRCUIT_W, cell, play, power_dbm
from wsim.engine import simulate
from wsim.errors import ScenarioError, SimulationError

SNRS_DB = (16.0, 13.0, 9.0, 30.0)
NUM_VALUES = 20_000


def heard(snr_db: float) -> tuple[Any, Any, list[torch.Tensor]]:
    """The run, what the server received, and what the devices sent."""
    answers: list[Any] = []
    signals = [torch.from_numpy(np.random.default_rng(i).standard_normal(NUM_VALUES)) for i in range(len(SNRS_DB))]

    def device(node: Any) -> Any:
        payload = Payload(signals[node.id], 32 * NUM_VALUES, Float32(), NUM_VALUES)
        yield Send(SERVER, "sum", 0, payload, analog=True, analog_snr_db=snr_db)

    def server(node: Any) -> Any:
        answers.append((yield Receive(range(len(SNRS_DB)), "sum", 0)))

    programs = dict.fromkeys(range(len(SNRS_DB)), device) | {SERVER: server}
    return play(cell(SNRS_DB, mac="fdma"), programs), answers[0], signals


def test_who_reaches_it_is_aligned_and_who_does_not_is_silent() -> None:
    run, received, _ = heard(12.0)
    amplitude = 10 ** (12.0 / 20)
    assert [message.coefficient for message in received.messages] == pytest.approx(
        [amplitude, amplitude, 0.0, amplitude]
    )
    seconds = NUM_VALUES / 2 / BANDWIDTH_HZ
    on_air_w = [10 ** ((power_dbm(snr) - snr + 12.0) / 10) / 1000 / AMPLIFIER + CIRCUIT_W for snr in SNRS_DB]
    on_air_w[2] = 0.0
    transmit_j = run.record().energy_j[: len(SNRS_DB), 1]
    assert transmit_j == pytest.approx(np.array(on_air_w) * seconds, rel=1e-6)
    assert run.clock.now_s == pytest.approx(seconds)  # all at once, however many
    assert run.radios.tx_w[0] == pytest.approx(run.world.tx_w_of_dbm(0, power_dbm(SNRS_DB[0])))


@pytest.mark.parametrize("snr_db", [8.0, 12.0])
def test_the_error_of_the_sum_is_that_of_the_formula(snr_db: float) -> None:
    """Error of y / sqrt(rho) as the sum of all: noise, and the signals of who is silent (with 12 dB: one). Gaussian, so its
    square has the relative standard error sqrt(2 / n); 4 of them."""
    _, received, signals = heard(snr_db)
    rho = 10 ** (snr_db / 10)
    y = sum(message.coefficient * message.data for message in received.messages) + received.noise
    error = y / rho**0.5 - sum(signals)
    gains = 10 ** (np.array(SNRS_DB) / 10)
    expected = float(sum_mse(truncated_inversion(gains, 1.0, rho), rho, 1.0))
    assert expected > 1.0 if snr_db == 12.0 else expected < 0.2
    assert float((error**2).mean()) == pytest.approx(expected, rel=4 * (2 / NUM_VALUES) ** 0.5)


def test_without_noise_it_is_fedavg() -> None:
    digital, _ = by_hand(10, codec=Float32(), update="difference")
    air, trace = by_hand(10, codec=Float32(), uplink="aircomp")
    assert float((digital - air).abs().max()) < 1e-12
    assert sum(line[1] == "send" and line[3] == "ready" for line in trace) == 30


def test_noise_of_a_round_has_its_variance() -> None:
    """The server's model minus what the signals on the air make of it: v^2 / (rho N^2) a value; 4 standard errors."""
    snr_db = 15.0
    air = ["algorithm.uplink=aircomp", f"algorithm.aircomp_snr_db={snr_db}", "stop.rounds=1", "mac.kind=fdma"]
    run, recording = record(calm("fedavg", *air, "data.num_samples=2000", "model.hidden=[200]"))
    start = next(value_of(value) for node, name, value in recording.reported if node != SERVER)
    server = next(value_of(value) for node, name, value in recording.reported if node == SERVER)
    messages = [message for message in recording.received if message.kind == "update"]
    assert len(messages) == run.num_devices
    v = next(
        float(value_of(message.data[0]))
        for message in recording.received
        if message.kind == "model" and message.round == 1
    )
    rms = [float(value_of(message.data).square().mean().sqrt()) for message in messages]
    assert max(rms) == pytest.approx(1.0)  # the strongest sends with all its power
    total = float(run.num_samples.sum())
    error = server - start - v / total * sum(value_of(message.data) for message in messages)
    variance = v**2 / (10 ** (snr_db / 10) * total**2)
    assert float((error**2).mean()) == pytest.approx(variance, rel=4 * (2 / error.numel()) ** 0.5)


def test_all_begin_at_once_and_who_hears_of_it_too_late_is_silent() -> None:
    for guard_s, silent in ((0.2, False), (0.0, True)):
        air = ["algorithm.uplink=aircomp", f"algorithm.aircomp_guard_s={guard_s}", "stop.rounds=1", "mac.kind=fdma"]
        run, recording = record(calm("fedavg", *air))
        messages = [message for message in recording.received if message.kind == "update"]
        assert len(messages) == run.num_devices
        assert all((message.coefficient == 0.0) == silent for message in messages)


def test_both_uplinks_are_on_the_same_fading_and_take_their_own_bits() -> None:
    common = ["stop.rounds=2", "transport.reliability=arq", "channel.forced_loss.rate=0.0"]
    digital = simulate(harsh("fedavg", *common), executor="null")
    air = simulate(harsh("fedavg", *common, "algorithm.uplink=aircomp"), executor="null")
    assert digital.radio_provenance == air.radio_provenance
    assert air.payload_bits < 0.6 * digital.payload_bits  # models down, numbers up


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["algorithm.server_weights=uniform"], "uplink"),
        (["codec={name='topk', ratio=0.1}"], "uplink"),
        (["algorithm.update=model"], "uplink"),
        (["phy.duplex=tdd", "mac.kind=fdma"], "over-the-air sums need a band of their own"),
        (
            ["channel.fading={kind='rayleigh', correlation='ergodic'}"],
            r'\[channel.fading\] correlation = "ergodic": over-the-air sums invert the gain of the moment.*"block" or "doppler"',
        ),
        (["algorithm.aircomp_snr_db=1000.0"], "signal-to-noise ratios are in dB"),
    ],
)
def test_what_does_not_go_over_the_air_is_refused(changes: list[str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        calm("fedavg", "algorithm.uplink=aircomp", *changes)


def superposed(num_devices: int, starts_s: list[float], *changes: str, leaves_at: float = 2.0) -> Any:
    """Devices that send NUM_VALUES each from these times on, at 10 dB, heard by the server."""

    def device(node: Any) -> Any:
        yield Sleep(starts_s[node.id])
        payload = Payload(torch.zeros(NUM_VALUES), 32 * NUM_VALUES, Float32(), NUM_VALUES)
        yield Send(SERVER, "sum", 0, payload, analog=True, analog_snr_db=10.0)

    def server(node: Any) -> Any:
        yield Sleep(leaves_at)

    programs = dict.fromkeys(range(num_devices), device) | {SERVER: server}
    return play(cell([20.0] * num_devices, *changes, mac="fdma"), programs)


@pytest.mark.parametrize("num_devices", [1, 2, 7])
def test_what_is_superposed_is_on_the_air_once_and_paid_for_by_each(num_devices: int) -> None:
    """ceil(d / 2) symbols over B, however many send; each draws P rho / SNR over the amplifier's efficiency, and its circuit."""
    run = superposed(num_devices, [0.5] * num_devices)
    record = run.record()
    seconds = NUM_VALUES / 2 / BANDWIDTH_HZ
    assert record.airtime_s == pytest.approx(seconds, abs=1e-9)
    assert record.resource_hz_s == pytest.approx(seconds * BANDWIDTH_HZ, abs=1e-3)
    watts = 10 ** (power_dbm(10.0) / 10) / 1000 / AMPLIFIER + CIRCUIT_W
    assert record.energy_j[:num_devices, 1] == pytest.approx([watts * seconds] * num_devices, rel=1e-9)
    assert record.radio_s[:num_devices, 0] == pytest.approx([seconds] * num_devices, abs=1e-9)
    assert record.radio_s[num_devices, 1] == pytest.approx(seconds, abs=1e-9)  # the server receives once
    assert record.messages_sent == record.messages_delivered_used + record.messages_delivered_unused == num_devices


def test_without_a_gain_of_the_moment_there_is_nothing_to_invert() -> None:
    ergodic = "channel.fading={kind='rayleigh', correlation='ergodic'}"
    with pytest.raises(SimulationError, match='analog sends need the gain of the moment.*"ergodic"'):
        superposed(2, [0.0, 0.0], ergodic)


def test_sends_that_overlap_take_the_time_of_their_union() -> None:
    """Three at 0, half and twice the length of one: 1.5 and 1 lengths; one that is silent takes none."""
    seconds = NUM_VALUES / 2 / BANDWIDTH_HZ
    starts_s = [0.0, seconds / 2, 2 * seconds]
    assert superposed(3, starts_s).record().airtime_s == pytest.approx(2.5 * seconds, abs=1e-9)
    silent = f"devices.1.radio.tx_power_dbm={power_dbm(9.0)}"
    assert superposed(3, starts_s, silent).record().airtime_s == pytest.approx(2 * seconds, abs=1e-9)


def test_a_run_that_ends_and_a_device_that_goes_book_the_air_until_then() -> None:
    seconds = NUM_VALUES / 2 / BANDWIDTH_HZ
    cut = superposed(2, [0.0, 0.0], f"stop.simulated_s={seconds / 4}").record()
    assert cut.airtime_s == pytest.approx(seconds / 4, abs=1e-9)
    assert cut.messages_in_flight == 2
    leaves = f'devices.0.churn={{kind="schedule", leave_s=[{seconds / 4}]}}'
    gone = superposed(2, [0.0, seconds / 2], leaves).record()
    assert gone.airtime_s == pytest.approx(1.25 * seconds, abs=1e-9)
    assert gone.messages_lost["departure"] == 1
    alone = superposed(1, [0.0], leaves).record()
    assert alone.airtime_s == pytest.approx(seconds / 4, abs=1e-9)
