"""The wires between base stations and the server, and between stations that are edge servers.

A message whose place on the air is not its end (another station serves the device than the one that it talks to, or the server
stands elsewhere) crosses the backhaul, and so do messages between servers. Nothing is lost there. It takes

    latency + the time until the wire is free + bits / rate

bits: of packets with their headers, as on the air; a rate is that of each station's own wire, in each direction, on which messages
follow each other; without one the wires are as wide as need be. The time is added behind that on the air, also of what goes
down. Counted are of what goes up the packets that arrived at its station; of what goes down all of it, once for each station that had
it on the air, as soon as the fate of its first receiver there is decided: what the air loses has been on the wire.
"""

from __future__ import annotations

import math

from wsim.clock import NS_PER_S, Clock
from wsim.ledger import Ledger


class Backhaul:
    """server: the node index of the server, which is not limited by a wire of its own. rate_bps: None for no limit."""

    def __init__(self, clock: Clock, ledger: Ledger, server: int, latency_ns: int, rate_bps: float | None) -> None:
        self._clock = clock
        self._ledger = ledger
        self._server = server
        self._latency_ns = latency_ns
        self._rate_bps = rate_bps
        self._free_at_ns: dict[tuple[int, bool], int] = {}  # by station, and whether up

    def delay_ns(self, origin: int, target: int, bits: int) -> int:
        """How long a message of so many bits, at node `origin` now, takes until it is at node `target`."""
        return self.cross(origin, target, bits) - self._clock.now_ns + self._latency_ns

    def delay_behind_ns(self, crossed_ns: int) -> int:
        """The same of a message whose last bit leaves, or left, at this instant."""
        return max(crossed_ns - self._clock.now_ns, 0) + self._latency_ns

    def cross(self, origin: int, target: int, bits: int) -> int:
        """When the last bit of a message has left that begins now, or as soon as the wire is free."""
        now_ns = self._clock.now_ns
        self._ledger.backhaul_bits += bits
        if self._rate_bps is None:
            return now_ns
        wire = (target, False) if origin == self._server else (origin, True)
        begin_ns = max(now_ns, self._free_at_ns.get(wire, 0))
        self._free_at_ns[wire] = begin_ns + math.ceil(bits * NS_PER_S / self._rate_bps)
        return self._free_at_ns[wire]
