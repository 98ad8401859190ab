"""Which packets of an attempt arrive: one vectorised draw for all packets at all receivers, never an event a packet.

With an adaptive rate nothing is lost on the radio; a fixed rate loses the packets during which the link could not have carried
it. A receiver that is tuned to another channel than the sender gets nothing, cause `channel` (both looked at when the attempt
ends). Who has not locked on to the attempt (`wsim.mac.air_watch`) gets nothing of it, cause `outage`. A forced loss comes on top.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsim.ledger import Ledger
from wsim.links import DECODED, Links
from wsim.mac.transfer import Medium, Transfer
from wsim.packets import ForcedLoss
from wsim.streams import Streams


class Fates:
    """medium_of: node -> the medium that carries what it sends; channel_of: [num_nodes] the channel that each is tuned to."""

    def __init__(
        self,
        links: Links,
        medium_of: Callable[[int], Medium],
        ledger: Ledger,
        streams: Streams,
        channel_of: list[int],
        forced_loss: ForcedLoss | None,
    ) -> None:
        self._links = links
        self._medium_of = medium_of
        self._ledger = ledger
        self._streams = streams
        self._channel_of = channel_of
        self._forced_loss = forced_loss
        self._forced_streams: dict[tuple[int, int], np.random.Generator] = {}

    def are_certain(self, transfer: Transfer) -> bool:
        """Every packet of a whole attempt has arrived at every receiver: there is nothing to draw."""
        flight, channel_of = transfer.flight, self._channel_of
        if transfer.locked is not None and not transfer.locked.all():
            return False
        if flight.certain:
            return channel_of[flight.receivers[0]] == channel_of[flight.sender]
        if self._forced_loss is not None or flight.arrived is not None or flight.gone:
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

    def draw(self, transfer: Transfer, end_ns: int, num_sent: int | None) -> None:
        """Note in the flight which packets of this attempt arrived (of the first num_sent, where it was cut short)."""
        flight = transfer.flight
        total = flight.segmentation.num_packets
        if flight.arrived is None:
            flight.arrived = np.zeros((len(flight.receivers), total), dtype=bool)
        packets = flight.packets[:num_sent]
        if not len(packets) or not flight.receivers:  # a beacon may find nobody
            return
        radio = self._on_the_radio(transfer, end_ns, packets)
        if transfer.locked is not None:
            radio &= transfer.locked[:, None]
            flight.certain &= bool(transfer.locked.all())
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
            if self._forced_loss is not None:
                forced = self._forced_loss.draw(self._forced_stream(flight.sender, receiver), len(packets))
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

    def _on_the_radio(self, transfer: Transfer, end_ns: int, packets: np.ndarray) -> np.ndarray:
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
            cn0 = links.band_cn0(tx, rx, first, last - first + 1)
            cn0 = cn0[..., np.maximum(np.searchsorted(edges, starts, side="right") - 1, 0)]
            cn0 = cn0 / log.noise_rise(transfer, starts)
            band = bands[np.maximum(np.searchsorted(times, starts, side="right") - 1, 0)]
        elif links.static:  # pieces in which the decision cannot change: between two changes of the band ...
            starts = times
            cn0 = links.band_cn0(tx, rx, 0, 1)
            band = bands
        else:  # ... or the cells of the channel
            first, last = links.cell_at(transfer.started_ns), links.cell_at(max(end_ns - 1, transfer.started_ns))
            cells = np.arange(first, last + 1)
            starts = cells * float(links.cell_ns)
            cn0 = links.band_cn0(tx, rx, first, len(cells))
            middles = np.clip(starts + links.cell_ns / 2, transfer.started_ns, end_ns)
            band = bands[np.maximum(np.searchsorted(times, middles, side="right") - 1, 0)]
        bad = links.band_efficiency(cn0 / band, rx[:, None]) < transfer.efficiency * DECODED
        before = np.concatenate([np.zeros((len(bad), 1), dtype=np.int64), np.cumsum(bad, axis=1)], axis=1)
        edges_bits = np.concatenate([[0.0], np.cumsum(flight.segmentation.packet_bits()[packets])])
        at_ns = np.interp(edges_bits, np.append(drained, float(transfer.bits)), np.append(times, float(end_ns)))
        begin = np.maximum(np.searchsorted(starts, at_ns[:-1], side="right") - 1, 0)
        end = np.maximum(np.searchsorted(starts, at_ns[1:], side="left"), begin + 1)
        return before[:, end] == before[:, begin]
