"""What a program can look at and set: `Observe` and `Actuate`, at the scenario's stated cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from channels.units import dbm_to_w
from learners.protocol import Actuate, Observe
from wsim.errors import SimulationError
from wsim.node import SimNode

if TYPE_CHECKING:
    from wsim.engine import Run


class Senses:
    def __init__(self, run: Run) -> None:
        self._run = run

    def observe(self, node: SimNode, request: Observe) -> tuple[Any, float]:
        """The value and the seconds that looking takes; its joules are booked here."""
        if request.what == "link_rate":  # nobody looks: it is for the record
            return self._run.flows.rate(node.index, self._run.clock.now_s), 0.0
        cost = self._run.scenario.observation
        self._run.observe_j[node.index] += cost.energy_j
        if self._run.batteries is not None:
            self._run.batteries.look_again()
        world, links, now_s = self._run.world, self._run.world.links, self._run.clock.now_s
        value: Any
        if request.what == "position":
            value = tuple(world.positions.at(np.array([node.index]), now_s)[0].tolist())
        elif request.what == "time":
            value = now_s
        elif request.what == "membership":
            presence = self._run.presence
            value = (presence or self._run.topology).membership(node.index)
        elif request.what == "battery":
            drawn_j = float(self._run.recorder.energy_j()[node.index].sum())
            value = max(float(world.battery_j[node.index]) - drawn_j, 0.0)
        elif request.what in ("gain", "rate"):
            if request.peer is None:
                raise SimulationError(f"node {node.id}: Observe({request.what!r}) needs a peer")
            tx, rx = (np.array([end]) for end in self._ends(node, node.index_of(request.peer)))
            cell = links.cell_at(self._run.clock.now_ns)
            if request.what == "rate":
                bandwidth_hz = self._run.scenario.channel.bandwidth_hz
                snr = links.band_cn0(tx, rx, cell, 1) / bandwidth_hz
                value = float(links.band_efficiency(snr, rx[:, None])[0, 0] * bandwidth_hz)
            else:
                value = float(10 * np.log10(links.gain(tx, rx, cell)[0]))
        elif request.what == "snr":
            if request.peer is None:
                raise SimulationError(f"node {node.id}: Observe('snr') needs a peer")
            tx, rx = np.array([node.index_of(request.peer)]), np.array([node.index])
            value = float(self._run.flows.snr(tx, rx, now_s)[0])
        elif request.what == "max_power":
            value = float(world.max_tx_power_dbm[node.index])
        elif request.what == "link":
            value = self._run.flows.own(node.index, now_s)
        else:
            known = "position, battery, max_power, gain, snr, rate, time, membership, link, link_rate"
            raise SimulationError(f"node {node.id}: Observe({request.what!r}): what can be observed is {known}")
        return value, cost.delay_s

    def _ends(self, node: SimNode, peer: int) -> tuple[int, int]:
        """The nodes of the air for a link: in cells, the station that serves the device in the place of the server."""
        cells = self._run.cells
        if cells is None:
            return node.index, peer
        if min(peer, node.index) >= cells.first_station:
            raise SimulationError(f"node {node.id}: there is a wire to node {peer}, and no gain or rate of a radio")
        if peer >= cells.first_station:
            return node.index, cells.serving[node.index]
        return cells.serving[peer], peer

    def actuate(self, node: SimNode, request: Actuate) -> None:
        """Set the transmit power or the channel of a node from now on."""
        world, index = self._run.world, node.index
        if request.what == "power":
            limit = float(world.max_tx_power_dbm[index])
            if not request.value <= limit + 1e-9:
                raise SimulationError(
                    f"node {node.id}: power of {request.value} dBm is above its maximum of {limit} dBm"
                )
            self._run.media.before_power_change(index)
            world.links.set_power(index, float(dbm_to_w(request.value)))
            self._run.radios.set_power(index, self._run.clock.now_ns, world.tx_w_of_dbm(index, request.value))
            self._run.media.power_changed(index)
        elif request.what == "channel":
            channels = self._run.mac.num_channels
            if not (request.value == int(request.value) and 0 <= request.value < channels):
                raise SimulationError(f"node {node.id}: channel {request.value}: one of 0 to {channels - 1}")
            self._run.channel_of[index] = int(request.value)
        else:
            raise SimulationError(f"node {node.id}: Actuate({request.what!r}): what can be set is power, channel")
