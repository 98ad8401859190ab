"""What receivers hear of what is on the air: their SINRs are kept, and who does not lock on to an attempt receives nothing of it.

A medium tells every span of time in which the same transfers were on the air and nothing changed but the channel's cells:

    SINR_r(t) = C_r(t) / (N0 + I0_r(t)) / (band that the power is spread over)

with I0 of the medium (`wsim.mac.interference`, `wsim.mac.shared_interference`), 0 where transfers do not hear each other. Of
transfers that follow the channel it is the very SINR that sets their rate, of broadcasts and fixed rates the one that decides
what of them arrives; with a delay profile its mean over the resource blocks, with ergodic fading its mean over the law.

Preamble: one for each attempt, sent with its first bits. A receiver locks on if its SINR is at least `[phy] preamble_snr_db` at
that instant; else it receives nothing of the attempt, however good the SINR becomes. A sender that follows the channel and
waits for a better one (rate 0 below `min_snr_db`) begins when it sends its first bit: a preamble level at or below min_snr_db
costs it nothing on a flat band whose gain it follows (with a delay profile one good block lets bits flow, with ergodic fading
the good moments of the law do, and the level is for the mean). What is cut by a hand-over between cells begins anew at the new station. Analog sends have no preamble.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsim.links import Links
from wsim.mac.sinr_series import SinrSeries
from wsim.mac.transfer import Interference, Transfer


class AirWatch:
    """preamble_snr: linear, None: everybody locks on. series: None where SINRs are not kept."""

    def __init__(self, links: Links, preamble_snr: float | None, series: SinrSeries | None) -> None:
        self._links = links
        self._preamble_snr = preamble_snr
        self._series = series

    def passed(
        self,
        begin_ns: int,
        end_ns: int,
        transfers: Sequence[Transfer],
        power_band_hz: np.ndarray | float,
        followed: np.ndarray | None,
        interference: Interference | None,
    ) -> None:
        """These transfers were on the air from begin_ns to end_ns (later than it).

        power_band_hz: one for all or [num_transfers]; followed: [..., cells, num_transfers] C / (N0 + I0) in Hz from the cell of
        begin_ns on, which set the rates of those that follow the channel; None: nobody interferes, look it up
        """
        keeps = self._keeps
        wanted = [  # a beacon may find nobody
            i for i, transfer in enumerate(transfers) if transfer.receivers and (keeps or transfer.locked is None)
        ]
        if not wanted:
            return
        edges_ns, first_cell = self._edges(begin_ns, end_ns)
        bands = np.broadcast_to(np.asarray(power_band_hz, dtype=np.float64), len(transfers))
        follow = [i for i in wanted if transfers[i].efficiency is None]
        if follow:
            those = [transfers[i] for i in follow]
            tx = np.array([transfer.tx for transfer in those])
            rx = np.array([transfer.receivers[0] for transfer in those])
            steps = len(edges_ns) - 1
            if followed is None:
                cn0 = self._links.band_cn0(tx, rx, first_cell, steps)
            else:
                cn0 = followed[..., :steps, :][..., follow].swapaxes(-1, -2)
            by_block = cn0 / bands[follow][:, None]
            sinr = self._links.band_mean(by_block)
            if self._preamble_snr is not None:
                self._lock(those, sinr, self._links.band_efficiency(by_block, rx[:, None]) > 0.0)
            self._keep(those, tx, rx, edges_ns, sinr)
        for i in wanted:
            if transfers[i].efficiency is not None:
                self._passed_at_a_fixed_rate(transfers[i], edges_ns, first_cell, float(bands[i]), interference)

    @property
    def _keeps(self) -> bool:
        return self._series is not None and self._series.until_ns is None

    def _passed_at_a_fixed_rate(
        self,
        transfer: Transfer,
        edges_ns: np.ndarray,
        first_cell: int,
        band_hz: float,
        interference: Interference | None,
    ) -> None:
        rx = np.array(transfer.receivers)
        tx = np.full(len(rx), transfer.tx)
        sinr = self._links.cn0(tx, rx, first_cell, len(edges_ns) - 1) / band_hz
        if interference is not None:
            sinr = sinr / interference.noise_rise(transfer, edges_ns[:-1])
        if self._preamble_snr is not None and transfer.locked is None:
            transfer.locked = sinr[:, 0] >= self._preamble_snr
        self._keep([transfer] * len(rx), tx, rx, edges_ns, sinr)

    def _lock(self, transfers: list[Transfer], sinr: np.ndarray, flows: np.ndarray) -> None:
        """sinr: [num_transfers, steps] at their one receiver; flows: whether bits do, with the first of which they begin."""
        for transfer, values, begun in zip(transfers, sinr, flows, strict=True):
            if transfer.locked is None and begun.any():
                transfer.locked = values[[begun.argmax()]] >= self._preamble_snr

    def _keep(
        self, transfers: list[Transfer], tx: np.ndarray, rx: np.ndarray, edges_ns: np.ndarray, sinr: np.ndarray
    ) -> None:
        series = self._series
        if series is None or series.until_ns is not None:
            return
        for transfer in transfers:
            if transfer.number < 0:
                transfer.number = series.number()
        series.add(np.array([transfer.number for transfer in transfers]), tx, rx, edges_ns, sinr)

    def _edges(self, begin_ns: int, end_ns: int) -> tuple[np.ndarray, int]:
        """[steps + 1] instants: both ends and the borders of the channel's cells between; and the first of these cells."""
        links = self._links
        if links.static:
            return np.array([begin_ns, end_ns], dtype=np.float64), 0
        first, last = links.cell_at(begin_ns), links.cell_at(end_ns - 1)
        inner = np.arange(first + 1, last + 1, dtype=np.float64) * links.cell_ns
        return np.concatenate([[float(begin_ns)], inner, [float(end_ns)]]), first
