"""Analog sends: uncoded, superposed at the receiver.

Two real values a complex symbol, one symbol a hertz and second over the whole band. No packets, no bits, no expiry; coefficients
are amplitudes in units of the receiver's noise. With a wanted SNR the sender inverts its channel, which it knows, by lowering
its power; who cannot reach it is silent and draws nothing for it. They are on a band of their own beside the digital traffic,
so all radios that take part must be full duplex. The band has to be flat: with a delay profile one power does not invert it.
What goes to the same receivers at the same time is superposed: however many send, that band is on the air once, while each of
them draws its own power.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsim.accounts import Radios
from wsim.clock import Call, Clock, to_ns
from wsim.errors import SimulationError
from wsim.ledger import Ledger
from wsim.links import Links
from wsim.transport.delivery import Delivery
from wsim.transport.flight import Flight


class Analog:
    """scaled_tx_w: (node, part of its present radiated power) -> watts drawn on the air."""

    def __init__(
        self,
        clock: Clock,
        links: Links,
        ledger: Ledger,
        radios: Radios,
        bandwidth_hz: float,
        delivery: Delivery,
        scaled_tx_w: Callable[[int, float], float],
    ) -> None:
        self._clock = clock
        self._links = links
        self._ledger = ledger
        self._radios = radios
        self._bandwidth_hz = bandwidth_hz
        self._delivery = delivery
        self._scaled_tx_w = scaled_tx_w
        self._on_air: dict[
            tuple[int, ...], tuple[int, int]
        ] = {}  # receivers -> how many send to them, since when any does

    def send(self, flight: Flight, snr_db: float | None) -> None:
        """snr_db: at which every receiver is to get it; None: at full power."""
        links, sender, receivers = self._links, flight.sender, np.array(flight.receivers)
        if not (self._radios.full_duplex[sender] and self._radios.full_duplex[receivers].all()):
            raise SimulationError('analog sends need mac = "ideal" or a cell with duplex = "fdd"')
        if links.blocks is not None:
            raise SimulationError("analog sends need a flat band; this one has a channel.fading.delay_profile")
        if links.ergodic:
            raise SimulationError(
                'analog sends need the gain of the moment; this channel.fading has correlation = "ergodic"'
            )
        cn0 = links.cn0(np.full(len(receivers), sender), receivers, links.cell_at(self._clock.now_ns), 1)[:, 0]
        snr = cn0 / self._bandwidth_hz
        power = 1.0
        if snr_db is not None:
            target = 10.0 ** (snr_db / 10.0)
            power = target / float(snr.min())
            power = power if power <= 1.0 + 1e-12 else 0.0
        flight.coefficients = np.sqrt(snr * power)
        self._ledger.transmission(0, 0, len(receivers), 0)
        self._ledger.trace(self._clock.now_ns, "analog", sender, *flight.receivers, flight.kind, flight.round)
        self._delivery.live[flight.number] = flight
        symbols = -(-flight.payload.num_values // 2)
        duration_ns = to_ns(symbols / self._bandwidth_hz)
        if power > 0.0:
            flight.radiates = True
            count, since_ns = self._on_air.get(flight.receivers, (0, self._clock.now_ns))
            self._on_air[flight.receivers] = count + 1, since_ns
            flight.lowers_power = power < 1.0
            if flight.lowers_power:
                self._radios.set_power(sender, self._clock.now_ns, self._scaled_tx_w(sender, power))
            self._set_radios(flight, 1.0)
        self._clock.after(duration_ns, self._done, flight)

    def _done(self, call: Call) -> None:
        flight = call.data
        if flight.number not in self._delivery.live:  # an end of it has gone meanwhile
            return
        self.end(flight)
        self._delivery.arrive_whole(flight)
        self._delivery.close(flight, True)

    def end(self, flight: Flight) -> None:
        """It is off the air, where it was on it; the last of those that were superposed books the time of all."""
        if not flight.radiates:
            return
        flight.radiates = False
        now_ns = self._clock.now_ns
        self._set_radios(flight, -1.0)
        if flight.lowers_power:
            self._radios.set_power(flight.sender, now_ns, self._scaled_tx_w(flight.sender, 1.0))
        count, since_ns = self._on_air.pop(flight.receivers)
        if count > 1:
            self._on_air[flight.receivers] = count - 1, since_ns
        else:
            self._ledger.superposed(now_ns - since_ns, self._bandwidth_hz)

    def close_books(self) -> None:
        """The run is over: book what is on the air now."""
        for _, since_ns in self._on_air.values():
            self._ledger.superposed(self._clock.now_ns - since_ns, self._bandwidth_hz)

    def _set_radios(self, flight: Flight, change: float) -> None:
        now_ns = self._clock.now_ns
        self._radios.change(flight.sender, now_ns, tx=change)
        self._radios.change_receivers(flight.receivers, now_ns, change)
