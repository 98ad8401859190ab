"""Where time and joules went: the three timelines of every node and the energy drawn in their states.

Processor: computing or idle; it is a queue, so only its busy time and the end of the present job are kept.
Radio: one state at a time. Between two changes a node's radio is on the air for a share `tx` of the time and receives for a
share `rx` (fractions where a carrier is shared in time). A half-duplex radio never does both: tx + rx <= 1. In an FDD (full-duplex)
radio shares overlap as independent ones. The rest is `accessing` while something waits to be sent, else `listening` (for a
scheduled cell device: connected and idle). Transmit power is drawn only in `transmitting` and `both`.
Program: what each generator waits for.

Everything is integer nanoseconds held in float64 arrays (exact below 2^53 ns = 104 days), so every timeline closes exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wsim.clock import NS_PER_S
from wsim.record import ENERGY_USES, PROCESSOR_STATES, RADIO_STATES

TX, RX, BOTH, ACCESS, LISTEN = (
    RADIO_STATES.index(s) for s in ("transmitting", "receiving", "both", "accessing", "listening")
)
ASLEEP = RADIO_STATES.index("asleep")
_SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Power:
    """Watts drawn in each state, [num_nodes] each (transmit power is kept by `Radios`). `rest_is_idle` says whether a
    resting radio is billed as idle (scheduled by a base station) or as listening (a carrier it must sense). sleeps: [num_nodes]
    whether it draws sleep_w instead of idle_w while it has nothing to send or receive; the base station wakes it at once."""

    compute_w: np.ndarray
    rx_w: np.ndarray
    listen_w: np.ndarray
    idle_w: np.ndarray
    counted: np.ndarray  # bool: False for a server whose energy is not counted
    rest_is_idle: bool
    sleeps: np.ndarray
    sleep_w: np.ndarray


class Processors:
    """The processor timeline: jobs of a node run one after the other."""

    def __init__(self, num_nodes: int) -> None:
        self.busy_ns = [0] * num_nodes
        self.free_at_ns = [0] * num_nodes

    def run(self, node: int, now_ns: int, duration_ns: int) -> int:
        """Queue a job; returns when it will be done."""
        start = self.free_at_ns[node]
        if start < now_ns:
            start = now_ns
        self.busy_ns[node] += duration_ns
        self.free_at_ns[node] = start + duration_ns
        return start + duration_ns

    def suspend(self, node: int, now_ns: int) -> int:
        """Stop what the node computes; returns how much of it is left, for `resume`."""
        left_ns = max(self.free_at_ns[node] - now_ns, 0)
        self.busy_ns[node] -= left_ns
        self.free_at_ns[node] = min(self.free_at_ns[node], now_ns)
        return left_ns

    def resume(self, node: int, now_ns: int, left_ns: int) -> None:
        """Go on with the `left_ns` that `suspend` returned."""
        if left_ns:
            self.run(node, now_ns, left_ns)

    def computing_ns(self, now_ns: int) -> np.ndarray:
        """[num_nodes] time spent computing until now; what is queued behind now has not been spent."""
        ahead = np.maximum(np.array(self.free_at_ns, dtype=np.float64) - now_ns, 0.0)
        return np.array(self.busy_ns, dtype=np.float64) - ahead


def elements(array: np.ndarray) -> Any:
    """The memory of a contiguous array, element by element as Python numbers: in a third of the time of the array itself."""
    return memoryview(array)  # type: ignore[arg-type]  # numpy's own stub lacks the buffer protocol


class Radios:
    """The radio timeline of all nodes, in arrays; `settle` must be called before any share of a node changes.

    The arrays are never replaced: what concerns one node only goes by `elements` of the same memory."""

    def __init__(self, full_duplex: np.ndarray, tx_w: np.ndarray) -> None:
        """full_duplex: [num_nodes] bool; tx_w: [num_nodes] watts drawn while on the air (amplifier and circuit)."""
        n = len(full_duplex)
        self.full_duplex = full_duplex
        self._any_full_duplex = bool(full_duplex.any())
        self.tx_w = np.ascontiguousarray(tx_w, dtype=np.float64)
        self.tx_j = np.zeros(n)
        self.state_ns = np.zeros((len(RADIO_STATES), n))
        self.tx_share = np.zeros(n)
        self.rx_share = np.zeros(n)
        self.waiting = np.zeros(n, dtype=np.int64)  # transfers that wait for or are on the air
        self.since_ns = np.zeros(n)
        self._one_full_duplex, self._one_tx_w, self._one_tx_j = map(elements, (full_duplex, self.tx_w, self.tx_j))
        self._one_tx_share, self._one_rx_share = elements(self.tx_share), elements(self.rx_share)
        self._one_waiting, self._one_since_ns = elements(self.waiting), elements(self.since_ns)
        self._one_state_ns = [elements(row) for row in self.state_ns]

    def off(self) -> np.ndarray:
        """Indices of the nodes whose radio is switched off: none, ever."""
        return np.empty(0, dtype=np.int64)

    def settle(self, nodes: np.ndarray | slice, now_ns: int) -> None:
        """Book the time since the last change at the present shares."""
        elapsed = now_ns - self.since_ns[nodes]
        if not elapsed.any():
            return
        tx, rx = np.minimum(self.tx_share[nodes], 1.0), np.minimum(self.rx_share[nodes], 1.0)
        state = self.state_ns
        if self._any_full_duplex:
            overlap = np.where(self.full_duplex[nodes], tx * rx, 0.0)
            tx, rx = tx - overlap, rx - overlap
            both = np.rint(overlap * elapsed)
        else:
            both = np.zeros_like(elapsed)
        if (tx + rx).max() > 1.0 + _SHARE_TOLERANCE:
            raise AssertionError("a half-duplex radio would send and receive at once")
        sending = np.minimum(np.rint(tx * elapsed), elapsed - both)
        receiving = np.minimum(np.rint(rx * elapsed), elapsed - both - sending)
        rest = elapsed - both - sending - receiving
        access = rest * (self.waiting[nodes] > 0)
        self.tx_j[nodes] += (both + sending) * (self.tx_w[nodes] / NS_PER_S)
        state[BOTH, nodes] += both
        state[TX, nodes] += sending
        state[RX, nodes] += receiving
        state[ACCESS, nodes] += access
        state[LISTEN, nodes] += rest - access
        self.since_ns[nodes] = now_ns

    def settle_one(self, node: int, now_ns: int) -> None:
        """`settle` for one node, without the overhead of arrays."""
        elapsed = now_ns - self._one_since_ns[node]
        if elapsed == 0.0:
            return
        self._one_since_ns[node] = now_ns
        tx, rx = self._one_tx_share[node], self._one_rx_share[node]
        state = self._one_state_ns
        rest_state = ACCESS if self._one_waiting[node] > 0 else LISTEN
        sends, receives = tx >= 1.0, rx >= 1.0
        all_or_nothing = (sends or tx == 0.0) and (receives or rx == 0.0)
        if all_or_nothing and (not (sends and receives) or self._one_full_duplex[node]):
            whole = (BOTH if receives else TX) if sends else (RX if receives else rest_state)
            state[whole][node] += elapsed
            if sends:
                self._one_tx_j[node] += elapsed * self._one_tx_w[node] / NS_PER_S
            return
        tx, rx = min(tx, 1.0), min(rx, 1.0)
        overlap = tx * rx if self._one_full_duplex[node] else 0.0
        if tx + rx - overlap > 1.0 + _SHARE_TOLERANCE:
            raise AssertionError("a half-duplex radio would send and receive at once")
        both = round(overlap * elapsed)
        sending = min(round((tx - overlap) * elapsed), elapsed - both)
        receiving = min(round((rx - overlap) * elapsed), elapsed - both - sending)
        rest = elapsed - both - sending - receiving
        if both or sending:
            self._one_tx_j[node] += (both + sending) * self._one_tx_w[node] / NS_PER_S
            state[TX][node] += sending
            if both:
                state[BOTH][node] += both
        if receiving:
            state[RX][node] += receiving
        if rest:
            state[rest_state][node] += rest

    def change(self, node: int, now_ns: int, tx: float = 0.0, rx: float = 0.0, waiting: int = 0) -> None:
        """Settle a node, then add to its shares and its count of waiting transfers."""
        if self._one_since_ns[node] != now_ns:
            self.settle_one(node, now_ns)
        if tx:
            changed = self._one_tx_share[node] + tx
            self._one_tx_share[node] = changed if changed > 0.0 else 0.0
        if rx:
            self.change_receivers((node,), now_ns, rx)
        if waiting:
            self._one_waiting[node] += waiting

    def change_receivers(self, nodes: tuple[int, ...], now_ns: int, change: float) -> None:
        """`change` of the receiving share of several nodes."""
        since_ns, share = self._one_since_ns, self._one_rx_share
        for node in nodes:
            if since_ns[node] != now_ns:
                self.settle_one(node, now_ns)
            changed = share[node] + change
            share[node] = changed if changed > 0.0 else 0.0

    def stalled(self, node: int, stalled_ns: float) -> None:
        """Part of booked transmit time in which the rate was zero: nothing was on the air. The node was accessing, or only
        receiving where it did both."""
        state = self.state_ns
        accessing = min(stalled_ns, float(state[TX, node]))
        receiving = min(stalled_ns - accessing, float(state[BOTH, node]))
        state[TX, node] -= accessing
        state[ACCESS, node] += accessing
        state[BOTH, node] -= receiving
        state[RX, node] += receiving
        self.tx_j[node] -= (accessing + receiving) * self.tx_w[node] / NS_PER_S

    def several_stalled(self, nodes: np.ndarray, stalled_ns: np.ndarray) -> None:
        """`stalled` for several nodes, each named once."""
        state = self.state_ns
        accessing = np.minimum(stalled_ns, state[TX, nodes])
        receiving = np.minimum(stalled_ns - accessing, state[BOTH, nodes])
        state[TX, nodes] -= accessing
        state[ACCESS, nodes] += accessing
        state[BOTH, nodes] -= receiving
        state[RX, nodes] += receiving
        self.tx_j[nodes] -= (accessing + receiving) * self.tx_w[nodes] / NS_PER_S

    def set_power(self, node: int, now_ns: int, tx_w: float) -> None:
        """Change the watts drawn on the air from now on."""
        self.settle_one(node, now_ns)
        self.tx_w[node] = tx_w


def power_w(power: Power, processors: Processors, radios: Radios, now_ns: int) -> np.ndarray:
    """[num_nodes] watts drawn from now until the next change of any state (a stalled transfer counts as on the air)."""
    tx, rx = np.minimum(radios.tx_share, 1.0), np.minimum(radios.rx_share, 1.0)
    overlap = np.where(radios.full_duplex, tx * rx, 0.0)
    rest = 1.0 - (tx + rx - overlap)
    computing = np.array(processors.free_at_ns) > now_ns
    resting_w = power.idle_w if power.rest_is_idle else power.listen_w
    if power.sleeps.any():
        resting_w = np.where(power.sleeps & (radios.waiting == 0), power.sleep_w, resting_w)
    total = computing * power.compute_w + tx * radios.tx_w + rx * power.rx_w + rest * resting_w
    watts: np.ndarray = total * power.counted
    watts[radios.off()] = 0.0
    return watts


def energy_j(power: Power, processors: Processors, radios: Radios, observe_j: np.ndarray, now_ns: int) -> np.ndarray:
    """[num_nodes, len(ENERGY_USES)] joules drawn until now, from the two timelines."""
    state_s = radios.state_ns / NS_PER_S
    rest_s = state_s[ACCESS] + state_s[LISTEN]
    by_use = {
        "compute": processors.computing_ns(now_ns) / NS_PER_S * power.compute_w,
        "transmit": radios.tx_j,
        "receive": (state_s[RX] + state_s[BOTH]) * power.rx_w,
        "listen": rest_s * power.listen_w if not power.rest_is_idle else np.zeros_like(rest_s),
        "idle": _idle_j(power, state_s) if power.rest_is_idle else np.zeros_like(rest_s),
        "observe": observe_j,
    }
    return np.stack([by_use[use] for use in ENERGY_USES], axis=1) * power.counted[:, None]


def _idle_j(power: Power, state_s: np.ndarray) -> np.ndarray:
    """[num_nodes] joules of resting in a cell, asleep or not."""
    if not power.sleeps.any():
        idle_j: np.ndarray = (state_s[ACCESS] + state_s[LISTEN]) * power.idle_w
        return idle_j
    return state_s[ACCESS] * power.idle_w + state_s[LISTEN] * np.where(power.sleeps, power.sleep_w, power.idle_w)


def radio_s(power: Power, radios: Radios) -> np.ndarray:
    """[num_nodes, len(RADIO_STATES)] seconds; the rest of one that sleeps is `asleep`."""
    seconds: np.ndarray = np.ascontiguousarray(radios.state_ns.T) / NS_PER_S
    seconds[power.sleeps, ASLEEP] = seconds[power.sleeps, LISTEN]
    seconds[power.sleeps, LISTEN] = 0.0
    return seconds


def processor_s(processors: Processors, now_ns: int) -> np.ndarray:
    """[num_nodes, len(PROCESSOR_STATES)] seconds."""
    computing = processors.computing_ns(now_ns)
    return np.stack([computing, now_ns - computing], axis=1)[:, : len(PROCESSOR_STATES)] / NS_PER_S
