"""The ledger of messages and bits.

Messages are counted as (message, intended receiver) pairs: sent = delivered (used | unused) + lost (by cause) + in flight.
Used is what a program took; what it then leaves out itself (updates above FedBuff's max_staleness, say) counts as used.
Bits are counted per transmission, on three levels: payload (the codec's output), coded (information bits with headers and
padding, once) and on air (coded bits of every attempt plus feedback and beacons). The in-flight count is not derived: the
engine counts the live pairs in the media when the run ends, so that closing is a check and not a definition. Bits that cross
the backhaul between base stations and the server are apart.
"""

from __future__ import annotations

import hashlib

import numpy as np

from wsim.record import LOSS_CAUSES


class Ledger:
    def __init__(self, num_nodes: int) -> None:
        self.sent = 0
        self.delivered = 0
        self.used = 0
        self.lost = dict.fromkeys(LOSS_CAUSES, 0)
        self.payload_bits = 0
        self.coded_bits = 0
        self.on_air_bits = 0
        self.backhaul_bits = 0
        self.airtime_ns = 0
        self.resource_hz_ns = 0.0
        self.packets_sent = 0
        self.packets_lost = 0
        self.sent_bits_by_node = np.zeros(num_nodes, dtype=np.int64)
        self._digest = hashlib.blake2b(digest_size=16)
        self._events: list[tuple[object, ...]] = []

    def transmission(self, payload_bits: int, coded_bits: int, num_receivers: int, num_packets: int) -> None:
        """A message was handed to the transport."""
        self.sent += num_receivers
        self.payload_bits += payload_bits
        self.coded_bits += coded_bits
        self.packets_sent += num_packets * num_receivers

    def on_air(self, sender: int, bits: int, airtime_ns: int, bandwidth_hz: float) -> None:
        """`bits` were on the air for `airtime_ns`, holding `bandwidth_hz` on average."""
        self.on_air_bits += bits
        self.airtime_ns += airtime_ns
        self.resource_hz_ns += airtime_ns * bandwidth_hz
        self.sent_bits_by_node[sender] += bits

    def superposed(self, airtime_ns: int, bandwidth_hz: float) -> None:
        """Any number of analog sends were on the air together for `airtime_ns`, without bits."""
        self.airtime_ns += airtime_ns
        self.resource_hz_ns += airtime_ns * bandwidth_hz

    def trace(self, *event: object) -> None:
        """Add an event to the run's trace; only its digest is kept."""
        self._events.append(event)
        if len(self._events) >= 4096:
            self._fold()

    def _fold(self) -> None:
        self._digest.update(repr(self._events).encode())
        self._events.clear()

    @property
    def event_digest(self) -> str:
        self._fold()
        return self._digest.hexdigest()
