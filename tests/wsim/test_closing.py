"""Everything closes, whatever the scenario: the ledger, the three timelines, the joules; and nothing arrives before it can.

Random small scenarios over medium access, duplex, fading, mobility, losses, reliability, expiry, deadlines, latency, learners and
stop conditions at odd instants. The run is an estimate: same events, no arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsim.engine import Run
from wsim.record import ENERGY_USES, RADIO_STATES, RunRecord
from wsim.scenario import Loaded, load_text

NS = 1e-9
TX, RX, BOTH, ACCESS, LISTEN = (
    RADIO_STATES.index(state) for state in ("transmitting", "receiving", "both", "accessing", "listening")
)
ACTIVE_W, TX_CIRCUIT_W, RX_W, LISTEN_W, IDLE_W, EFFICIENCY = 0.15, 0.1, 0.2, 0.18, 0.05, 0.35

BASE = f"""
scenario = {{ name = "random", seed = 1 }}
area = {{ shape = "square", side_m = 200.0 }}
data = {{ name = "gaussian_mixture", num_classes = 4, num_features = 8, num_samples = 400 }}
model = {{ name = "mlp", hidden = [64] }}
channel = {{ carrier_hz = 2.4e9, bandwidth_hz = 1e6, path_loss = {{ kind = "log_distance", exponent = 3.0 }} }}
[[devices]]
name = "some"
count = 9
compute = {{ effective_flops = 1e7, spread = "lognormal", jitter = "lognormal", active_w = {ACTIVE_W} }}
radio = {{ tx_power_dbm = 12.0 }}
energy = {{ pa_efficiency = {EFFICIENCY}, tx_circuit_w = {TX_CIRCUIT_W}, rx_w = {RX_W}, listen_w = {LISTEN_W}, idle_w = {IDLE_W} }}
"""
SERVER = "server={radio={tx_power_dbm=30.0}, compute={active_w=2.0}, energy={}}"


@st.composite
def scenarios(draw: st.DrawFn) -> list[str]:
    """Changes of the base scenario."""
    name = draw(st.sampled_from(["fedavg", "dpsgd", "gossip"]))
    stops = {
        "rounds": st.integers(1, 4),
        "simulated_s": st.floats(0.01, 2.5),
        "air_bits": st.floats(1e5, 2e6),
        "energy_j": st.floats(0.1, 10.0),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(stops)), max_size=2))
    limits = {key: draw(stops[key]) for key in sorted(chosen)}
    limits.setdefault("simulated_s", 2.5)
    changes = [f"stop.{key}={value}" for key, value in limits.items()]

    algorithm: dict[str, Any] = {"name": name, "local_steps": draw(st.integers(1, 3))}
    if name == "fedavg":
        mac = draw(st.sampled_from(["ideal", "fdma", "tdma"]))
        changes += [SERVER, 'topology="star"', f"phy.duplex={draw(st.sampled_from(['fdd', 'tdd'] if mac != 'tdma' else ['fdd']))}"]
        algorithm["downlink"] = draw(st.sampled_from(["unicast", "broadcast"]))
        algorithm["clients_per_round"] = draw(st.integers(1, 9))
    else:
        mac = draw(st.sampled_from(["ideal", "shared"]))
        changes.append(
            draw(
                st.sampled_from(
                    [
                        'topology="ring"',
                        'topology="complete"',
                        'topology="torus"',
                        'topology={kind="random_regular", degree=4}',
                        'topology={kind="radio", neighbor_mean_snr_db=15.0, update_every_s=0.7}',
                    ]
                )
            )
        )
        if mac == "shared":
            changes.append(f"mac.orthogonal_links={str(draw(st.booleans())).lower()}")
            changes.append(f"mac.sensing_snr_db={draw(st.sampled_from([-10.0, 10.0, 25.0]))}")
    if name == "dpsgd":
        algorithm["exchange"] = draw(st.sampled_from(["unicast", "broadcast"]))
    if name == "gossip":
        algorithm["period_s"] = draw(st.sampled_from([0.0, 0.3]))
        algorithm["merge"] = draw(st.sampled_from(["mean", "age"]))
    else:
        algorithm["deadline_s"] = draw(st.sampled_from([0.06, 0.4, 1.0]))
    changes.append("algorithm={" + ", ".join(f"{key}={value!r}" for key, value in algorithm.items()) + "}")
    changes.append(f"mac.kind={mac}")
    changes.append(f"mac.latency_s={draw(st.sampled_from([0.0, 0.0123]))}")
    changes.append(
        "channel.fading="
        + draw(
            st.sampled_from(
                [
                    '"none"',
                    '{kind="rayleigh", block_s=0.04}',
                    '{kind="rician", k_db=3.0, correlation="doppler", environment_speed_mps=0.2}',
                ]
            )
        )
    )
    if draw(st.booleans()):
        changes.append("devices.some.mobility={kind='random_waypoint', speed_mps=[1.0, 5.0]}")
    unit, rate = draw(st.sampled_from(["packet", "message"])), draw(st.sampled_from([0.0, 0.2]))
    changes.append(f"channel.forced_loss={{unit='{unit}', rate={rate}, mean_burst_packets={draw(st.sampled_from([1.0, 2.5]))}}}")
    changes.append(f"transport.reliability={draw(st.sampled_from(['default', 'arq', 'none', 'nack', 'fountain']))}")
    changes.append(f"transport.partial={draw(st.sampled_from(['drop', 'use']))}")
    changes.append(f"transport.max_attempts={draw(st.sampled_from([3, 100]))}")
    if draw(st.booleans()):
        changes.append(f"transport.expires_s={draw(st.sampled_from([0.02, 0.3]))}")
    if draw(st.booleans()):
        changes += ["phy.rate=fixed", "phy.fixed_efficiency_bps_hz=2.0"]
    changes.append(f"phy.min_snr_db={draw(st.sampled_from([-10.0, 5.0]))}")
    if draw(st.booleans()):
        changes.append("evaluation.every_s=0.37")
    return changes


@dataclass
class Watch:
    """Counts by itself what the transport does: which (message, receiver) pairs are open, when what was sent and received."""

    open: set[tuple[int, int]] = field(default_factory=set)
    pairs: int = 0
    whole_coded_bits: dict[int, int] = field(default_factory=dict)
    sent_ns: dict[int, int] = field(default_factory=dict)

    def __call__(self, run: Run) -> None:
        transport, scenario = run.transport, run.scenario
        send, hand_over, lose = transport.send, transport._hand_over, transport._lose
        phy, band = scenario.phy, scenario.channel.bandwidth_hz
        fastest_bps = (1 - phy.overhead) * phy.max_efficiency_bps_hz * band
        latency_ns = scenario.mac.latency_s * 1e9
        waiting: list[tuple[Any, int]] = []

        def watched_send(*args: Any, **kwargs: Any) -> Any:
            number = transport._number + 1
            self.sent_ns[number] = run.clock.now_ns
            for i in range(len(args[1])):
                self.open.add((number, i))
                self.pairs += 1
            return send(*args, **kwargs)

        def watched_hand_over(flight: Any, i: int, part: Any) -> None:
            self.open.remove((flight.number, i))  # a KeyError: handed over twice, or lost and handed over
            took_ns = run.clock.now_ns - self.sent_ns[flight.number]
            bits = flight.segmentation.coded_bits if part is None else flight.segmentation.packet_bits()[part].sum()
            assert took_ns + 2 >= bits / fastest_bps * 1e9 + latency_ns
            if part is None:
                self.whole_coded_bits[flight.number] = flight.segmentation.coded_bits
            hand_over(flight, i, part)

        def watched_lose(flight: Any, i: int, cause: str) -> None:
            self.open.remove((flight.number, i))
            lose(flight, i, cause)

        assert not waiting
        transport.send, transport._hand_over, transport._lose = watched_send, watched_hand_over, watched_lose


def run_of(loaded: Loaded, executor: str = "null", window: int | None = None, watch: Watch | None = None) -> RunRecord:
    run = Run(loaded, executor, window, None, None, None)
    if watch is not None:
        watch(run)
    run.go()
    record = run.record()
    record.scenario = run  # type: ignore[attr-defined]
    return record


@settings(
    max_examples=80, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
@given(scenarios())
def test_everything_closes(changes):
    loaded, watch = load_text(BASE, changes), Watch()
    record = run_of(loaded, watch=watch)
    ledger_closes(record, watch)
    timelines_close(record, loaded)
    joules_close(record, loaded)
    assert run_of(loaded).event_digest == record.event_digest


def ledger_closes(record: RunRecord, watch: Watch) -> None:
    assert record.messages_sent == watch.pairs
    assert record.messages_in_flight == len(watch.open)
    delivered = record.messages_delivered_used + record.messages_delivered_unused
    assert record.messages_delivered_unused >= 0
    assert record.messages_sent == delivered + sum(record.messages_lost.values()) + record.messages_in_flight
    assert record.coded_bits >= record.payload_bits
    assert record.on_air_bits >= sum(watch.whole_coded_bits.values())
    assert record.on_air_bits == record.sent_bits_by_node.sum()
    assert record.packets_lost <= record.packets_sent
    for column in (record.eval_payload_bits, record.eval_coded_bits, record.eval_on_air_bits):
        assert (np.diff(column) >= 0).all()
    assert (np.diff(record.eval_energy_j.sum(axis=1)) >= -1e-9).all()


def timelines_close(record: RunRecord, loaded: Loaded) -> None:
    for seconds in (record.processor_s, record.radio_s, record.program_s):
        assert seconds.min() >= 0.0
        assert seconds.sum(axis=1) == pytest.approx(np.full(len(seconds), record.simulated_s), abs=NS)
    scenario = loaded.scenario
    if scenario.mac.kind != "ideal" and (scenario.server is None or scenario.phy.duplex == "tdd"):
        assert record.radio_s[:, BOTH].max() == 0.0


def joules_close(record: RunRecord, loaded: Loaded) -> None:
    """Every state's seconds times its watts, by hand."""
    rest_w = {"idle": IDLE_W} if loaded.scenario.mac.kind != "shared" else {"listen": LISTEN_W}
    radio = record.radio_s[: record.num_devices]
    watts = 10 ** (12.0 / 10) / 1e3 / EFFICIENCY + TX_CIRCUIT_W
    expected = {use: np.zeros(record.num_devices) for use in ENERGY_USES}
    expected["compute"] = record.processor_s[: record.num_devices, 0] * ACTIVE_W
    expected["transmit"] = (radio[:, TX] + radio[:, BOTH]) * watts
    expected["receive"] = (radio[:, RX] + radio[:, BOTH]) * RX_W
    for use, rest in rest_w.items():
        expected[use] = (radio[:, ACCESS] + radio[:, LISTEN]) * rest
    for u, use in enumerate(ENERGY_USES):
        assert record.energy_j[: record.num_devices, u] == pytest.approx(expected[use], rel=1e-9, abs=1e-12)
    if loaded.scenario.server is not None:
        assert record.energy_j[-1, 0] == pytest.approx(record.processor_s[-1, 0] * 2.0, rel=1e-9)


LEARNERS = {
    "fedavg": [SERVER, 'topology="star"', "mac.kind=fdma", "algorithm={name='fedavg', local_steps=2, deadline_s=1.0}"],
    "dpsgd": ['topology="ring"', "mac.kind=shared", "algorithm={name='dpsgd', deadline_s=1.0}"],
    "gossip": ['topology="ring"', "mac.kind=shared", "algorithm={name='gossip', period_s=0.3}"],
}
LOSSY = ["stop.simulated_s=3.0", "channel.fading={kind='rayleigh', block_s=0.05}", "transport.partial=use"]


@pytest.mark.parametrize("name", LEARNERS)
def test_same_seed_same_events_whatever_executes_them(name):
    """The batch window and the executor change when numbers are computed, never an event; another seed changes both."""
    loaded = load_text(BASE, [*LEARNERS[name], *LOSSY])
    digests = {
        run_of(loaded, executor, window).event_digest
        for executor, window in (("null", None), ("eager", None), ("batched", None), ("batched", 3))
    }
    assert len(digests) == 1
    assert run_of(load_text(BASE, [*LEARNERS[name], *LOSSY], 2)).event_digest not in digests
