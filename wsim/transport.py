"""From a message to its fate: packets, attempts, feedback, expiry.

A flight is a message on its way to its intended receivers (one for a unicast, the frozen audience of a broadcast). Each attempt
hands a transfer to the medium; when its bits have been on the air, every packet's fate at every receiver is one vectorised
draw, never an event a packet. What happens then is the reliability:

    none      what is lost is lost
    arq       a feedback after every attempt names what is missing; it is sent again, up to max_attempts
    nack      a feedback only where something is missing and something arrived (who got nothing cannot complain)
    fountain  coded packets of an ideal erasure code until every receiver has as many as the message has packets; one feedback

A feedback is `feedback_bytes` at the rate of the message, on the same air, billed to the sender's transmission (a
simplification: the receiver's transmit energy for it is not separated). With an adaptive rate nothing is lost on the radio; a
fixed rate loses the packets during which the link could not have carried it. partial = "use" delivers what arrived with a
mask; "drop" loses the message if a packet is missing. A receiver that is tuned to another channel than the sender gets nothing,
cause `channel` (both looked at when the attempt ends).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from learners.protocol import Message, Payload
from wsim.accounts import Radios
from wsim.cells import Cells
from wsim.clock import DEADLINE, Call, Clock, to_ns
from wsim.errors import SimulationError
from wsim.ledger import Ledger
from wsim.links import DECODED, Links
from wsim.mac.transfer import Medium, Transfer
from wsim.packets import ForcedLoss, Segmentation, segment
from wsim.streams import Streams

Deliver = Callable[["Flight", int, np.ndarray | None], None]


@dataclass(frozen=True)
class TransportConfig:
    mtu_bytes: int
    header_bytes: int
    unicast_reliability: str
    broadcast_reliability: str
    partial_use: bool
    expires_s: float | None
    feedback_bits: int
    max_attempts: int
    latency_ns: int
    forced_loss: ForcedLoss | None
    fixed_rate: bool  # unicast at links.fixed_efficiency_bps_hz
    broadcast_rate_bps: float | None
    broadcast_reach: float
    bandwidth_hz: float


class Flight:
    """A message on its way. Sender and receivers are array indices; `pending[i]`: receiver i's fate is not decided yet."""

    __slots__ = (
        "analog_since_ns", "arrived", "attempts", "broadcast", "cause", "certain", "coefficients", "degree", "efficiency",
        "expiry", "full_tx_w", "gone", "heard", "kind", "message", "number", "payload", "pending",
        "receivers", "reliability", "round", "segmentation", "sender", "sending", "station", "transfer",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        sender: int,
        receivers: tuple[int, ...],
        kind: str,
        round: int,
        payload: Payload,
        broadcast: bool,
    ) -> None:
        self.number = number
        self.sender = sender
        self.receivers = receivers
        self.kind = kind
        self.round = round
        self.payload = payload
        self.broadcast = broadcast
        self.degree = 0
        self.coefficients: np.ndarray | None = None  # [num_receivers] amplitude gains of an analog send
        self.analog_since_ns: int | None = None  # while an analog send is on the air
        self.full_tx_w: float | None = (
            None  # watts that its sender draws at full power, where it lowers its power for it
        )
        self.reliability = "none"
        self.certain = False  # no packet can be lost
        self.segmentation: Segmentation = None  # type: ignore[assignment]  # set by Transport.send
        self.pending = [True] * len(receivers)
        self.arrived: np.ndarray | None = None  # [num_receivers, num_packets], made when a packet can be lost
        self.cause = ["outage"] * len(receivers)  # of the last packet that a receiver missed
        self.sending: np.ndarray | None = None  # indices of the packets in the present attempt (None: all)
        self.attempts = 0
        self.transfer: Transfer | None = None
        self.expiry: Call | None = None
        self.efficiency: float | None = None  # of a beacon, which is sent at a rate of its own
        self.message: Message | None = None  # what a receiver gets who gets all of it, kept by the driver
        self.station = -1  # the base station that a broadcast of the server goes by, where there are several
        self.gone: dict[
            int, int
        ] = {}  # receivers of a broadcast that were handed over: packets that were through by then
        self.heard: Callable[[int], None] | None = None  # a beacon: told which receiver (index) has it

    @property
    def packets(self) -> np.ndarray:
        """Indices of the packets in the present attempt."""
        return np.arange(self.segmentation.num_packets) if self.sending is None else self.sending

    def coefficient(self, i: int) -> float | None:
        return None if self.coefficients is None else float(self.coefficients[i])


