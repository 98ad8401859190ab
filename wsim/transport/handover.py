"""What becomes of flights when their devices are served by other base stations; the rules are in `wsim.cells`."""

from __future__ import annotations

from collections.abc import Callable, Collection

from wsim.cells import Cells
from wsim.clock import Clock
from wsim.ledger import Ledger
from wsim.mac.transfer import Medium, Transfer
from wsim.transport.attempts import Attempts
from wsim.transport.delivery import Delivery
from wsim.transport.fates import Fates
from wsim.transport.flight import Flight


class HandOver:
    """medium_of: node -> the medium that carries what it sends."""

    def __init__(
        self,
        cells: Cells,
        clock: Clock,
        medium_of: Callable[[int], Medium],
        ledger: Ledger,
        fates: Fates,
        delivery: Delivery,
        attempts: Attempts,
    ) -> None:
        self._cells = cells
        self._clock = clock
        self._medium_of = medium_of
        self._ledger = ledger
        self._fates = fates
        self._delivery = delivery
        self._attempts = attempts

    def change_stations(self, devices: Collection[int]) -> None:
        """These devices are served by other base stations from now on."""
        first_station = self._cells.first_station
        for flight in list(self._delivery.live.values()):
            transfer = flight.transfer
            if transfer is None:
                continue
            if flight.sender >= first_station and flight.broadcast:
                if self._cells.loses and transfer.started_ns >= 0:
                    self._leave_broadcast(flight, transfer, devices)
            elif (flight.sender if flight.sender < first_station else flight.receivers[0]) in devices:
                self._change_station(flight, transfer)

    def _leave_broadcast(self, flight: Flight, transfer: Transfer, devices: Collection[int]) -> None:
        """These devices miss what was not through of a broadcast."""
        gone = [i for i, receiver in enumerate(flight.receivers) if receiver in devices]
        if not gone:
            return
        through = flight.num_through(self._medium_of(flight.sender).drained_of(transfer))
        flight.gone.update({i: through for i in gone if flight.gone.get(i, through) >= through})

    def _change_station(self, flight: Flight, transfer: Transfer) -> None:
        """Of a unicast, that waits or is under way."""
        tx, receivers = self._cells.ends(flight)
        if transfer.started_ns < 0:  # it waits for its turn
            transfer.tx, transfer.receivers = tx, receivers
            return
        medium, loses = self._medium_of(flight.sender), self._cells.loses
        drained = int(medium.drained_of(transfer))
        if drained >= transfer.bits:  # through at this very instant
            return
        num_through = flight.num_through(drained)
        packets, packet_bits = flight.packets, flight.segmentation.packet_bits()
        rest = packets[num_through:]
        left = transfer.bits - drained
        if not loses:
            if transfer.efficiency is not None and len(rest):  # the cut packet anew, the others, and the feedback
                left = transfer.bits - int(packet_bits[packets[:num_through]].sum())
            flight.transfer = Transfer(flight, tx, receivers, left, transfer.efficiency)
            medium.submit(flight.transfer, True)
        medium.cancel(transfer)
        self._attempts.book(transfer, drained)
        if transfer.efficiency is None and not loses:
            if transfer.locked is None:
                return
            if len(rest) and not transfer.locked.all() and flight.transfer is not None:
                # nothing was received so far: the cut packet anew here, too
                flight.transfer.bits = transfer.bits - int(packet_bits[packets[:num_through]].sum())
        if transfer.history:
            transfer.history.append((self._clock.now_ns, float(drained), transfer.history[-1][2]))
        self._fates.draw(transfer, self._clock.now_ns, num_through)
        if not loses:
            flight.sending = rest
            return
        flight.transfer, flight.cause[0] = None, "departure"
        self._ledger.packets_lost += len(rest)
        self._attempts.decide(flight)
