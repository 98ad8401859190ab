"""Device to device on one carrier: a genie orders conflicting transmissions under half duplex.

Two transmissions conflict if they have a node in common, or if an end of one senses the transmitter of the other on the same
channel. Transmission i and all that conflict with it divide the air time at most once,

    x_i + sum of x_j over the conflicting j <= 1,

and within these bounds the shares are max-min fair (progressive filling, Bertsekas and Gallager, Data Networks, 6.5.2). The
bound suffices: placed one by one, a transmission always finds its share of time free of its conflicts, so a schedule with
these shares exists. It is not always necessary (five in a ring could get 2/5 each and get 1/3). With `orthogonal_links` only
nodes in common conflict: every link has a carrier of its own, spectrum that the run reports.

With `captures` nobody protects receivers: only senders keep apart that sense each other or that one of the two sends to (half
duplex). What overlaps at a receiver, meant for it or not, is received as its SINR allows (`wsim.mac.shared_interference`).

Limit: memory and work of a change are (active transmissions) x (devices); meant for up to some thousand devices.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from wsim.accounts import Radios
from wsim.mac.allotment import Allotment
from wsim.mac.transfer import Transfer


class SharedCarrier:
    """sensed_by(tx) -> indices of the nodes that sense tx now; channel_of: each node's channel; interferes: transmissions that
    do not conflict hear each other (`wsim.mac.shared_interference`); captures: see the module."""

    even_share = None
    duplex_share = 1.0

    def __init__(
        self,
        bandwidth_hz: float,
        num_nodes: int,
        sensed_by: Callable[[int], np.ndarray],
        channel_of: list[int],
        orthogonal_links: bool = False,
        interferes: bool = False,
        captures: bool = False,
    ) -> None:
        self._captures = captures
        self.power_band_hz: float | None = None if interferes else bandwidth_hz
        self.shares = np.zeros(0)  # of the time, of the active transmissions as of the last `allot`
        self.orthogonal = orthogonal_links
        self.peak_concurrent = 0
        self._bandwidth_hz = bandwidth_hz
        self._num_nodes = num_nodes
        self._sensed_by = sensed_by
        self._channel_of = channel_of
        self._num = 0
        self._make_room(16)

    def _make_room(self, capacity: int) -> None:
        """Rows of the active transmissions, in buffers that only grow."""
        old = self.__dict__.copy()
        nodes = self._num_nodes
        self._sends = np.zeros(capacity, dtype=np.int64)  # the transmitter of i
        self._channel = np.zeros(capacity, dtype=np.int64)
        self._receives = np.zeros((capacity, nodes), dtype=np.float32)  # for whom i is meant
        self._engaged = np.zeros((capacity, nodes), dtype=np.float32)  # who takes part in i
        self._heard = np.zeros((capacity, nodes), dtype=np.float32)  # who senses i's transmitter
        self._conflicts = np.zeros((capacity, capacity), dtype=bool)
        n = self._num
        if n:
            for name in ("_sends", "_channel", "_receives", "_engaged", "_heard"):
                getattr(self, name)[:n] = old[name][:n]
            self._conflicts[:n, :n] = old["_conflicts"][:n, :n]

    def queue_key(self, transfer: Transfer) -> Hashable:
        return transfer.tx

    def admit(self, transfer: Transfer) -> None:
        n = self._num
        if n == len(self._sends):
            self._make_room(2 * n)
        self._sends[n] = transfer.tx
        channel = self._channel[n] = self._channel_of[transfer.tx]
        for rows in (self._receives, self._engaged):
            rows[n] = 0.0
            rows[n, transfer.receivers] = 1.0
        self._engaged[n, transfer.tx] = 1.0
        self._heard[n] = 0.0
        if not self.orthogonal:
            self._heard[n, self._sensed_by(transfer.tx)] = 1.0
        if self._captures:
            senders = self._sends[:n]
            engaged = (self._engaged[n, senders] > 0) | (self._engaged[:n, transfer.tx] > 0)
            sensing = (self._heard[n, senders] > 0) | (self._heard[:n, transfer.tx] > 0)
        else:
            engaged = self._engaged[:n] @ self._engaged[n] > 0
            sensing = (self._engaged[:n] @ self._heard[n] > 0) | (self._heard[:n] @ self._engaged[n] > 0)
        row = engaged | (sensing & (self._channel[:n] == channel))
        self._conflicts[n, :n] = row
        self._conflicts[:n, n] = row
        self._conflicts[n, n] = True
        self._num = n + 1
        self.peak_concurrent = max(self.peak_concurrent, n + 1)

    def remove(self, i: int) -> None:
        n = self._num
        for rows in (self._sends, self._channel, self._receives, self._engaged, self._heard, self._conflicts):
            rows[i : n - 1] = rows[i + 1 : n]
        self._conflicts[: n - 1, i : n - 1] = self._conflicts[: n - 1, i + 1 : n]
        self._num = n - 1

    def topology_changed(self, active: list[Transfer]) -> None:
        self._num = 0
        for transfer in active:
            self.admit(transfer)

    def allot(self, num_active: int) -> Allotment:
        n = self._num
        self.shares = max_min_shares(self._conflicts[:n, :n])
        return Allotment(self.shares, self._bandwidth_hz, self._bandwidth_hz)

    def audible(self) -> np.ndarray:
        """[num_active, num_active] bool: j is on the air beside i, on the same channel."""
        n = self._num
        channel = self._channel[:n]
        beside: np.ndarray = ~self._conflicts[:n, :n] & (channel[:, None] == channel)
        return beside

    def share_radios(self, radios: Radios, active: list[Transfer], time_share: float | np.ndarray) -> None:
        """All radios are on this carrier: set their shares as a whole. What is meant for a node overlaps in time only where it
        captures, and then as it falls."""
        n = self._num
        radios.tx_share[:] = 0.0
        radios.tx_share[self._sends[:n]] = time_share
        if self._captures:
            shares = np.broadcast_to(time_share, n)[:, None]
            radios.rx_share[:] = 1.0 - np.prod(1.0 - shares * self._receives[:n], axis=0)
        else:
            np.matmul(time_share, self._receives[:n], out=radios.rx_share)


def max_min_shares(conflicts: np.ndarray) -> np.ndarray:
    """Max-min fair shares of air time.

    conflicts: [n, n] bool, symmetric, True on the diagonal. Returns [n] shares with conflicts @ shares <= 1.
    """
    n = len(conflicts)
    if n == 0:
        return np.zeros(0)
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
