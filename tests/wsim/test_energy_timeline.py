"""One device through every state of processor and radio, against a timeline that is worked out by hand: to the nanosecond and to
the nanojoule; and the instant at which a battery dies under it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from learners.protocol import SERVER, Actuate, Compute, Observe, Outcome, Payload, Send, Sleep
from tests.wsim.builders import (
    AMPLIFIER,
    CIRCUIT_W,
    FEEDBACK_BITS,
    IDLE_W,
    LISTEN_W,
    RX_W,
    cell,
    coded_bits,
    peers,
    play,
    power_dbm,
    rate_bps,
)
from wsim.accounts import ACCESS, ASLEEP, LISTEN, RX, TX
from wsim.engine import Run
from wsim.record import ENERGY_USES, RADIO_STATES

OFF = RADIO_STATES.index("off")
NS, NJ = 1e-9, 1e-9
BITS = 1_000_000
FREQUENCY_HZ, CYCLES_PER_FLOP, KAPPA = 2e6, 4.0, 1e-20
SLEEP_W, OBSERVE_S, OBSERVE_J = 0.001, 0.25, 0.5
SNR_DB, LOWER_SNR_DB, SERVER_SNR_DB = 10.0, 3.0, 10.0
PROCESSOR = f"{{frequency_hz={FREQUENCY_HZ}, cycles_per_flop={CYCLES_PER_FLOP}, kappa_w_per_hz3={KAPPA}}}"


def on_air_w(snr_db: float) -> float:
    return 10 ** (power_dbm(snr_db) / 10) / 1000 / AMPLIFIER + CIRCUIT_W


def world(*changes: str) -> Any:
    return cell(
        [SNR_DB],
        f"devices.0.compute={PROCESSOR}",
        "devices.0.energy.sleep=true",
        f"devices.0.energy.sleep_w={SLEEP_W}",
        f"observation={{delay_s={OBSERVE_S}, energy_j={OBSERVE_J}}}",
        "transport.reliability=none",
        *changes,
        mac="fdma",
        server_snr_db=SERVER_SNR_DB,
    )


def lived(*changes: str) -> tuple[Run, float]:
    """The run and the FLOPs of its one job. The device sleeps to 1 s, computes, looks, sends (with less power from a third of the
    way on), is sent to at 10 s, is away from 15 s to 17 s, and rests to 20 s."""
    boxes: list[Run] = []
    flops: list[float] = []

    def device(node: Any) -> Any:
        yield Sleep(1.0)
        step = (node.initial_parameters, *(column[0] for column in node.batches(8, steps=1).steps), 0.1)
        flops.append(boxes[0].learning.task.sgd_step.flops(*step))
        yield Compute(boxes[0].learning.task.sgd_step, step)
        yield Observe("position")
        yield Send(SERVER, "m", 0, Payload(None, BITS))
        yield Sleep(coded_bits(BITS) / rate_bps(SNR_DB) / 3)
        yield Actuate("power", power_dbm(LOWER_SNR_DB))
        yield Sleep(20.0 - boxes[0].clock.now_s)

    def server(node: Any) -> Any:
        yield Sleep(10.0)
        yield Send(0, "m", 0, Payload(None, BITS))
        yield Sleep(10.0)

    churn = 'devices.0.churn={kind="schedule", leave_s=[15.0], join_s=[17.0]}'
    run = play(world(churn, *changes), {0: device, SERVER: server}, hook=boxes.append)
    return run, flops[0] if flops else math.nan


def test_every_state_and_use_is_as_by_hand() -> None:
    run, flops = lived()
    record = run.record()
    job_s = flops * CYCLES_PER_FLOP / FREQUENCY_HZ
    strong_s = coded_bits(BITS) / rate_bps(SNR_DB) / 3
    weak_s = (coded_bits(BITS) - strong_s * rate_bps(SNR_DB)) / rate_bps(LOWER_SNR_DB)
    heard_s = coded_bits(BITS) / rate_bps(SERVER_SNR_DB)
    states = np.zeros(len(RADIO_STATES))
    states[TX], states[RX], states[OFF] = strong_s + weak_s, heard_s, 2.0
    states[ASLEEP] = 20.0 - states.sum()
    assert record.simulated_s == 20.0
    assert record.radio_s[0] == pytest.approx(states, abs=3 * NS)
    assert record.processor_s[0] == pytest.approx([job_s, 20.0 - job_s], abs=2 * NS)
    uses = {
        "compute": KAPPA * FREQUENCY_HZ**2 * CYCLES_PER_FLOP * flops,
        "transmit": strong_s * on_air_w(SNR_DB) + weak_s * on_air_w(LOWER_SNR_DB),
        "receive": heard_s * RX_W,
        "listen": 0.0,
        "idle": states[ASLEEP] * SLEEP_W,
        "observe": OBSERVE_J,
    }
    assert dict(zip(ENERGY_USES, record.energy_j[0].tolist(), strict=True)) == pytest.approx(uses, abs=NJ, rel=1e-12)


@pytest.mark.parametrize("where", ["asleep", "computing", "looking", "strong", "weak", "receiving", "back"])
def test_a_battery_dies_at_the_nanosecond_that_the_timeline_gives(where: str) -> None:
    """A charge that ends in the middle of each stretch of constant power; the joules that it has drawn are the charge."""
    _, flops = lived()
    job_s, compute_w = flops * CYCLES_PER_FLOP / FREQUENCY_HZ, KAPPA * FREQUENCY_HZ**3
    strong_s = coded_bits(BITS) / rate_bps(SNR_DB) / 3
    weak_s = (coded_bits(BITS) - strong_s * rate_bps(SNR_DB)) / rate_bps(LOWER_SNR_DB)
    heard_s = coded_bits(BITS) / rate_bps(SERVER_SNR_DB)
    busy_s = 1.0 + job_s + OBSERVE_S + strong_s + weak_s
    stretches = [  # name, seconds, watts, joules drawn at once when it begins
        ("asleep", 1.0, SLEEP_W, 0.0),
        ("computing", job_s, SLEEP_W + compute_w, 0.0),
        ("looking", OBSERVE_S, SLEEP_W, OBSERVE_J),
        ("strong", strong_s, on_air_w(SNR_DB), 0.0),
        ("weak", weak_s, on_air_w(LOWER_SNR_DB), 0.0),
        ("waiting", 10.0 - busy_s, SLEEP_W, 0.0),
        ("receiving", heard_s, RX_W, 0.0),
        ("before", 5.0 - heard_s, SLEEP_W, 0.0),
        ("away", 2.0, 0.0, 0.0),
        ("back", 3.0, SLEEP_W, 0.0),
    ]
    death_s = charge_j = 0.0
    for name, seconds, watts, at_once_j in stretches:
        part = 0.5 if name == where else 1.0
        charge_j += at_once_j + part * seconds * watts
        death_s += part * seconds
        if name == where:
            break
    run, _ = lived(f"devices.0.energy.battery_j={charge_j!r}")
    assert run.presence is not None
    assert run.presence.failed == {0}
    assert run.stop_reason == "nobody_left"
    rounding_j = 3 * NS * on_air_w(SNR_DB)  # stretches begin and end at whole nanoseconds
    assert run.clock.now_s == pytest.approx(death_s, abs=NS + rounding_j / watts)
    assert run.record().energy_j[0].sum() == pytest.approx(charge_j, abs=NJ)


def test_between_devices_rest_is_listening_and_a_turn_that_one_waits_for_is_accessing() -> None:
    """Two messages at once on one carrier that divides its time: each sender is on the air for half of the time; what a repetition
    by arq adds, the acknowledgement, is the sender's."""
    told: list[float] = []

    def program(node: Any) -> Any:
        ticket = yield Send(1 - node.id, "m", 0, Payload(None, BITS))
        yield Outcome(ticket)
        told.append((yield Observe("time")))
        yield Sleep(3.0 - told[-1])

    run = play(peers([(0.0, 0.0), (100.0, 0.0)], "transport.reliability=arq", mac="shared", snr_db=SNR_DB), program)
    on_air_s = (coded_bits(BITS) + FEEDBACK_BITS) / rate_bps(SNR_DB)
    assert told == pytest.approx([2 * on_air_s, 2 * on_air_s], abs=2 * NS)
    record = run.record()
    for device in (0, 1):
        states = record.radio_s[device]
        assert states[[TX, RX]] == pytest.approx([on_air_s, on_air_s], abs=2 * NS)
        assert states[ACCESS] + states[LISTEN] == pytest.approx(3.0 - 2 * on_air_s, abs=3 * NS)
        joules = dict(zip(ENERGY_USES, record.energy_j[device].tolist(), strict=True))
        expected = {"transmit": on_air_s * on_air_w(SNR_DB), "receive": on_air_s * RX_W}
        expected |= {"listen": (3.0 - 2 * on_air_s) * LISTEN_W, "compute": 0.0, "idle": 0.0, "observe": 0.0}
        assert joules == pytest.approx(expected, abs=NJ, rel=1e-12)
    assert math.isclose(record.airtime_s, 2 * on_air_s, abs_tol=4 * NS)
    assert IDLE_W != LISTEN_W