class Transport:
    """deliver(flight, receiver position, mask over packets or None) hands a message to its receiver; `resolved(flight,
    delivered)` tells the sender's side, where feedback exists."""

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
    ) -> None:
        """scaled_tx_w: (node, part of its present radiated power) -> watts drawn on the air."""
        self._config = config
        self._clock = clock
        self._links = links
        self._medium_of = medium_of
        self._ledger = ledger
        self._radios = radios
        self._streams = streams
        self._channel_of = channel_of  # [num_nodes] the channel that each node is tuned to
        self._deliver = deliver
        self._resolved = resolved
        self._cells = cells
        self._scaled_tx_w = scaled_tx_w or (lambda node, power: float(radios.tx_w[node]))
        self._forced_streams: dict[tuple[int, int], np.random.Generator] = {}
        self._number = 0
        self._in_latency = 0  # through the medium, not yet handed over
        self.live: dict[int, Flight] = {}
        self.absent: frozenset[int] = frozenset()  # nodes that are not there: nothing reaches them

    @property
    def in_flight(self) -> int:
        """(message, receiver) pairs whose fate is open, counted one by one."""
        open_pairs = sum(sum(flight.pending) for flight in self.live.values() if flight.heard is None)
        return open_pairs + self._in_latency

    @property
    def waits(self) -> bool:
        """Something arrives or ends by the clock alone: latency, analog sends, expiries."""
        return self._in_latency > 0 or any(
            flight.coefficients is not None or flight.expiry is not None for flight in self.live.values()
        )

    def close_books(self) -> None:
        """The run is over: book what unfinished transfers have had on the air; their pairs stay in flight."""
        for flight in self.live.values():
            if flight.transfer is not None:
                drained = self._medium_of(flight.sender).cancel(flight.transfer)
                self._book(flight.transfer, round(drained))
                flight.transfer = None

    def gives_feedback(self, flight: Flight) -> bool:
        return flight.reliability in ("arq", "fountain")

    def audiences(self, sender: int, receivers: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The receivers of a broadcast by the radio that it goes out from."""
        if self._cells is None or sender < self._cells.first_station:
            return [receivers]
        return self._cells.audiences(receivers)

    # -- sending -------------------------------------------------------------------------------------------------------

    def send(
        self,
        sender: int,
        receivers: tuple[int, ...],
        kind: str,
        round: int,
        payload: Payload,
        broadcast: bool,
        degree: int,
        expires_s: float | None,
        analog: bool = False,
        analog_snr_db: float | None = None,
    ) -> Flight:
        config = self._config
        self._number += 1
        flight = Flight(self._number, sender, receivers, kind, round, payload, broadcast)
        flight.degree = degree
        if analog:
            if self._cells is not None:
                raise SimulationError("analog sends need one cell, this scenario has [cells]")
            return self._send_analog(flight, analog_snr_db)
        flight.reliability = config.broadcast_reliability if broadcast else config.unicast_reliability
        flight.certain = not broadcast and not config.fixed_rate and config.forced_loss is None
        parts = flight.segmentation = segment(payload.num_bits, config.mtu_bytes, config.header_bytes)
        self._ledger.transmission(sender, payload.num_bits, parts.coded_bits, len(receivers), parts.num_packets)
        self._ledger.trace(self._clock.now_ns, "send", sender, *receivers, kind, round, payload.num_bits)
        self.live[flight.number] = flight
        if expires_s is not None or config.expires_s is not None:
            lifetime_s = min(math.inf if s is None else s for s in (expires_s, config.expires_s))
            if math.isfinite(lifetime_s):
                flight.expiry = self._clock.after(to_ns(lifetime_s), self._expired, flight, DEADLINE)
        if self.absent and self._all_absent(flight):
            self._clock.after(0, self._nobody_there, flight)
        else:
            self._attempt(flight, None)
        return flight

    def _all_absent(self, flight: Flight) -> bool:
        """Nobody is there to hear it; for those of several who are not, it is lost at once."""
        gone = [i for i, receiver in enumerate(flight.receivers) if receiver in self.absent]
        if len(gone) == len(flight.receivers):
            return True
        for i in gone:
            self._lose(flight, i, "departure")
        return False

    def _nobody_there(self, call: Call) -> None:
        """Lost before it was on the air, at the instant of the send but after it."""
        if call.data.number in self.live:
            self._desert(call.data)

    def depart(self, node: int) -> None:
        """A node has gone: what it was sending is lost, and so is what was on its way to it alone. Messages that were through
        the medium already (latency) arrive, but not at who has gone."""
        for flight in list(self.live.values()):
            if flight.sender == node:
                self._desert(flight)
            elif node in flight.receivers:
                i = flight.receivers.index(node)
                if flight.pending[i]:
                    self._lose(flight, i, "departure")
                    if not any(flight.pending) and flight.heard is None:
                        self._desert(flight)

    def _desert(self, flight: Flight) -> None:
        """Take a flight off the air and lose what is pending of it."""
        if flight.transfer is not None:
            drained = self._medium_of(flight.sender).cancel(flight.transfer)
            self._book(flight.transfer, round(drained))
            flight.transfer = None
        elif flight.analog_since_ns is not None:
            self._end_analog(flight)
        for i, pending in enumerate(flight.pending):
            if pending:
                self._lose(flight, i, "departure")
        self._close(flight, False)

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
        self._attempt(flight, None)
        return flight.number

    def _send_analog(self, flight: Flight, snr_db: float | None) -> Flight:
        """Uncoded: two real values a complex symbol, one symbol a hertz and second over the whole band, superposed at the
        receiver. No packets, no bits, no expiry; coefficients are amplitudes in units of the receiver's noise. With snr_db the
        sender inverts its channel, which it knows, by lowering its power; who cannot reach it is silent and draws nothing for it.

        It is on a band of its own beside the digital traffic, so all radios that take part must be full duplex."""
        links, sender, receivers = self._links, flight.sender, np.array(flight.receivers)
        if not (self._radios.full_duplex[sender] and self._radios.full_duplex[receivers].all()):
            raise SimulationError('analog sends need mac = "ideal" or a cell with duplex = "fdd"')
        cn0 = links.cn0(np.full(len(receivers), sender), receivers, links.cell_at(self._clock.now_ns), 1)[:, 0]
        snr = cn0 / self._config.bandwidth_hz
        power = 1.0
        if snr_db is not None:
            target = 10.0 ** (snr_db / 10.0)
            power = target / float(snr.min())
            power = power if power <= 1.0 + 1e-12 else 0.0
        flight.coefficients = np.sqrt(snr * power)
        self._ledger.transmission(sender, 0, 0, len(receivers), 0)
        self._ledger.trace(self._clock.now_ns, "analog", sender, *flight.receivers, flight.kind, flight.round)
        self.live[flight.number] = flight
        symbols = -(-flight.payload.num_values // 2)
        duration_ns = to_ns(symbols / self._config.bandwidth_hz)
        if power > 0.0:
            flight.analog_since_ns = self._clock.now_ns
            if power < 1.0:
                flight.full_tx_w = float(self._radios.tx_w[sender])
                self._radios.set_power(sender, self._clock.now_ns, self._scaled_tx_w(sender, power))
            self._on_air(flight, 1.0)
        self._clock.after(duration_ns, self._analog_done, flight)
        return flight

    def _analog_done(self, call: Call) -> None:
        flight = call.data
        if flight.number not in self.live:  # an end of it has gone meanwhile
            return
        self._end_analog(flight)
        for i in range(len(flight.receivers)):
            if flight.pending[i]:
                self._arrive(flight, i, None)
        self._close(flight, True)

    def _end_analog(self, flight: Flight) -> None:
        """Book its time on the air: none for who was silent."""
        if flight.analog_since_ns is None:
            return
        self._on_air(flight, -1.0)
        if flight.full_tx_w is not None:
            self._radios.set_power(flight.sender, self._clock.now_ns, flight.full_tx_w)
        on_air_ns = self._clock.now_ns - flight.analog_since_ns
        self._ledger.on_air(flight.sender, 0, on_air_ns, self._config.bandwidth_hz)
        flight.analog_since_ns = None

    def _on_air(self, flight: Flight, change: float) -> None:
        """Radio states of an analog send."""
        now_ns = self._clock.now_ns
        self._radios.change(flight.sender, now_ns, tx=change)
        self._radios.change_receivers(flight.receivers, now_ns, change)

    def _attempt(self, flight: Flight, packets: np.ndarray | None) -> None:
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
        tx, receivers = self._ends(flight)
        transfer = flight.transfer = Transfer(flight, tx, receivers, bits, self._efficiency(flight, tx))
        self._medium_of(flight.sender).submit(transfer, flight.attempts > 1)

    def _ends(self, flight: Flight) -> tuple[int, tuple[int, ...]]:
        """The nodes between which a flight is on the air: in cells, the base station in the place of the server."""
        cells = self._cells
        if cells is None:
            return flight.sender, flight.receivers
        if flight.sender < cells.first_station:
            if flight.receivers != (cells.first_station,):
                raise SimulationError(f"device {flight.sender} sends to {flight.receivers}: in cells only the server")
            return flight.sender, (cells.serving[flight.sender],)
        if not flight.broadcast:
            return cells.serving[flight.receivers[0]], flight.receivers
        if flight.station < 0:
            flight.station = cells.serving[flight.receivers[0]]
        return flight.station, flight.receivers

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

    # -- what became of an attempt -------------------------------------------------------------------------------------

    def attempt_done(self, transfer: Transfer) -> None:
        """The medium has drained the transfer."""
        flight = transfer.flight
        self._book(transfer, transfer.bits)
        flight.transfer = None
        if self._is_certain(transfer):
            everybody = True
            for i, pending in enumerate(flight.pending):
                if pending:
                    self._arrive(flight, i, None)
                else:
                    everybody = False  # somebody has gone
            self._close(flight, everybody)
            return
        self._fates(transfer, self._clock.now_ns, None)
        self._decide(flight)

    def _is_certain(self, transfer: Transfer) -> bool:
        """Every packet has arrived at every receiver: there is nothing to draw."""
        flight, channel_of = transfer.flight, self._channel_of
        if flight.certain:
            return channel_of[flight.receivers[0]] == channel_of[flight.sender]
        if self._config.forced_loss is not None or flight.arrived is not None or flight.gone:
            return False
        channel = channel_of[flight.sender]
        return all(channel_of[receiver] == channel for receiver in flight.receivers) and self._clear(transfer)

    def _clear(self, transfer: Transfer) -> bool:
        """On links that never change: every receiver decodes this rate all the time."""
        hears_others = self._medium_of(transfer.flight.sender).interference is not None
        if transfer.efficiency is None or not self._links.static or hears_others:
            return transfer.efficiency is None
        band_hz = max(point[2] for point in transfer.history)
        return self._links.all_decode(transfer.tx, transfer.receivers, transfer.efficiency, band_hz)

    def _book(self, transfer: Transfer, bits: int) -> None:
        mean_band_hz = transfer.hz_ns / transfer.airtime_ns if transfer.airtime_ns > 0 else 0.0
        self._ledger.on_air(transfer.tx, bits, round(transfer.airtime_ns), mean_band_hz)

    def _fates(self, transfer: Transfer, end_ns: int, num_sent: int | None) -> None:
        """Draw the fates of the packets of this attempt (of the first num_sent, where it was cut short)."""
        flight = transfer.flight
        total = flight.segmentation.num_packets
        if flight.arrived is None:
            flight.arrived = np.zeros((len(flight.receivers), total), dtype=bool)
        packets = flight.packets[:num_sent]
        if not len(packets):
            return
        radio = self._radio_fates(transfer, end_ns, packets)
        for i, receiver in enumerate(flight.receivers):
            if not flight.pending[i]:
                continue
            ok = radio[i]
            if i in flight.gone and flight.gone[i] < len(packets):
                ok, flight.cause[i] = ok & (np.arange(len(packets)) < flight.gone[i]), "departure"
            elif self._channel_of[receiver] != self._channel_of[flight.sender]:
                ok, flight.cause[i] = np.zeros_like(ok), "channel"
            elif not ok.all():
                flight.cause[i] = "outage"
            if self._config.forced_loss is not None:
                forced = self._config.forced_loss.draw(self._forced_stream(flight.sender, receiver), len(packets))
                if (ok & forced).any():
                    flight.cause[i] = "forced"
                ok = ok & ~forced
            if flight.heard is None:
                self._ledger.packets_lost += int(len(packets) - ok.sum())
            if flight.reliability == "fountain":  # any packets will do: fill from the first
                have = min(int(flight.arrived[i].sum() + ok.sum()), total)
                flight.arrived[i, :have] = True
            else:
                flight.arrived[i, packets] |= ok

    def _forced_stream(self, tx: int, rx: int) -> np.random.Generator:
        stream = self._forced_streams.get((tx, rx))
        if stream is None:
            stream = self._forced_streams[tx, rx] = self._streams("forced_loss", tx, rx)
        return stream

    def _radio_fates(self, transfer: Transfer, end_ns: int, packets: np.ndarray) -> np.ndarray:
        """[num_receivers, len(packets)] True where the link carried the packet throughout its time on the air."""
        flight, links = transfer.flight, self._links
        if transfer.efficiency is None:
            return np.ones((len(flight.receivers), len(packets)), dtype=bool)
        times, drained, bands = np.array(transfer.history, dtype=np.float64).T
        tx, rx = np.full(len(transfer.receivers), transfer.tx), np.array(transfer.receivers)
        log = self._medium_of(flight.sender).interference
        if log is not None:  # pieces in which the decision cannot change: between changes of anything ...
            first, last = links.cell_at(transfer.started_ns), links.cell_at(max(end_ns - 1, transfer.started_ns))
            edges = np.arange(first, last + 1) * float(links.cell_ns)
            starts = np.unique(np.clip(np.concatenate([edges, log.changes_ns(), times]), transfer.started_ns, end_ns))
            starts = starts[: max(1, np.searchsorted(starts, end_ns))]
            cn0 = links.cn0(tx, rx, first, last - first + 1)
            cn0 = cn0[:, np.maximum(np.searchsorted(edges, starts, side="right") - 1, 0)]
            cn0 = cn0 / log.noise_rise(transfer, starts)
            band = bands[np.maximum(np.searchsorted(times, starts, side="right") - 1, 0)]
        elif links.static:  # pieces in which the decision cannot change: between two changes of the band ...
            starts = times
            cn0 = links.cn0(tx, rx, 0, 1)
            band = bands
        else:  # ... or the cells of the channel
            first, last = links.cell_at(transfer.started_ns), links.cell_at(max(end_ns - 1, transfer.started_ns))
            cells = np.arange(first, last + 1)
            starts = cells * float(links.cell_ns)
            cn0 = links.cn0(tx, rx, first, len(cells))
            middles = np.clip(starts + links.cell_ns / 2, transfer.started_ns, end_ns)
            band = bands[np.maximum(np.searchsorted(times, middles, side="right") - 1, 0)]
        bad = links.efficiency(cn0 / band, rx[:, None]) < transfer.efficiency * DECODED
        before = np.concatenate([np.zeros((len(bad), 1), dtype=np.int64), np.cumsum(bad, axis=1)], axis=1)
        edges_bits = np.concatenate([[0.0], np.cumsum(flight.segmentation.packet_bits()[packets])])
        at_ns = np.interp(edges_bits, np.append(drained, float(transfer.bits)), np.append(times, float(end_ns)))
        begin = np.maximum(np.searchsorted(starts, at_ns[:-1], side="right") - 1, 0)
        end = np.maximum(np.searchsorted(starts, at_ns[1:], side="left"), begin + 1)
        return before[:, end] == before[:, begin]

    def _decide(self, flight: Flight) -> None:
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
            self._attempt(flight, packets)
            return
        self._give_up(flight, None)

    def _hand_over_whole(self, flight: Flight, arrived: np.ndarray) -> None:
        """To every receiver that now has all packets."""
        for i in range(len(flight.receivers)):
            if flight.pending[i] and arrived[i].all():
                self._arrive(flight, i, None)

    def _give_up(self, flight: Flight, cause: str | None) -> None:
        """No further attempt: use what arrived in part, or lose it."""
        for i in range(len(flight.receivers)):
            if not flight.pending[i]:
                continue
            part = None if flight.arrived is None else flight.arrived[i]
            usable = self._config.partial_use and flight.payload.codec is not None and flight.reliability != "fountain"
            if usable and part is not None and part.any():
                self._arrive(flight, i, part)
            else:
                self._lose(flight, i, cause or flight.cause[i])
        self._close(flight, bool(flight.arrived is not None and flight.arrived.all()))

    def _arrive(self, flight: Flight, i: int, part: np.ndarray | None) -> None:
        """Receiver i has the message (part: which packets of it; None for all)."""
        if flight.heard is not None:
            flight.heard(flight.receivers[i])
        else:
            latency_ns = self._config.latency_ns
            if self._cells is not None:
                tx, receivers = self._ends(flight)
                latency_ns += self._cells.latency_ns(max(tx, receivers[0]))
            if latency_ns:
                self._clock.after(latency_ns, self._late_arrival, (flight, i, part))
                self._in_latency += 1
            else:
                self._hand_over(flight, i, part)
        flight.pending[i] = False

    def _late_arrival(self, call: Call) -> None:
        flight, i, part = call.data
        self._in_latency -= 1
        self._hand_over(flight, i, part)

    def _hand_over(self, flight: Flight, i: int, part: np.ndarray | None) -> None:
        if self.absent and flight.receivers[i] in self.absent:
            self._count_lost(flight, i, "departure")
            return
        self._ledger.delivered += 1
        self._ledger.trace(self._clock.now_ns, "deliver", flight.sender, flight.receivers[i], flight.kind, flight.round)
        self._deliver(flight, i, part)

    def _lose(self, flight: Flight, i: int, cause: str) -> None:
        flight.pending[i] = False
        if flight.heard is None:
            self._count_lost(flight, i, cause)

    def _count_lost(self, flight: Flight, i: int, cause: str) -> None:
        self._ledger.lost[cause] += 1
        self._ledger.trace(self._clock.now_ns, "lose", flight.sender, flight.receivers[i], flight.kind, cause)

    def _close(self, flight: Flight, delivered: bool) -> None:
        if flight.expiry is not None:
            flight.expiry.cancel()
        del self.live[flight.number]
        self._resolved(flight, delivered)

    # -- hand-over between cells ---------------------------------------------------------------------------------------

    def change_stations(self, devices: Collection[int]) -> None:
        """These devices are served by other base stations from now on; see `wsim.cells`."""
        cells = self._cells
        assert cells is not None
        for flight in list(self.live.values()):
            transfer = flight.transfer
            if transfer is None:
                continue
            if flight.sender >= cells.first_station and flight.broadcast:
                if cells.loses and transfer.started_ns >= 0:
                    gone = [i for i, receiver in enumerate(flight.receivers) if receiver in devices]
                    through = (
                        self._num_through(flight, self._medium_of(flight.sender).drained_of(transfer)) if gone else 0
                    )
                    flight.gone.update({i: through for i in gone if flight.gone.get(i, through) >= through})
            elif (flight.sender if flight.sender < cells.first_station else flight.receivers[0]) in devices:
                self._change_station(flight, transfer, cells.loses)

    def _change_station(self, flight: Flight, transfer: Transfer, loses: bool) -> None:
        tx, receivers = self._ends(flight)
        if transfer.started_ns < 0:  # it waits for its turn
            transfer.tx, transfer.receivers = tx, receivers
            return
        medium = self._medium_of(flight.sender)
        drained = int(medium.drained_of(transfer))
        if drained >= transfer.bits:  # through at this very instant
            return
        num_through = self._num_through(flight, drained)
        packets, packet_bits = flight.packets, flight.segmentation.packet_bits()
        rest = packets[num_through:]
        left = transfer.bits - drained
        if not loses:
            if transfer.efficiency is not None and len(rest):  # the cut packet anew, the others, and the feedback
                left = transfer.bits - int(packet_bits[packets[:num_through]].sum())
            flight.transfer = Transfer(flight, tx, receivers, left, transfer.efficiency)
            medium.submit(flight.transfer, True)
        medium.cancel(transfer)
        self._book(transfer, drained)
        if transfer.efficiency is None and not loses:
            return
        if transfer.history:
            transfer.history.append((self._clock.now_ns, float(drained), transfer.history[-1][2]))
        self._fates(transfer, self._clock.now_ns, num_through)
        if not loses:
            flight.sending = rest
            return
        flight.transfer, flight.cause[0] = None, "departure"
        self._ledger.packets_lost += len(rest)
        self._decide(flight)

    def _num_through(self, flight: Flight, drained: float) -> int:
        """Packets of the present attempt that are in the first `drained` bits of it."""
        return int((np.cumsum(flight.segmentation.packet_bits()[flight.packets]) <= drained).sum())

    def _expired(self, call: Call) -> None:
        """Whatever is queued or on the air now is dropped, cause `deadline`; packets that were through stay through."""
        flight: Flight = call.data
        transfer = flight.transfer
        if transfer is not None:
            flight.transfer = None
            drained = self._medium_of(flight.sender).cancel(transfer)
            self._book(transfer, round(drained))
            if transfer.history:  # of a fixed rate: it was cut short here
                transfer.history.append((self._clock.now_ns, drained, transfer.history[-1][2]))
            if drained > 0:
                num_sent = self._num_through(flight, drained)
                if num_sent == len(flight.packets) or (
                    num_sent and self._config.partial_use
                ):  # only the feedback was cut off
                    self._fates(transfer, self._clock.now_ns, num_sent)
        if flight.arrived is not None:
            self._hand_over_whole(flight, flight.arrived)
        self._give_up(flight, "deadline")
