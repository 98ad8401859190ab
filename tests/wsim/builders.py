"""Tiny scenarios for tests of the air: hand-placed devices in free space, rates that follow by hand, toy programs.

    rate = BANDWIDTH_HZ * log2(1 + snr)      no SNR gap, no overhead, no cap in reach, no floor in reach

Devices of a cell stand around the server at 100 m and differ in power only; peers stand where a test puts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from learners.protocol import Observe, Payload, Receive, Send, Sleep
from wsim.engine import Run
from wsim.scenario import Loaded, load_text

BANDWIDTH_HZ = 1e6
CARRIER_HZ = 1e9
NOISE_DBM = -174.0 + 10 * math.log10(BANDWIDTH_HZ) + 7.0  # thermal noise over the band, noise figure 7 dB
MTU_BITS, HEADER_BITS, FEEDBACK_BITS = 1500 * 8, 44 * 8, 52 * 8
ROOM_BITS = MTU_BITS - HEADER_BITS  # payload of a full packet
CIRCUIT_W, AMPLIFIER, ACTIVE_W, RX_W, LISTEN_W, IDLE_W = 0.1, 0.35, 0.15, 0.2, 0.18, 0.05

_BASE = f"""
scenario = {{ name = "tiny", seed = 1 }}
stop = {{ simulated_s = 1000.0 }}
area = {{ shape = "square", side_m = 20000.0 }}
data = {{ name = "gaussian_mixture", num_classes = 2, num_features = 2, num_samples = 400 }}
model = {{ name = "mlp", hidden = [2] }}
phy = {{ snr_gap_db = 0.0, overhead = 0.0, max_efficiency_bps_hz = 100.0, min_snr_db = -60.0 }}
channel = {{ carrier_hz = {CARRIER_HZ}, bandwidth_hz = {BANDWIDTH_HZ}, path_loss = "free_space" }}
evaluation = {{ every_rounds = 1000000 }}
algorithm = "toy"
"""

_GROUP = f"""
[[devices]]
name = "%s"
count = %d
%s
compute = {{ effective_flops = 1e6, active_w = {ACTIVE_W} }}
radio = {{ tx_power_dbm = %r }}
energy = {{ pa_efficiency = {AMPLIFIER}, tx_circuit_w = {CIRCUIT_W}, rx_w = {RX_W}, listen_w = {LISTEN_W}, idle_w = {IDLE_W} }}
"""

Program = Callable[[Any], Any]


@dataclass(frozen=True)
class Toy:
    """A learner whose programs are those of a test: `programs(node)` gives what the node runs."""

    task: Any = None
    codec: Any = None
    num_rounds: int | None = None
    programs: Any = None

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False

    def program(self, node: Any) -> Any:
        return self.programs(node)


@dataclass(frozen=True)
class ToyCell(Toy):
    uses_server: ClassVar[bool] = True


def free_space_db(distance_m: float) -> float:
    return 20 * math.log10(4 * math.pi * distance_m * CARRIER_HZ / 299_792_458.0)


def power_dbm(snr_db: float, distance_m: float = 100.0) -> float:
    """The power that gives this SNR over the whole band at this distance."""
    return snr_db + NOISE_DBM + free_space_db(distance_m)


def rate_bps(snr_db: float, band: float = 1.0) -> float:
    """Of a link that holds this part of the band; its SNR is that of the band held."""
    return BANDWIDTH_HZ * band * math.log2(1 + 10 ** (snr_db / 10))


def coded_bits(payload_bits: int) -> int:
    """With a header in every packet."""
    return -(-payload_bits // 8) * 8 + max(1, -(-payload_bits // ROOM_BITS)) * HEADER_BITS


def cell(
    snr_db: Sequence[float], *changes: str, mac: str = "ideal", server_snr_db: float = 10.0, seed: int = 1
) -> Loaded:
    """A server at the origin and one device for each of snr_db (its uplink over the whole band), 100 m away
    unless a change makes it a walker."""
    groups = []
    for i, snr in enumerate(snr_db):
        angle = 2 * math.pi * i / len(snr_db)
        place = [[100.0 * math.cos(angle), 100.0 * math.sin(angle), 0.0]]
        walks = any(f"d-{i}.mobility" in change and "random_waypoint" in change for change in changes)
        groups.append(_GROUP % (f"d-{i}", 1, "" if walks else f"positions_m = {place}", power_dbm(snr)))
    server = (
        f'topology = "star"\nmac = "{mac}"\n[server]\nposition_m = [0.0, 0.0, 0.0]\n'
        f"radio = {{ tx_power_dbm = {power_dbm(server_snr_db)!r} }}\n"
    )
    return load_text(_BASE + server + "".join(groups), changes, seed, learner=ToyCell)


def peers(
    places_m: Iterable[tuple[float, float]],
    *changes: str,
    mac: str = "ideal",
    snr_db: float = 10.0,
    seed: int = 1,
    referenced: dict[str, str] | None = None,
) -> Loaded:
    """Devices at these places, no server; snr_db: over 100 m."""
    places = [[x, y, 0.0] for x, y in places_m]
    group = _GROUP % ("peers", len(places), f"positions_m = {places}", power_dbm(snr_db))
    text = _BASE + f'topology = "complete"\nmac = "{mac}"\n' + group
    return load_text(text, changes, seed, learner=Toy, referenced=referenced)


def play(
    loaded: Loaded,
    programs: Program | dict[int, Program],
    *,
    executor: str = "null",
    hook: Callable[[Run], None] | None = None,
) -> Run:
    """Run toy programs to the end: a function of the node, or functions by node id (the other nodes do nothing).

    hook: is given the run before it starts."""

    def program(node: Any) -> Any:
        return programs.get(node.id, silent)(node) if isinstance(programs, dict) else programs(node)

    learner = (ToyCell if loaded.scenario.server is not None else Toy)(programs=program)
    run = Run(loaded, executor, None, None, learner, None)
    if hook is not None:
        hook(run)
    run.go()
    return run


def silent(node: Any) -> Any:
    """The program of a node that does nothing."""
    yield from ()


def sends(to: int | Sequence[int], payload_bits: int, count: int = 1, **how: Any) -> Program:
    """A program that sends `count` messages at once."""

    def program(node: Any) -> Any:
        for k in range(count):
            yield Send(to, "m", k, Payload(None, payload_bits), **how)

    return program


def arrivals(log: list[tuple[float, int, int]], count: int) -> Program:
    """A program that logs `count` receptions as (seconds, sender, round)."""

    def program(node: Any) -> Any:
        for _ in range(count):
            message = (yield Receive(None, "m", count=1)).messages[0]
            log.append(((yield Observe("time")), message.sender, message.round))

    return program


def waits(seconds: float) -> Program:
    """A program that keeps the run going for so long (a run ends with its last program)."""

    def program(node: Any) -> Any:
        yield Sleep(seconds)

    return program


def bits(num_bits: int) -> Payload:
    """A payload of this length without content."""
    return Payload(None, num_bits)


def ledger_closes(run: Run) -> bool:
    """sent = delivered + lost + in flight, the last counted by itself."""
    ledger = run.ledger
    return ledger.sent == ledger.delivered + sum(ledger.lost.values()) + run.transport.in_flight
