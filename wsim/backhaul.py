"""The wires between base stations and the server, and between stations that are edge servers.

A message whose place on the air is not its end (another station serves the device than the one that it talks to, or the server
stands elsewhere) crosses the backhaul, and so do messages between servers. Nothing is lost there. It takes

    latency + the time until the wire is free + bits / rate

bits: of packets with their headers, as on the air; a rate is that of each station's own wire, in each direction, on which messages
follow each other; without one the wires are as wide as need be. The time is added behind that on the air, also of what goes
down. Counted are the bits of what arrives, once of a broadcast.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from wsim.clock import NS_PER_S, Clock
from wsim.ledger import Ledger

if TYPE_CHECKING:
    from wsim.transport.flight import Flight


class Backhaul:
    """server: the node index of the server, which is not limited by a wire of its own. rate_bps: None for no limit."""

    def __init__(self, clock: Clock, ledger: Ledger, server: int, latency_ns: int, rate_bps: float | None) -> None:
        self._clock = clock
        self._ledger = ledger
        self._server = server
        self._latency_ns = latency_ns
        self._rate_bps = rate_bps
        self._free_at_ns: dict[tuple[int, bool], int] = {}  # by station, and whether up

    def delay_ns(self, flight: Flight, origin: int, target: int, part: np.ndarray | None) -> int:
        """How long a flight takes, of which these packets (None: all) are at node `origin` now, until it is at node `target`."""
        now_ns = self._clock.now_ns
        if flight.crossed_ns < 0 or not flight.broadcast:
            flight.crossed_ns = self._cross(origin, target, now_ns, self._bits(flight, part))
        return max(flight.crossed_ns - now_ns, 0) + self._latency_ns

    def _cross(self, origin: int, target: int, now_ns: int, bits: int) -> int:
        """When the last bit has left."""
        self._ledger.backhaul_bits += bits
        if self._rate_bps is None:
            return now_ns
        wire = (target, False) if origin == self._server else (origin, True)
        begin_ns = max(now_ns, self._free_at_ns.get(wire, 0))
        self._free_at_ns[wire] = begin_ns + math.ceil(bits * NS_PER_S / self._rate_bps)
        return self._free_at_ns[wire]

    @staticmethod
    def _bits(flight: Flight, part: np.ndarray | None) -> int:
        parts = flight.segmentation
        return parts.coded_bits if part is None else int(parts.packet_bits()[part].sum())
