"""Device to device on one carrier: a genie orders conflicting transmissions under half duplex.

Two transmissions conflict if they have a node in common, or if an end of one senses the transmitter of the other on the same
channel. Transmission i and all that conflict with it divide the air time at most once,

    x_i + sum of x_j over the conflicting j <= 1,

and within these bounds the shares are max-min fair (progressive filling, Bertsekas and Gallager, Data Networks, 6.5.2). The
bound suffices: placed one by one, a transmission always finds its share of time free of its conflicts, so a schedule with
these shares exists. It is not always necessary (five in a ring could get 2/5 each and get 1/3). With `orthogonal_links` only
nodes in common conflict: every link has a carrier of its own, spectrum that the run reports.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from wsim.mac.carrier import Allotment
from wsim.mac.transfer import Transfer


class SharedCarrier:
    """sensed_by(tx) -> indices of the nodes that sense tx now; channel_of: [num_nodes] int, each node's channel."""

    even_share = None

    def __init__(
        self,
        bandwidth_hz: float,
        num_nodes: int,
        sensed_by: Callable[[int], np.ndarray],
        channel_of: np.ndarray,
        orthogonal_links: bool = False,
    ) -> None:
        self._bandwidth_hz = bandwidth_hz
        self.power_band_hz: float | None = bandwidth_hz
        self._num_nodes = num_nodes
        self._sensed_by = sensed_by
        self._channel_of = channel_of
        self.orthogonal = orthogonal_links
        self._engaged = np.zeros((0, num_nodes), dtype=np.float32)  # who takes part in transmission i
        self._heard = np.zeros((0, num_nodes), dtype=np.float32)  # who senses its transmitter
        self._channel = np.zeros(0, dtype=np.int64)
        self._conflicts = np.zeros((0, 0), dtype=bool)
        self.peak_concurrent = 0

    def queue_key(self, transfer: Transfer) -> Hashable:
        return transfer.tx

    def admit(self, transfer: Transfer) -> None:
        engaged, heard = self._footprint(transfer)
        channel = self._channel_of[transfer.tx]
        common = self._engaged @ engaged > 0
        sensing = (self._engaged @ heard > 0) | (self._heard @ engaged > 0)
        row = common | (sensing & (self._channel == channel))
        n = len(row)
        conflicts = np.ones((n + 1, n + 1), dtype=bool)  # the diagonal: itself
        conflicts[:n, :n] = self._conflicts
        conflicts[n, :n] = conflicts[:n, n] = row
        self._conflicts = conflicts
        self._engaged = np.concatenate([self._engaged, engaged[None]])
        self._heard = np.concatenate([self._heard, heard[None]])
        self._channel = np.append(self._channel, channel)
        self.peak_concurrent = max(self.peak_concurrent, n + 1)

    def _footprint(self, transfer: Transfer) -> tuple[np.ndarray, np.ndarray]:
        engaged = np.zeros(self._num_nodes, dtype=np.float32)
        engaged[transfer.tx] = 1.0
        engaged[transfer.receivers] = 1.0
        heard = np.zeros(self._num_nodes, dtype=np.float32)
        if not self.orthogonal:
            heard[self._sensed_by(transfer.tx)] = 1.0
        return engaged, heard

    def remove(self, i: int) -> None:
        self._engaged, self._heard = np.delete(self._engaged, i, axis=0), np.delete(self._heard, i, axis=0)
        self._channel = np.delete(self._channel, i)
        self._conflicts = np.delete(np.delete(self._conflicts, i, axis=0), i, axis=1)

    def topology_changed(self, active: list[Transfer]) -> None:
        self._engaged, self._heard = self._engaged[:0], self._heard[:0]
        self._channel, self._conflicts = self._channel[:0], self._conflicts[:0, :0]
        for transfer in active:
            self.admit(transfer)

    def allot(self, num_active: int) -> Allotment:
        return Allotment(max_min_shares(self._conflicts), self._bandwidth_hz, self._bandwidth_hz)


def max_min_shares(conflicts: np.ndarray) -> np.ndarray:
    """Max-min fair shares of air time.

    conflicts: [n, n] bool, symmetric, True on the diagonal. Returns [n] shares with conflicts @ shares <= 1.
    """
    n = len(conflicts)
    if conflicts.all():
        return np.full(n, 1.0 / n)
    weights = conflicts.astype(np.float64)
    shares = np.zeros(n)
    rising = np.ones(n, dtype=bool)
    while rising.any():
        slack = 1.0 - weights @ shares
        rate = weights @ rising
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(rate > 0, slack / rate, np.inf)
        step = max(float(room.min()), 0.0)
        shares[rising] += step
        full = (rate > 0) & (room <= step * (1 + 1e-12) + 1e-15)
        rising &= ~(conflicts[full].any(axis=0))
    return shares
