"""From gains to rates: the carrier-to-noise density of a link and the efficiency that the rate map gives for it.

    C/N0 = P_tx * gain / (noise density of the receiver)      [Hz]
    SNR  = C/N0 / bandwidth that the power is spread over
    rate = share of time * bandwidth held * efficiency(SNR)   [bit/s]

A power-limited sender spreads its power over the band it holds; a base station over its whole carrier. Node indices here are
array indices: devices first, the server (if any) last.

With an ergodic fading law C/N0 is the mean and efficiency(SNR) the mean over the law (`channels.ergodic`): for transfers much
longer than the coherence time. Broadcasts and fixed rates go by it, too: who can take the rate on average decodes it, and
fading costs nobody a packet. What other cells are heard with stands at its mean, too: the mean is over the wanted link alone.

With a delay profile the band is looked at in num_blocks equal resource blocks, each at its center,

    rate = share of time * bandwidth held * 1/num_blocks * sum over the blocks b of efficiency(SNR * g_b / g)   [bit/s]

with g_b the power gain of block b and g that of the link. That is a transfer whose power is even over the band it holds and
whose resource blocks, however few, are spread evenly over the whole carrier (distributed allocation, for the diversity it
gives), coded over all of them. A fixed rate is decoded where that mean of efficiencies reaches it. Everything that is no rate
goes by the mean power over the blocks: interference from others, gains that a program observes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from channels.channel import Channel
from channels.ergodic import ErgodicRate
from channels.fading import Fading
from channels.link_adaptation import RateMap
from channels.mobility import Positions
from wsim.clock import NEVER_NS, to_ns

MAX_EXPECTED = 1 << 14
DECODED = 1 - 1e-12  # a rate that was derived from this very SNR is decoded, rounding aside


class Constants:
    """A quantity of links that never changes: looked up in one call for all links that are expected, for others when they
    are asked for. look_up: (tx [num_links], rx [num_links]) -> [num_links], or several values of each, [num_links, num_values]."""

    def __init__(self, look_up: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self._look_up = look_up
        self._values: dict[int, dict[int, Any]] = {}  # tx -> rx -> value
        self.expected: list[tuple[int, int]] = []

    def of(self, tx: int, receivers: Sequence[int]) -> np.ndarray:
        """[len(receivers)] of the links from tx; with several values of each [num_values, len(receivers)]."""
        known = self._values.get(tx, {})
        new = [(tx, rx) for rx in receivers if rx not in known]
        if new:
            pairs = new if self._values else list(dict.fromkeys([*new, *self.expected]))
            ends = np.array(pairs)
            for (sender, rx), value in zip(pairs, self._look_up(ends[:, 0], ends[:, 1]).tolist(), strict=True):
                self._values.setdefault(sender, {})[rx] = value
            known = self._values[tx]
        return np.array([known[rx] for rx in receivers]).T

    def forget(self, tx: int) -> None:
        """What is sent from tx has changed."""
        self._values.pop(tx, None)


class Blocks(NamedTuple):
    """The resource blocks that a frequency-selective band is looked at in, side by side around the carrier."""

    number: int
    width_hz: float


class Links:
    """blocks: None where the band is flat. tx_power_w, noise_w_per_hz, rx_antennas: [num_nodes]."""

    def __init__(
        self,
        channel: Channel,
        positions: Positions,
        rate_map: RateMap,
        tx_power_w: np.ndarray,
        noise_w_per_hz: np.ndarray,
        rx_antennas: np.ndarray,
        fixed_efficiency_bps_hz: float | None,
        ergodic_law: Fading | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        self.channel = channel
        self.positions = positions
        self.rate_map = rate_map
        self.tx_power_w = tx_power_w
        self.noise_w_per_hz = noise_w_per_hz
        self.rx_antennas = rx_antennas
        self.fixed_efficiency_bps_hz = fixed_efficiency_bps_hz
        self.blocks = blocks
        self.num_blocks = 1 if blocks is None else blocks.number
        self.expected: list[tuple[int, int]] = []
        self._constant_cn0 = Constants(lambda tx, rx: self.band_cn0(tx, rx, 0, 1)[..., 0].T)
        self._constant_mean_cn0 = Constants(lambda tx, rx: self.mean_cn0(tx, rx, 0.0))
        self._broadcast: dict[tuple[int, tuple[int, ...], float, float], float] = {}
        self._decodes: dict[tuple[int, tuple[int, ...], float, float], bool] = {}
        # constants of the rate map as arrays without dimensions: numpy takes them in half the time of Python's numbers
        self._one = np.array(1.0)
        self._gap = np.array(10.0 ** (-rate_map.snr_gap_db / 10.0))
        self._cap = np.array(rate_map.max_efficiency_bps_hz, dtype=np.float64)
        self._useful = np.array(1.0 - rate_map.overhead)
        self._floor = rate_map.min_snr
        self.cell_ns = to_ns(channel.cell_s)
        self.cheap = channel.is_cheap and blocks is None  # a gain costs a hash, not a sum of sinusoids or taps
        self.static = self.cell_ns == NEVER_NS
        self.ergodic = ergodic_law is not None
        self._mean_rates: dict[int, ErgodicRate] = {}  # by the number of receive antennas
        if ergodic_law is not None:
            self._mean_rates = {
                n: ErgodicRate(rate_map, ergodic_law, n) for n in np.unique(rx_antennas).astype(int).tolist()
            }

    def expect(self, edges: np.ndarray) -> None:
        """edges: [num_edges, 2] nodes that will send to each other. That changes the cost of what is asked, never an answer."""
        if 2 * len(edges) <= MAX_EXPECTED:
            both_ways = ((tx, rx) for a, b in edges.tolist() for tx, rx in ((a, b), (b, a)))
            self.expected = list(dict.fromkeys(both_ways))  # a directed graph may have a link twice
            self._constant_cn0.expected = self._constant_mean_cn0.expected = self.expected

    def cell_at(self, time_ns: int) -> int:
        return 0 if self.static else time_ns // self.cell_ns

    def cn0(self, tx: np.ndarray, rx: np.ndarray, first_cell: int, num_cells: int) -> np.ndarray:
        """[num_links, num_cells] C/N0 in Hz with everything: path loss, shadowing, fading, antennas; the mean over the band."""
        return self.band_mean(self.band_cn0(tx, rx, first_cell, num_cells))

    def band_cn0(self, tx: np.ndarray, rx: np.ndarray, first_cell: int, num_cells: int) -> np.ndarray:
        """C/N0 in Hz that `band_efficiency` takes: [num_links, num_cells]; with a delay profile that of every block,
        [num_blocks, num_links, num_cells]."""
        scale = self.tx_power_w[tx] / self.noise_w_per_hz[rx]
        if self.blocks is None:
            return self.channel.gain(tx, rx, first_cell, num_cells) * scale[:, None]
        gain = self.channel.gain_per_block(tx, rx, first_cell, num_cells, *self.blocks)
        gain *= scale[:, None, None]
        return np.moveaxis(gain, -1, 0)

    def gain(self, tx: np.ndarray, rx: np.ndarray, cell: int) -> np.ndarray:
        """[num_links] linear power gains with everything, whatever is sent; the mean over the band."""
        if self.blocks is None:
            return self.channel.gain(tx, rx, cell, 1)[:, 0]
        return self.band_mean(np.moveaxis(self.channel.gain_per_block(tx, rx, cell, 1, *self.blocks)[:, 0], -1, 0))

    def constant_cn0(self, tx: int, receivers: Sequence[int]) -> np.ndarray:
        """C/N0 in Hz of links that never change, as `band_cn0`: [len(receivers)] or [num_blocks, len(receivers)]."""
        return self._constant_cn0.of(tx, receivers)

    def mean_cn0(self, tx: np.ndarray, rx: np.ndarray, time_s: float) -> np.ndarray:
        """[num_links] C/N0 in Hz of the local mean, all receive antennas combined: what neighborhood goes by."""
        gain = 10.0 ** (self.channel.mean_gain_db(tx, rx, time_s) / 10.0)
        return self.tx_power_w[tx] / self.noise_w_per_hz[rx] * self.rx_antennas[rx] * gain

    def efficiency(self, snr: np.ndarray, rx: np.ndarray | None = None) -> np.ndarray:
        """[...] bit/s/Hz that a sender gets which follows the channel: `RateMap.efficiency`, its constants worked out.

        rx: [...] receivers, broadcast against snr; only an ergodic law asks for them, as their antennas shape it. Without them
        they have the fewest antennas that there are."""
        if self.ergodic:
            return self._mean_efficiency(snr, rx)
        rate: np.ndarray = snr * self._gap
        rate += self._one
        np.log2(rate, rate)
        np.minimum(rate, self._cap, out=rate)
        rate *= self._useful
        if rate.size and snr.item(snr.argmin()) < self._floor:  # argmin: a reduction costs numpy five times as much
            rate[snr < self._floor] = 0.0
        return rate

    def band_efficiency(self, snr: np.ndarray, rx: np.ndarray | None = None) -> np.ndarray:
        """[...] bit/s/Hz of what `band_cn0` says. snr: [...], with a delay profile [num_blocks, ...]. rx: as in `efficiency`."""
        return self.band_mean(self.efficiency(snr, rx))

    def band_mean(self, values: np.ndarray) -> np.ndarray:
        """[num_blocks, ...] to [...], the mean; as it is where the band is flat."""
        if self.blocks is None:
            return values
        mean: np.ndarray = np.cumsum(values, axis=0)[-1]  # in order: the bits of numpy's own sums depend on the shape
        mean /= len(values)
        return mean

    def _mean_efficiency(self, snr: np.ndarray, rx: np.ndarray | None) -> np.ndarray:
        fewest = min(self._mean_rates)
        if rx is None or len(self._mean_rates) == 1:
            return self._mean_rates[fewest].efficiency(snr)
        antennas = np.broadcast_to(self.rx_antennas[rx], np.shape(snr))
        rates = np.empty(np.shape(snr))
        for count in np.unique(antennas).astype(int).tolist():
            those = antennas == count
            rates[those] = self._mean_rates[count].efficiency(np.asarray(snr)[those])
        return rates

    def broadcast_efficiency(
        self,
        tx: int,
        receivers: tuple[int, ...],
        reach: float,
        bandwidth_hz: float,
        time_s: float,
        interferers: Sequence[int] = (),
    ) -> float:
        """bit/s/Hz that the fraction `reach` of the receivers decodes, by mean SNR; the lowest there is if they cannot.

        interferers: further senders on the same band, taken to radiate all of the time (one list for each tx)."""
        key = (tx, receivers, reach, bandwidth_hz)
        known = self._broadcast.get(key)
        if known is not None:
            return known
        constant = self.positions.max_speed_mps == 0.0
        if constant:
            mean = self._constant_mean_cn0.of(tx, receivers)
        else:
            mean = self.mean_cn0(np.full(len(receivers), tx), np.array(receivers), time_s)
        if interferers:
            senders, rx = np.repeat(interferers, len(receivers)), np.tile(receivers, len(interferers))
            others = (self.mean_cn0(senders, rx, time_s) / self.rx_antennas[rx]).reshape(len(interferers), -1)
            mean = mean / (1.0 + others.sum(axis=0) / bandwidth_hz)
        last = math.ceil(reach * len(mean) - 1e-9) - 1  # 0.28 * 25 is a little over 7
        if self.ergodic:
            efficiency = float(np.sort(self.efficiency(mean / bandwidth_hz, np.array(receivers)))[::-1][last])
        else:
            efficiency = float(self.efficiency(np.sort(mean)[::-1][last][None] / bandwidth_hz)[0])
        efficiency = efficiency or self.lowest_efficiency
        if constant:
            self._broadcast[key] = efficiency
        return efficiency

    def all_decode(self, tx: int, receivers: tuple[int, ...], efficiency: float, power_band_hz: float) -> bool:
        """On links that never change: every receiver could take this efficiency."""
        key = (tx, receivers, efficiency, power_band_hz)
        known = self._decodes.get(key)
        if known is None:
            cn0 = self.constant_cn0(tx, receivers)
            offered = self.band_efficiency(cn0 / power_band_hz, np.array(receivers))
            known = bool((offered >= efficiency * DECODED).all())
            self._decodes[key] = known
        return known

    def set_power(self, node: int, power_w: float) -> None:
        """A sender's total radiated power from now on."""
        self.tx_power_w[node] = power_w
        self._broadcast.clear()
        self._decodes.clear()
        self._constant_cn0.forget(node)
        self._constant_mean_cn0.forget(node)

    @property
    def lowest_efficiency(self) -> float:
        """bit/s/Hz at the lowest SNR at which anything is sent."""
        return float(self.rate_map.efficiency(np.array([10.0 ** (self.rate_map.min_snr_db / 10.0)]))[0])
