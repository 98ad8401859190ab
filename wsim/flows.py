"""Who sends data to whom: disjoint pairs of devices within reach, and which pairs a device has to reckon with.

This is the traffic that control problems decide about (`learners.control`), beside the messages of learning. It is not simulated:
its rates are what the channels and the present powers would give, all pairs sending at once on the whole band.

    pairs     greedy matching: of the devices that are left, the two of the largest local mean SNR form the next pair, as long as that is at
              least min_snr_db; the lower id sends. Who is left over is idle
    objects   of a device: its own pair, then the pairs of which a member is within reach of a member of it, strongest first
    rate      log2(1 + g_ss p_s / (N + sum of g_sj p_j)) of a pair, bit/s/Hz, at the present powers (Shannon: no gap, no cap)

Both ends of a pair have the same objects. Mean SNRs are at full power, over the band, in the weaker direction. Who is in
which pair is looked at every update_every_s, and is, like the channels, a function of (seed, time): whoever asks, in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from channels.units import dbm_to_w
from wsim.clock import NS_PER_S, to_ns
from wsim.links import Links
from wsim.scenario.control import OBSERVED
from wsim.topology import Proximity

if TYPE_CHECKING:
    from wsim.scenario import Scenario
    from wsim.world import World

DECORRELATION_M = 25.0
CELLS_PER_PERIOD = 50  # of the Doppler, see `channels.channel`

HEARD_DB = -10.0
"""Senders whose local mean at a receiver is less than this over noise, at full power, are left out of its interference."""


class Owner(NamedTuple):
    """Devices (the two of a pair, or one that is idle) and their objects, int [K, 2] of (sender, receiver), K at least 1; the first
    is the pair of the devices where they are one."""

    devices: tuple[int, ...]
    objects: np.ndarray


class _Step(NamedTuple):
    """What holds from one look to the next. own: by device, the index of its pair or -1. near, strength_db: devices [n, 2] within
    reach of each other, and their mean SNR [n]."""

    number: int
    pairs: np.ndarray
    own: np.ndarray
    near: np.ndarray
    strength_db: np.ndarray


class Flows:
    """max_power_w: [num_nodes] that powers are shares of."""

    def __init__(
        self,
        links: Links,
        num_devices: int,
        bandwidth_hz: float,
        max_power_w: np.ndarray,
        min_snr_db: float,
        update_every_s: float,
    ) -> None:
        self._links = links
        self._num_devices = num_devices
        self._bandwidth_hz = bandwidth_hz
        self._max_power_w = max_power_w
        self._update_every_ns = to_ns(update_every_s)
        self._reach = Proximity(links, num_devices, bandwidth_hz, min_snr_db, max_power_w)
        self._heard = Proximity(links, num_devices, bandwidth_hz, HEARD_DB, max_power_w)
        self._last: _Step | None = None
        self._last_heard: tuple[int, list[np.ndarray]] | None = None

    def at(self, time_s: float) -> np.ndarray:
        """int [num_pairs, 2] of (sender, receiver), the strongest first."""
        return self._step(time_s).pairs

    def own(self, device: int, time_s: float) -> tuple[int, int] | None:
        """The pair of a device, None where it is idle."""
        step = self._step(time_s)
        if not 0 <= device < self._num_devices or step.own[device] < 0:
            return None
        sender, receiver = step.pairs[step.own[device]].tolist()
        return sender, receiver

    def owners(self, time_s: float, max_scale: int) -> list[Owner]:
        """Everybody who has objects, pairs first, with at most max_scale of them."""
        step = self._step(time_s)
        num_pairs = len(step.pairs)
        idle = np.flatnonzero(step.own < 0)
        owner_of = step.own.copy()
        owner_of[idle] = num_pairs + np.arange(len(idle))
        ends = owner_of[step.near]
        owner, other = np.concatenate([ends, ends[:, ::-1]]).T
        strength_db = np.concatenate([step.strength_db, step.strength_db])
        counts = (other < num_pairs) & (owner != other)
        owner, other, strength_db = owner[counts], other[counts], strength_db[counts]
        own = np.arange(num_pairs)
        owner, other = np.concatenate([own, owner]), np.concatenate([own, other])
        strength_db = np.concatenate([np.full(num_pairs, math.inf), strength_db])
        order = np.lexsort((other, -strength_db, owner))
        objects: list[dict[int, None]] = [{} for _ in range(num_pairs + len(idle))]
        for which, found in zip(owner[order].tolist(), other[order].tolist(), strict=True):
            objects[which][found] = None  # two pairs may be within reach by several links: the strongest counts
        devices = [tuple(pair) for pair in step.pairs.tolist()] + [(device,) for device in idle.tolist()]
        return [Owner(who, step.pairs[list(of)[:max_scale]]) for who, of in zip(devices, objects, strict=True) if of]

    def snr(self, tx: np.ndarray, rx: np.ndarray, time_s: float) -> np.ndarray:
        """[num_links] SNRs over the band at full power and at this time: path loss, shadowing, fading, antennas, everything."""
        return self._gain(tx, rx, time_s) * self._max_power_w[tx] / self._noise_w(rx)

    def rate(self, device: int, time_s: float) -> float | None:
        """bit/s/Hz of the pair of a device with the present powers of all senders, as if all sent now; None where it is idle. Left out
        are those of less than HEARD_DB."""
        pair = self.own(device, time_s)
        if pair is None:
            return None
        sender, receiver = pair
        others = self._senders_heard(receiver, time_s)
        tx = np.concatenate([[sender], others[others != sender]])
        rx = np.full(len(tx), receiver)
        power_w = self._gain(tx, rx, time_s) * self._links.tx_power_w[tx]
        snr = power_w / self._noise_w(rx)
        return float(np.log1p(snr[0] / (1.0 + snr[1:].sum())) / math.log(2))

    def _gain(self, tx: np.ndarray, rx: np.ndarray, time_s: float) -> np.ndarray:
        return self._links.gain(tx, rx, self._links.cell_at(to_ns(time_s)))

    def _noise_w(self, rx: np.ndarray) -> np.ndarray:
        noise: np.ndarray = self._links.noise_w_per_hz[rx] * self._bandwidth_hz
        return noise

    def _number(self, time_s: float) -> int:
        return to_ns(time_s) // self._update_every_ns

    def _looked_at_s(self, number: int) -> float:
        return number * self._update_every_ns / NS_PER_S

    def _step(self, time_s: float) -> _Step:
        number = self._number(time_s)
        if self._last is None or self._last.number != number:
            near, strength_db = self._reach.pairs(self._looked_at_s(number))
            own = np.full(self._num_devices, -1)
            pairs: list[tuple[int, int]] = []
            for link in np.argsort(-strength_db, kind="stable").tolist():
                a, b = near[link].tolist()
                if own[a] < 0 and own[b] < 0:
                    own[a] = own[b] = len(pairs)
                    pairs.append((a, b))
            ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
            self._last = _Step(number, ends, own, near, strength_db)
        return self._last

    def _senders_heard(self, receiver: int, time_s: float) -> np.ndarray:
        """Senders of pairs, ascending, whose local mean at a receiver counts."""
        step = self._step(time_s)
        if self._last_heard is None or self._last_heard[0] != step.number:
            near, _ = self._heard.pairs(self._looked_at_s(step.number))
            sends = np.zeros(self._num_devices, dtype=bool)
            sends[step.pairs[:, 0]] = True
            to, sender = np.concatenate([near, near[:, ::-1]]).T
            to, sender = to[sends[sender]], sender[sends[sender]]
            order = np.lexsort((sender, to))
            cuts = np.searchsorted(to[order], np.arange(1, self._num_devices))
            self._last_heard = step.number, np.split(sender[order], cuts)
        return self._last_heard[1][receiver]


@dataclass(frozen=True)
class RecordedAir:
    """What a data set may look at, see `learners.control.observed_links.Air`."""

    flows: Flows
    num_devices: int
    run_s: float | None
    decorrelation_s: float
    with_gains: bool

    def owners(self, time_s: float, max_scale: int) -> list[Owner]:
        return self.flows.owners(time_s, max_scale)

    def snr(self, tx: np.ndarray, rx: np.ndarray, time_s: float) -> np.ndarray:
        return self.flows.snr(tx, rx, time_s)


def recorded_air(scenario: Scenario, world: World, flows: Flows, with_gains: bool) -> RecordedAir:
    """with_gains: False in an estimate."""
    num = world.num_devices
    return RecordedAir(flows, num, scenario.stop.simulated_s, decorrelation_s(scenario, world), with_gains)


def decorrelation_s(scenario: Scenario, world: World) -> float:
    """After which channels are other ones: as long as the fastest device takes for a correlation distance of the shadowing
    (DECORRELATION_M where none is given), and a block of the fading or a period of its Doppler; 0 where nothing changes."""
    speed_mps = float(world.positions.max_speeds_mps[: world.num_devices].max(initial=0.0))
    distance_m = scenario.channel.shadowing.correlation_m or DECORRELATION_M
    moved_s = distance_m / speed_mps if speed_mps > 0.0 else 0.0
    cell_s, fading = world.links.channel.cell_s, scenario.channel.fading
    if fading.kind == "none" or not math.isfinite(cell_s):
        return moved_s
    return max(moved_s, cell_s if fading.own.get("correlation") == "block" else CELLS_PER_PERIOD * cell_s)


def build_flows(scenario: Scenario, world: World) -> Flows:
    """Pairs as [data] observed_links says, else by the neighborhood of [topology]."""
    says, topology = scenario.data.own, scenario.topology
    observed = scenario.data.name == OBSERVED
    return Flows(
        world.links,
        world.num_devices,
        scenario.channel.bandwidth_hz,
        np.asarray(dbm_to_w(world.max_tx_power_dbm), dtype=np.float64),
        says["neighbor_mean_snr_db"] if observed else topology.neighbor_mean_snr_db,
        says["update_every_s"] if observed else topology.update_every_s,
    )
