"""From a message to its fate.

A flight (`wsim.transport.flight`) is a message on its way. The parts of the transport, each in a file of its own:

    attempts    puts it on the air, again where the reliability asks for it, until it gives up or the message expires
    fates       which packets of an attempt arrive
    delivery    ends it: handed over to a receiver or lost, closed for the sender
    analog      sends without packets, superposed at the receiver
    departures  nodes that come and go
    handover    devices that change their base station
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from learners.protocol import Payload, Send
from wsim.accounts import Radios
from wsim.backhaul import Backhaul
from wsim.cells import Cells
from wsim.clock import DEADLINE, NEVER_NS, Clock, to_ns
from wsim.errors import SimulationError
from wsim.ledger import Ledger
from wsim.links import Links
from wsim.mac.transfer import Medium
from wsim.packets import Segmentation, segment
from wsim.streams import Streams
from wsim.transport.analog import Analog
from wsim.transport.attempts import Attempts
from wsim.transport.config import TransportConfig
from wsim.transport.delivery import Deliver, Delivery
from wsim.transport.departures import Departures
from wsim.transport.fates import Fates
from wsim.transport.flight import Flight
from wsim.transport.handover import HandOver


class Transport:
    """deliver(flight, receiver position, mask over packets or None) hands a message to its receiver; `resolved(flight,
    delivered)` tells the sender's side, where feedback exists. live: the flights under way, by number; who is not there is set
    in `delivery`."""

    def __init__(
        self,
        config: TransportConfig,
        clock: Clock,
        links: Links,
        medium_of: Callable[[int], Medium],
        ledger: Ledger,
        radios: Radios,
        streams: Streams,
        channel_of: list[int],
        deliver: Deliver,
        resolved: Callable[[Flight, bool], None],
        cells: Cells | None = None,
        scaled_tx_w: Callable[[int, float], float] | None = None,
        backhaul: Backhaul | None = None,
    ) -> None:
        """medium_of: node -> the medium that carries what it sends; channel_of: [num_nodes] the channel that each is tuned to;
        scaled_tx_w: (node, part of its present radiated power) -> watts drawn on the air."""
        self._config = config
        self._clock = clock
        self._ledger = ledger
        self._cells = cells
        self._number = 0
        scaled_tx_w = scaled_tx_w or (lambda node, power: float(radios.tx_w[node]))
        self.delivery = Delivery(clock, ledger, config.latency_ns, cells, backhaul, deliver, resolved)
        self.live = self.delivery.live
        fates = Fates(links, medium_of, ledger, streams, channel_of, config.forced_loss)
        self.attempts = Attempts(config, clock, links, medium_of, ledger, fates, self.delivery, cells)
        self.attempt_done = self.attempts.done
        self._analog = Analog(clock, links, ledger, radios, config.bandwidth_hz, self.delivery, scaled_tx_w)
        self._departures = Departures(clock, self.delivery, self.attempts, self._analog)
        self.depart = self._departures.depart
        self._hand_over: HandOver | None = None
        if cells is not None:
            self._hand_over = HandOver(cells, clock, medium_of, ledger, fates, self.delivery, self.attempts)

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """(message, receiver) pairs whose fate is open, counted one by one."""
        open_pairs = sum(sum(flight.pending) for flight in self.live.values() if flight.heard is None)
        return open_pairs + self.delivery.num_in_latency

    @property
    def waits(self) -> bool:
        """Something arrives or ends by the clock alone: latency, analog sends, expiries."""
        return self.delivery.num_in_latency > 0 or any(
            flight.coefficients is not None or flight.expiry is not None for flight in self.live.values()
        )

    def gives_feedback(self, flight: Flight) -> bool:
        return flight.reliability in ("arq", "fountain")

    def audiences(self, sender: int, receivers: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The receivers of a broadcast by the radio that it goes out from."""
        if self._cells is None or sender < self._cells.first_station or self._by_wire(sender, receivers):
            return [receivers]
        return self._cells.audiences(receivers)

    def _by_wire(self, sender: int, receivers: tuple[int, ...]) -> bool:
        """Between servers."""
        return self._cells is not None and min(sender, *receivers) >= self._cells.first_station

    # -- sending -------------------------------------------------------------------------------------------------------

    def send(self, sender: int, audiences: Sequence[tuple[int, ...]], request: Send, degree: int) -> list[Flight]:
        """The message of a request is on its way from now on, one flight for each of the audiences (array indices): a unicast
        has one receiver. degree: neighbors of the sender, as the header says."""
        if request.analog:
            return [self._send_analog(sender, receivers, request, degree) for receivers in audiences]
        config, ledger, attempts = self._config, self._ledger, self.attempts
        _, kind, round, payload, broadcast, expires_s, *_ = request
        num_bits = payload.num_bits
        reliability = config.broadcast_reliability if broadcast else config.unicast_reliability
        certain = not broadcast and not config.fixed_rate and config.forced_loss is None
        parts = segment(num_bits, config.mtu_bytes, config.header_bytes)
        lifetime_s = math.inf
        if expires_s is not None or config.expires_s is not None:
            lifetime_s = min(math.inf if s is None else s for s in (expires_s, config.expires_s))
        now_ns = self._clock.now_ns
        lifetime_ns = to_ns(lifetime_s)
        if request.expires_at_s is not None:
            lifetime_ns = min(lifetime_ns, max(0, to_ns(request.expires_at_s) - now_ns))
        flights = []
        for receivers in audiences:
            self._number += 1
            flight = Flight(self._number, sender, receivers, kind, round, payload, broadcast)
            flight.degree, flight.reliability, flight.certain, flight.segmentation = degree, reliability, certain, parts
            if self._cells is not None and self._by_wire(sender, receivers):
                flight.reliability = "none"
                ledger.sent += len(receivers)
                ledger.trace(now_ns, "send", sender, *receivers, kind, round, num_bits)
                self.delivery.go_by_wire(flight)
                flights.append(flight)
                continue
            ledger.transmission(num_bits, parts.coded_bits, len(receivers), parts.num_packets)
            ledger.trace(now_ns, "send", sender, *receivers, kind, round, num_bits)
            self.live[flight.number] = flight
            if lifetime_ns < NEVER_NS:
                flight.expiry = self._clock.after(lifetime_ns, attempts.expire, flight, DEADLINE)
            if lifetime_ns and not (self.delivery.absent and self._departures.lose_for_absent(flight)):
                attempts.start(flight)
            flights.append(flight)
        return flights

    def _send_analog(self, sender: int, receivers: tuple[int, ...], request: Send, degree: int) -> Flight:
        if self._cells is not None:
            raise SimulationError("analog sends need one cell, this scenario has [cells]")
        self._number += 1
        flight = Flight(
            self._number, sender, receivers, request.kind, request.round, request.payload, request.broadcast
        )
        flight.degree = degree
        self._analog.send(flight, request.analog_snr_db)
        return flight

    def send_beacon(
        self, sender: int, receivers: tuple[int, ...], bits: int, efficiency: float, heard: Callable[[int], None]
    ) -> int:
        """One frame of `bits` to whoever hears it. It costs air and energy; it is no message and is counted on air only.

        Returns its number, found in `live` until it has been on the air."""
        self._number += 1
        flight = Flight(self._number, sender, receivers, "beacon", 0, Payload(None, bits), True)
        flight.efficiency, flight.heard = efficiency, heard
        flight.segmentation = Segmentation(1, bits, bits, bits, bits)
        self.live[flight.number] = flight
        self.attempts.start(flight)
        return flight.number

    # -- what happens to flights meanwhile -----------------------------------------------------------------------------

    def change_stations(self, devices: Collection[int]) -> None:
        """These devices are served by other base stations from now on; see `wsim.cells`."""
        assert self._hand_over is not None
        self._hand_over.change_stations(devices)

    def close_books(self) -> None:
        """The run is over: book what unfinished transfers have had on the air; their pairs stay in flight."""
        for flight in self.live.values():
            if flight.transfer is not None:
                self.attempts.cut(flight)
        self._analog.close_books()
