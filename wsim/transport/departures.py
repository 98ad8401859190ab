"""What becomes of flights when nodes come and go: nothing reaches who is not there, and nothing is heard from who has gone."""

from __future__ import annotations

from wsim.clock import Call, Clock
from wsim.transport.analog import Analog
from wsim.transport.attempts import Attempts
from wsim.transport.delivery import Delivery
from wsim.transport.flight import Flight


class Departures:
    def __init__(self, clock: Clock, delivery: Delivery, attempts: Attempts, analog: Analog) -> None:
        self._clock = clock
        self._delivery = delivery
        self._attempts = attempts
        self._analog = analog

    def lose_for_absent(self, flight: Flight) -> bool:
        """Before a flight is on the air: whether nobody is there to hear it, so that it never will be. For those of several
        who are not, it is lost at once."""
        gone = [i for i, receiver in enumerate(flight.receivers) if receiver in self._delivery.absent]
        if len(gone) == len(flight.receivers):
            self._clock.after(0, self._nobody_there, flight)
            return True
        for i in gone:
            self._delivery.lose(flight, i, "departure")
        return False

    def _nobody_there(self, call: Call) -> None:
        """Lost before it was on the air, at the instant of the send but after it."""
        if call.data.number in self._delivery.live:
            self._desert(call.data)

    def depart(self, node: int) -> None:
        """A node has gone: what it was sending is lost, and so is what was on its way to it alone. Messages that were through
        the medium already (latency) arrive, but not at who has gone."""
        for flight in list(self._delivery.live.values()):
            if flight.sender == node:
                self._desert(flight)
            elif node in flight.receivers:
                i = flight.receivers.index(node)
                if flight.pending[i]:
                    self._delivery.lose(flight, i, "departure")
                    if not any(flight.pending) and flight.heard is None:
                        self._desert(flight)

    def _desert(self, flight: Flight) -> None:
        """Take a flight off the air and lose what is pending of it."""
        if flight.transfer is not None:
            self._attempts.cut(flight)
        else:
            self._analog.end(flight)
        for i, pending in enumerate(flight.pending):
            if pending:
                self._delivery.lose(flight, i, "departure")
        self._delivery.close(flight, False)
