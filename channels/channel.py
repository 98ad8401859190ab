"""The radio channel of all links: antenna gains, path loss, shadowing and fading, as a function of (link, time).

    gain(tx, rx, t) = 10^(local mean in dB / 10) x sum over the receiver's antennas of |h(t)|^2        |h|^2 = 1 without fading

How the simulator builds one:

    positions = Positions([Static((40.0, 0.0, 1.5)), RandomWaypoint(Area("disc", 300.0), (1.0, 2.0)).path(rng), ...])
    channel = Channel(
        positions, carrier_hz=3.5e9,
        path_loss=UmiStreetCanyon(los="field"),     # or another one of channels.path_loss
        shadowing=UMI_SHADOWING,                    # or Shadowing(sigma_db=8.0, correlation_m=50.0), or None
        fading=Rayleigh(correlation="block"),       # or Rician, Nakagami, None
        antenna_gain_dbi=[0.0, 0.0, 8.0], rx_antennas=[1, 1, 2],
        key=key,                                    # 64 bits from the run's radio seed and the carrier
        base_station=2,                             # index of the server; a list of several stations; None without any
        reciprocal=False,                           # False in FDD: the two directions of a pair fade apart
    )
    snr = power_w * channel.gain(tx, rx, first_cell, num_cells) / (noise_w_per_hz(7.0) * bandwidth_hz)

Everything is a pure function of (key, links, time): the same bits whoever asks, in whatever order, for one link or many, for
one cell or a thousand. What is cached changes the cost only. A base station is known by its role (the only one, or its place in
the list) and not by its index, so that adding a device changes nothing for the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .block_fading import BlockFading
from .branches import Branches, Ends
from .counter import hash_int
from .delay_profile import DelayProfile
from .doppler_fading import DopplerFading
from .fading import Fading
from .local_mean import CELLS_PER_STEP, Indoors, LinkMeans, LocalMean
from .near_pairs import near_pairs
from .path_loss.model import PathLoss
from .positions import Positions
from .selective_fading import SelectiveFading
from .shadowing import LosShadowing, Shadowing
from .sites import Sites
from .sources import fading_generator, shadowing_generator, sources
from .units import db_to_linear, wavelength_m

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STATION_ID = 1 << 40  # the first base station in hash keys, above every device's index
REACH_SIGMAS = 3.5
_SEARCHED_REACH_M = (1e-3, 1e7)
_LINKS_KEPT_PER_NODE = 32
_LEAST_LINKS_KEPT = 1 << 14
_SET_OVERHEAD_LINKS = 4  # a cached set weighs as much as this many links
_FADING_TAG, _MEAN_TAG = 1, 2


@dataclass
class _LinkSet:
    """What does not depend on time, for one set of links in one order."""

    means: LinkMeans
    ends: Ends
    branches: Branches | None  # None without fading, or where only the local mean was asked for
    constant_gain: Floats | None  # [L, 1] linear mean of links that never move
    weight: int
    constant_power: Floats | None = None  # [L, 1] the same with fading, where that is constant as well


class Channel:
    """Power gains of all links; see the module.

    cell_s: the declared grid of the small-scale variation, a whole number of nanoseconds: the block; 0.02 of the shortest
        Doppler period; without fading a fifth of large_scale_s; math.inf when nothing varies in time
    large_scale_s: the grid of the local mean, math.inf when no node moves
    """

    cell_s: float
    large_scale_s: float

    def __init__(
        self,
        positions: Positions,
        carrier_hz: float,
        path_loss: PathLoss,
        shadowing: Shadowing | LosShadowing | None,
        fading: Fading | None,
        antenna_gain_dbi: Sequence[float] | Floats,
        rx_antennas: Sequence[int] | Ints,
        key: int,
        base_station: int | Sequence[int] | None = None,
        reciprocal: bool = True,
        layout: Sites | None = None,
        delay_profile: DelayProfile | None = None,
        indoors: Indoors | None = None,
    ) -> None:
        """antenna_gain_dbi, rx_antennas: [num_nodes]; layout: the sectors of the base stations, in their order, and the copies of
        the whole layout; delay_profile: of `gain_per_block`, while `gain` takes the band as flat; indoors: which devices are behind a
        wall, as base stations see them; the rest in the module. Raises ValueError for values out of range."""
        num_nodes = positions.num_nodes
        self._antenna_gain_dbi = np.asarray(antenna_gain_dbi, dtype=np.float64)
        self._rx_antennas = np.asarray(rx_antennas, dtype=np.int64)
        if not (math.isfinite(carrier_hz) and carrier_hz > 0):
            raise ValueError(f"carrier_hz = {carrier_hz}: a positive frequency in Hz is needed")
        for name, array in (("antenna_gain_dbi", self._antenna_gain_dbi), ("rx_antennas", self._rx_antennas)):
            if array.shape != (num_nodes,):
                raise ValueError(
                    f"{name} has shape {array.shape}: one value for each of the {num_nodes} nodes is needed"
                )
        if num_nodes and self._rx_antennas.min() < 1:
            raise ValueError(f"rx_antennas = {self._rx_antennas.min()}: every node needs at least one")
        listed = [base_station] if isinstance(base_station, int | np.integer) else list(base_station or ())
        stations = np.array(listed, dtype=np.int64)
        if any(not 0 <= station < num_nodes for station in listed):
            raise ValueError(f"base_station = {base_station}: an index from 0 to {num_nodes - 1} is needed")
        if len(set(listed)) < len(listed):
            raise ValueError(f"base_station = {base_station}: every station once is needed")
        for name, array in (
            (("penetration_db", indoors.penetration_db), ("depth_m", indoors.depth_m)) if indoors else ()
        ):
            if array.shape != (num_nodes,) or not np.isfinite(array).all():
                raise ValueError(f"indoors.{name}: one finite value for each of the {num_nodes} nodes is needed")
        self._positions = positions
        self._carrier_hz = carrier_hz
        self._path_loss = path_loss
        self._shadowing = shadowing
        self._config = fading
        self._reciprocal = reciprocal
        self._ids = np.arange(num_nodes, dtype=np.int64)
        self._ids[stations] = STATION_ID + np.arange(stations.size)
        self._num_stations = stations.size
        self._indoors = indoors
        mean_key = hash_int(key, _MEAN_TAG)
        self._mean = LocalMean(
            positions, carrier_hz, path_loss, shadowing, self._antenna_gain_dbi, mean_key, stations, indoors, layout
        )
        self.large_scale_s = self._mean.step_s
        self._block: BlockFading | None = None
        self._doppler: DopplerFading | None = None
        self.cell_s = self._mean.step_s / CELLS_PER_STEP
        if fading is not None and fading.correlation == "block":
            self._block = BlockFading(fading, hash_int(key, _FADING_TAG))
            self.cell_s = self._block.cell_s
        elif fading is not None and fading.correlation == "doppler":
            speed_sum = self._largest_speed_sum(stations)
            self._doppler = DopplerFading(
                fading, hash_int(key, _FADING_TAG), wavelength_m(carrier_hz), speed_sum, positions
            )
            self.cell_s = self._doppler.cell_s
        self._profile = delay_profile
        self._selective: SelectiveFading | None = None
        if delay_profile is not None:
            if fading is None:
                raise ValueError(f"{delay_profile} shapes fading, and there is none: rayleigh or rician is needed")
            speed_sum = self._largest_speed_sum(stations)
            self._selective = SelectiveFading(
                fading, delay_profile, hash_int(key, _FADING_TAG), wavelength_m(carrier_hz), speed_sum, positions
            )
        self._sets: dict[tuple[bytes, bytes], _LinkSet] = {}
        self._weight = 0
        self._largest_weight = max(_LEAST_LINKS_KEPT, _LINKS_KEPT_PER_NODE * num_nodes)

    @property
    def is_cheap(self) -> bool:
        """A gain costs a draw or nothing: no Doppler fading and no moving node."""
        return self._doppler is None and bool(self._positions.is_static.all())

    # -- questions -----------------------------------------------------------------------------------------------------

    def gain(self, tx: Ints, rx: Ints, first_cell: int, num_cells: int) -> Floats:
        """Linear power gains over consecutive cells, everything included.

        tx, rx: [L] transmitting and receiving nodes
        Returns [L, num_cells]; cell k stands for [k, k + 1) x cell_s and is taken at its midpoint. Where nothing varies in
        time (cell_s infinite) every cell is the same. The array may be a cached one: it is not to be written into.
        """
        links = self._links(tx, rx)
        branches = links.branches
        if self._block is not None and branches is not None:
            power = self._block.power_of_blocks(branches, np.arange(first_cell, first_cell + num_cells))
            if links.constant_gain is not None:
                power *= links.constant_gain
            else:
                power *= self._mean_gain(links, self._midpoints_s(first_cell, num_cells))
            return power
        if links.constant_gain is not None and (self._doppler is None or self.cell_s == math.inf):
            constant = links.constant_power
            if constant is None:
                constant = links.constant_power = self._unit_power(links, np.zeros(1)) * links.constant_gain
                constant.flags.writeable = False
            return constant if num_cells == 1 else np.repeat(constant, num_cells, axis=1)
        t_s = self._midpoints_s(first_cell, num_cells)
        power = self._unit_power(links, t_s)
        power *= self._mean_gain(links, t_s)
        return power

    def exact_gain(self, tx: Ints, rx: Ints, t_s: Any) -> Floats:
        """The continuous model at times t_s [k], linear: [L, k]. `gain` is this at the cells' midpoints.

        With block fading the whole gain is constant over a block: the local mean is that of the block's midpoint.
        """
        links = self._links(tx, rx)
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        if self._block is not None:
            times = (np.floor(times / self.cell_s) + 0.5) * self.cell_s
        power = self._unit_power(links, times)
        power *= self._mean_gain(links, times)
        return power

    def gain_per_block(
        self, tx: Ints, rx: Ints, first_cell: int, num_cells: int, num_blocks: int, block_hz: float
    ) -> Floats:
        """Linear power gains of num_blocks resource blocks of block_hz each, side by side around the carrier: `gain` with the
        delay profile. Each block is taken at its center, each cell at its midpoint. Returns [L, num_cells, num_blocks].

        Raises ValueError without a delay profile.
        """
        if self._selective is None:
            raise ValueError("gains per resource block need a delay_profile")
        links = self._links(tx, rx)
        t_s = self._midpoints_s(first_cell, num_cells) if math.isfinite(self.cell_s) else np.zeros(num_cells)
        frequency_hz = np.asarray((np.arange(num_blocks) - (num_blocks - 1) / 2) * block_hz, dtype=np.float64)
        power = self._selective.power(links.ends, t_s, frequency_hz)
        power *= self._mean_gain(links, t_s)[:, :, None]
        return power

    def mean_gain_db(self, tx: Any, rx: Any, t_s: Any) -> Floats:
        """The local mean in dB: antenna gains - path loss - shadowing, without fading and receiver combining.

        tx, rx: [...] nodes, broadcast against each other
        Returns [...] at one time, [..., k] at times t_s [k].
        """
        tx, rx = np.broadcast_arrays(np.asarray(tx, dtype=np.int64), np.asarray(rx, dtype=np.int64))
        flat_tx, flat_rx = np.ravel(tx), np.ravel(rx)
        known = self._sets.get((flat_tx.tobytes(), flat_rx.tobytes()))
        links = known or self._new_links(flat_tx, flat_rx)  # not kept: neighbor searches ask about ever new, large sets
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        mean = self._mean.mean_db(links.means, times)
        if np.ndim(t_s) == 0:
            return mean[:, 0].reshape(tx.shape)
        if mean.shape[1] != times.size:
            mean = np.repeat(mean, times.size, axis=1)
        return mean.reshape(*tx.shape, times.size)

    def reach_m(self, min_gain_db: float) -> float:
        """The largest distance at which a local mean of min_gain_db is possible: with the two largest antenna gains of the
        network, the least path loss (line of sight), and shadowing of 3.5 standard deviations in favor.

        Returns 0 where it is possible nowhere, at most 1e7 m.
        """
        antennas = float(np.sort(self._antenna_gain_dbi)[-2:].sum())
        return self._distance_of_loss_m(antennas + REACH_SIGMAS * self._mean.max_sigma_db - min_gain_db)

    def near_pairs(self, nodes: Ints, t_s: float, min_gain_db: float) -> Ints:
        """Pairs of nodes [n], no base station among them, whose local mean gain may be min_gain_db or more at time t_s: all that
        qualify within reach_m(min_gain_db), and few others. Work and memory grow with what is found (`channels.near_pairs`).

        Returns [num_pairs, 2] nodes, in the order of the given ones.
        """
        bounds = self._mean.node_bounds(nodes, t_s)
        reach_m = self.reach_m(min_gain_db)
        found = near_pairs(bounds, self._path_loss, self._carrier_hz, min_gain_db, reach_m, self._distance_of_loss_m)
        return nodes[found]

    def _distance_of_loss_m(self, allowed_db: float) -> float:
        """The largest distance at which the least path loss is at most allowed_db; 0 where it is nowhere, at most 1e7 m."""
        low, high = _SEARCHED_REACH_M

        def loss_db(distance_m: float) -> float:
            return float(self._path_loss.least_loss_db(np.array(distance_m), self._carrier_hz))

        if loss_db(low) > allowed_db:
            return 0.0
        if loss_db(high) <= allowed_db:
            return high
        while high > low * (1 + 1e-9):
            middle = math.sqrt(low * high)
            if loss_db(middle) <= allowed_db:
                low = middle
            else:
                high = middle
        return high

    def sources(self) -> dict[str, str]:
        """Names, standards and generators of the models, in words: see `channels.sources`."""
        return sources(self._path_loss, self._shadowing, self._config, self._profile)

    def provenance(self) -> dict[str, str]:
        """The models with all their keys, and the grids in time, for the result file."""
        shadowing, fading = self._shadowing, self._config
        several = {"base_stations": str(self._num_stations)} if self._num_stations > 1 else {}
        inside = self._indoors
        if inside is not None:
            several["indoor_nodes"] = str(np.count_nonzero((inside.penetration_db != 0) | (inside.depth_m > 0)))
        return several | {
            "carrier_hz": repr(float(self._carrier_hz)),
            "path_loss": repr(self._path_loss),
            "shadowing": "none" if shadowing is None else repr(shadowing),
            "shadowing_generator": shadowing_generator(shadowing),
            "fading": "none" if fading is None else repr(fading),
            "fading_generator": fading_generator(fading),
            **({} if self._profile is None else {"delay_profile": repr(self._profile)}),
            "reciprocal": str(self._reciprocal).lower(),
            "cell_s": repr(self.cell_s),
            "large_scale_s": repr(self.large_scale_s),
        }

    # -- links ---------------------------------------------------------------------------------------------------------

    def _midpoints_s(self, first_cell: int, num_cells: int) -> Floats:
        t_s = np.arange(first_cell, first_cell + num_cells, dtype=np.float64)
        t_s += 0.5
        t_s *= self.cell_s
        return t_s

    def _unit_power(self, links: _LinkSet, t_s: Floats) -> Floats:
        """Power of the fading alone, [L, k], summed over the receive antennas (their number without fading)."""
        if self._block is not None and links.branches is not None:
            return self._block.power(links.branches, t_s)
        if self._doppler is not None and links.branches is not None:
            return self._doppler.power(links.ends, links.branches, t_s)
        return np.repeat(links.ends.rx_antennas[:, None].astype(np.float64), t_s.size, axis=1)

    def _mean_gain(self, links: _LinkSet, t_s: Floats) -> Floats:
        if links.constant_gain is not None:
            return links.constant_gain
        mean: Floats = db_to_linear(self._mean.mean_db(links.means, t_s))
        return mean

    def _links(self, tx: Ints, rx: Ints) -> _LinkSet:
        tx = np.asarray(tx, dtype=np.int64)
        rx = np.asarray(rx, dtype=np.int64)
        content = (tx.tobytes(), rx.tobytes())
        links = self._sets.pop(content, None)
        if links is None:
            links = self._new_links(np.array(tx), np.array(rx))
            model = self._block or self._doppler
            links.branches = model.prepare(links.ends) if model else None
            self._weight += links.weight
            while self._weight > self._largest_weight and self._sets:
                self._weight -= self._sets.pop(next(iter(self._sets))).weight
        self._sets[content] = links  # the last one asked for is the last one dropped
        return links

    def _new_links(self, tx: Ints, rx: Ints) -> _LinkSet:
        if tx.shape != rx.shape or tx.ndim != 1:
            raise ValueError(f"links need as many transmitters as receivers, [L] each: got {tx.shape} and {rx.shape}")
        if (tx == rx).any():
            raise ValueError(f"node {tx[np.argmax(tx == rx)]} has no link to itself")
        forward = self._ids[tx] < self._ids[rx]
        near, far = np.where(forward, tx, rx), np.where(forward, rx, tx)
        direction = np.zeros(tx.size, dtype=np.int64) if self._reciprocal else (~forward).astype(np.int64)
        ends = Ends(near, far, self._ids[near], self._ids[far], direction, ~forward, self._rx_antennas[rx])
        means = self._mean.links(near, far)
        constant = None
        if means.never_moves:
            constant = np.ascontiguousarray(db_to_linear(self._mean.mean_db(means, np.zeros(1))))
            constant.flags.writeable = False
        return _LinkSet(means, ends, None, constant, tx.size + _SET_OVERHEAD_LINKS)

    def _largest_speed_sum(self, stations: Ints) -> float:
        """Largest sum of the speeds of the two ends of a link."""
        speeds = self._positions.max_speeds_mps
        if stations.size and self._path_loss.needs_station:
            return float(np.delete(speeds, stations).max(initial=0.0) + speeds[stations].max())
        return float(np.sort(speeds)[-2:].sum())
