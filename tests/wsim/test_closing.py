"""Everything closes, whatever the scenario: the ledger, the three timelines, the joules; and nothing arrives before it can.

Random small scenarios over medium access, duplex, fading, mobility, losses, reliability, expiry, deadlines, latency, learners and
stop conditions at odd instants. The run is an estimate: same events, no arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
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


KINDS = [
    *(("fedavg", mac) for mac in ("ideal", "fdma", "tdma")),
    *((name, mac) for name in ("dpsgd", "gossip") for mac in ("ideal", "shared")),
]
TOPOLOGIES = [
    'topology="ring"',
    'topology={kind="radio", neighbor_mean_snr_db=15.0, update_every_s=0.7}',
    'topology="complete"',
    'topology={kind="random_regular", degree=4}',
]
FADINGS = [
    '{kind="rayleigh", block_s=0.04}',
    '{kind="rician", k_db=3.0, correlation="doppler", environment_speed_mps=0.2}',
    '{kind="rayleigh", block_s=0.04, delay_profile="tdl_a", delay_spread_s=1e-6, num_blocks=6}',
    '"none"',
]
STOPS = {
    "rounds": st.integers(1, 4),
    "simulated_s": st.floats(0.01, 2.5),
    "air_bits": st.floats(1e5, 2e6),
    "energy_j": st.floats(0.1, 10.0),
}


@st.composite
def scenarios(draw: st.DrawFn, name: str, mac: str) -> list[str]:
    """Changes of the base scenario."""

    def one_of(*choices: Any) -> Any:
        return draw(st.sampled_from(choices))

    limits = {key: draw(STOPS[key]) for key in sorted(draw(st.sets(st.sampled_from(sorted(STOPS)), max_size=2)))}
    limits.setdefault("simulated_s", 2.5)
    changes = [f"stop.{key}={value}" for key, value in limits.items()]
    algorithm: dict[str, Any] = {"name": name, "local_steps": one_of(2, 1, 5)}
    if name == "fedavg":
        changes += [SERVER, 'topology="star"', f"phy.duplex={one_of('tdd', 'fdd')}"]
        algorithm |= {"downlink": one_of("broadcast", "unicast"), "clients_per_round": one_of(5, 1, 9)}
        algorithm |= {
            "selection": one_of("random", "age", "deadline", "loss"),
            "late": one_of("discard", "use", "abort"),
        }
    else:
        changes.append(one_of(*TOPOLOGIES))
    if mac == "shared":
        changes.append(f"mac.sensing_snr_db={one_of(10.0, -10.0, 25.0)}")
        changes.append(f"mac.orthogonal_links={one_of('false', 'false', 'true')}")
    if name == "dpsgd":
        algorithm["exchange"] = one_of("broadcast", "unicast")
    if name == "gossip":
        algorithm |= {"period_s": one_of(0.3, 0.0), "merge": one_of("age", "mean")}
    else:
        algorithm["deadline_s"] = one_of(0.4, 0.06, 1.0)
    changes.append("algorithm={" + ", ".join(f"{key}={value!r}" for key, value in algorithm.items()) + "}")
    unit, rate, burst = one_of("packet", "packet", "message"), one_of(0.2, 0.0), one_of(1.0, 2.5)
    changes += [
        f"mac.kind={mac}",
        f"mac.latency_s={one_of(0.0123, 0.0)}",
        f"channel.fading={one_of(*FADINGS)}",
        f"channel.forced_loss={{unit='{unit}', rate={rate}, mean_burst_packets={burst}}}",
        f"transport.reliability={one_of('default', 'arq', 'none', 'nack', 'fountain')}",
        f"transport.partial={one_of('use', 'drop')}",
        f"transport.max_attempts={one_of(3, 100)}",
        f"phy.min_snr_db={one_of(5.0, -10.0)}",
        *one_of(["devices.some.mobility={kind='random_waypoint', speed_mps=[1.0, 5.0]}"], []),
        *one_of(["transport.expires_s=0.3"], [], ["transport.expires_s=0.02"]),
        *one_of(["phy.rate=fixed", "phy.fixed_efficiency_bps_hz=2.0"], []),
        *one_of(["evaluation.every_s=0.37"], []),
    ]
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
        send, hand_over, lose = transport.send, transport.delivery.hand_over, transport.delivery.lose
        phy, band = scenario.phy, scenario.channel.bandwidth_hz
        fastest_bps = (1 - phy.overhead) * phy.max_efficiency_bps_hz * band
        latency_ns = scenario.mac.latency_s * 1e9

        def watched_send(sender: int, audiences: Any, *others: Any) -> Any:
            for number, receivers in enumerate(audiences, start=transport._number + 1):
                self.sent_ns[number] = run.clock.now_ns
                for i in range(len(receivers)):
                    self.open.add((number, i))
                    self.pairs += 1
            return send(sender, audiences, *others)

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

        transport.send = watched_send
        transport.delivery.hand_over, transport.delivery.lose = watched_hand_over, watched_lose


def run_of(loaded: Loaded, executor: str = "null", window: int | None = None, watch: Watch | None = None) -> RunRecord:
    run = Run(loaded, executor, window, None, None, None)
    if watch is not None:
        watch(run)
    run.go()
    return run.record()


@pytest.mark.parametrize("num_scenarios", [6, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "mac"), KINDS)
def test_everything_closes(name: str, mac: str, num_scenarios: int) -> None:
    @settings(max_examples=num_scenarios, derandomize=True, deadline=None, database=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        loaded, watch = load_text(BASE, data.draw(scenarios(name, mac))), Watch()
        record = run_of(loaded, watch=watch)
        ledger_closes(record, watch)
        timelines_close(record, loaded)
        joules_close(record, loaded)
        assert run_of(loaded).event_digest == record.event_digest

    check()


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
