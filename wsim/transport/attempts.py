"""Attempts and what follows from them: reliability, feedback, expiry.

Each attempt of a flight hands a transfer to the medium; when its bits have been on the air, the fates of its packets are drawn.
What happens then is the reliability:

    none      what is lost is lost
    arq       a feedback after every attempt names what is missing; it is sent again, up to max_attempts
    nack      a feedback only where something is missing and something arrived (who got nothing cannot complain)
    fountain  coded packets of an ideal erasure code until every receiver has as many as the message has packets; one feedback

A feedback is `feedback_bytes` at the rate of the message, on the same air, billed to the sender's transmission (a
simplification: the receiver's transmit energy for it is not separated). partial = "use" delivers what arrived with a mask;
"drop" loses the message if a packet is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsim.cells import Cells
from wsim.clock import Call, Clock
from wsim.ledger import Ledger
from wsim.links import Links
from wsim.mac.transfer import Medium, Transfer
from wsim.transport.config import TransportConfig
from wsim.transport.delivery import Delivery
from wsim.transport.fates import Fates
from wsim.transport.flight import Flight


class Attempts:
    """medium_of: node -> the medium that carries what it sends."""

    def __init__(
        self,
        config: TransportConfig,
        clock: Clock,
        links: Links,
        medium_of: Callable[[int], Medium],
        ledger: Ledger,
        fates: Fates,
        delivery: Delivery,
        cells: Cells | None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._links = links
        self._medium_of = medium_of
        self._ledger = ledger
        self._fates = fates
        self._delivery = delivery
        self._cells = cells

    # -- on the air ----------------------------------------------------------------------------------------------------

    def start(self, flight: Flight, packets: np.ndarray | None = None) -> None:
        """Put these packets (None: all) on the air, with the feedback that the reliability asks for."""
        parts = flight.segmentation
        flight.sending = packets
        flight.attempts += 1
        bits = parts.coded_bits if packets is None else int(parts.packet_bits()[packets].sum())
        if flight.reliability == "arq" or (flight.reliability == "fountain" and flight.attempts == 1):
            bits += self._config.feedback_bits * len(flight.receivers)
        elif flight.reliability == "nack" and flight.attempts > 1:
            bits += self._config.feedback_bits * self._num_complaints(flight)
        if packets is not None:
            self._ledger.packets_sent += len(packets) * sum(flight.pending)
        tx, receivers = (flight.sender, flight.receivers) if self._cells is None else self._cells.ends(flight)
        transfer = flight.transfer = Transfer(flight, tx, receivers, bits, self._efficiency(flight, tx))
        self._medium_of(flight.sender).submit(transfer, flight.attempts > 1)

    def _num_complaints(self, flight: Flight) -> int:
        """Receivers that miss something and hold something: who got nothing cannot complain."""
        arrived = flight.arrived
        return 0 if arrived is None else sum(p and bool(some.any()) for p, some in zip(flight.pending, arrived))

    def _efficiency(self, flight: Flight, tx: int) -> float | None:
        """None: follow the channel. A broadcast never adapts to one receiver."""
        config = self._config
        if flight.efficiency is not None:
            return flight.efficiency
        if not flight.broadcast:
            return self._links.fixed_efficiency_bps_hz if config.fixed_rate else None
        if config.broadcast_rate_bps is not None:
            return config.broadcast_rate_bps / config.bandwidth_hz
        return self._links.broadcast_efficiency(
            tx,
            flight.receivers,
            config.broadcast_reach,
            config.bandwidth_hz,
            self._clock.now_s,
            () if self._cells is None else self._cells.interferers(tx),
        )

    def cut(self, flight: Flight) -> float:
        """Take what is queued or on the air of it off; returns the bits that were through."""
        transfer = flight.transfer
        assert transfer is not None
        drained = self._medium_of(flight.sender).cancel(transfer)
        self.book(transfer, round(drained))
        flight.transfer = None
        return drained

    def book(self, transfer: Transfer, bits: int) -> None:
        """A transfer is over that had so many bits on the air."""
        mean_band_hz = transfer.hz_ns / transfer.airtime_ns if transfer.airtime_ns > 0 else 0.0
        self._ledger.on_air(transfer.tx, bits, round(transfer.airtime_ns), mean_band_hz)

    # -- what became of it ---------------------------------------------------------------------------------------------

    def done(self, transfer: Transfer) -> None:
        """The medium has drained the transfer."""
        flight = transfer.flight
        self.book(transfer, transfer.bits)
        flight.transfer = None
        if self._fates.are_certain(transfer):
            everybody = self._delivery.arrive_whole(flight)
            self._delivery.close(flight, everybody)
            return
        self._fates.draw(transfer, self._clock.now_ns, None)
        self.decide(flight)

    def decide(self, flight: Flight) -> None:
        """After an attempt: who has all of it, who gets another attempt, who has lost it."""
        arrived = flight.arrived
        assert arrived is not None
        self._hand_over_whole(flight, arrived)
        again = [
            i
            for i in range(len(flight.receivers))
            if flight.pending[i] and (flight.reliability != "nack" or arrived[i].any())
        ]
        if again and flight.reliability != "none" and flight.attempts < self._config.max_attempts:
            missing = ~arrived[again]
            if flight.reliability == "fountain":
                packets = np.arange(int(missing.sum(axis=1).max()))
            else:
                packets = np.flatnonzero(missing.any(axis=0))
            self.start(flight, packets)
            return
        self._give_up(flight, None)

    def _hand_over_whole(self, flight: Flight, arrived: np.ndarray) -> None:
        """To every receiver that now has all packets."""
        for i in range(len(flight.receivers)):
            if flight.pending[i] and arrived[i].all():
                self._delivery.arrive(flight, i, None)

    def _give_up(self, flight: Flight, cause: str | None) -> None:
        """No further attempt: use what arrived in part, or lose it."""
        for i in range(len(flight.receivers)):
            if not flight.pending[i]:
                continue
            part = None if flight.arrived is None else flight.arrived[i]
            usable = self._config.partial_use and flight.payload.codec is not None and flight.reliability != "fountain"
            if usable and part is not None and part.any():
                self._delivery.arrive(flight, i, part)
            else:
                self._delivery.lose(flight, i, cause or flight.cause[i])
        self._delivery.close(flight, bool(flight.arrived is not None and flight.arrived.all()))

    def expire(self, call: Call) -> None:
        """Whatever is queued or on the air now is dropped, cause `deadline`; packets that were through stay through."""
        flight: Flight = call.data
        transfer = flight.transfer
        if transfer is not None:
            drained = self.cut(flight)
            if transfer.history:  # of a fixed rate: it was cut short here
                transfer.history.append((self._clock.now_ns, drained, transfer.history[-1][2]))
            if drained > 0:
                num_sent = flight.num_through(drained)
                only_feedback_cut = num_sent == len(flight.packets)
                if only_feedback_cut or (num_sent and self._config.partial_use):
                    self._fates.draw(transfer, self._clock.now_ns, num_sent)
        if flight.arrived is not None:
            self._hand_over_whole(flight, flight.arrived)
        self._give_up(flight, "deadline")
