"""Runs a scenario: builds the world, the air, the learners and the clock, steps through the events, returns the record."""

from __future__ import annotations

import gc
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from channels.path_loss.ranges import OutsideModelError
from channels.units import db_to_linear, w_to_dbm
from learners.protocol import SERVER
from learners.representation.names import COMPONENTS
from wsim.accounts import Processors, Radios
from wsim.backhaul import Backhaul
from wsim.battery import Batteries
from wsim.cells import Cells, CellTopology
from wsim.churn import churn_of
from wsim.clock import EVALUATE, Call, Clock, to_ns
from wsim.compute import slow_down
from wsim.driver import Driver
from wsim.errors import ScenarioError
from wsim.evaluation import Evaluator
from wsim.flows import build_flows, recorded_air
from wsim.learning import Learning, registered
from wsim.ledger import Ledger
from wsim.limits import STOP, Limits
from wsim.mac.air_watch import AirWatch
from wsim.mac.medium_access import Air, medium_access
from wsim.mac.sinr_series import SinrSeries
from wsim.measures import Measures
from wsim.node import SimNode
from wsim.packets import ForcedLoss, room_bits
from wsim.presence import Presence
from wsim.progress import Progress
from wsim.record import RunRecord
from wsim.recorder import Recorder
from wsim.scenario.mixing import mixing_matrix
from wsim.senses import Senses
from wsim.series import plan
from wsim.streams import Streams
from wsim.switched_radios import SwitchedRadios
from wsim.topology import BeaconTopology, RadioTopology, build_hearing, build_topology
from wsim.transport import Transport, TransportConfig
from wsim.world import World, build_world

if TYPE_CHECKING:
    from learners.own_task import OwnTask
    from wsim.scenario import Loaded, Scenario

_PROGRESS_EVERY_S = 0.2
_COLLECT_EVERY_S = 2.0
_collected_s: float | None = None
_frozen = False


def simulate(
    loaded: Loaded,
    executor: str = "batched",
    window: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    learner: Any = None,
    trace: list[tuple[Any, ...]] | None = None,
    task: OwnTask | None = None,
) -> RunRecord:
    """Run a scenario to its end.

    executor: "batched", "eager", or "null" for an estimate (same events, no arithmetic)
    window: jobs that the batched executor collects before it works them off; changes the speed, never the result
    learner: your own instead of the registered one: a class (it takes the keys of [algorithm]; give it to `load` too, which
        checks them), a function (task, codec, num_rounds) -> learner, or a learner
    trace: a list that receives every request of every program, in order of simulated time
    task: what is learned, instead of [data] and [model]: a `learners.task.Task` of your own data set, model, objective and
        score, or anything with the interface of `learners.own_task.OwnTask`; give it to `load` too. [data] partition deals
        its training samples.

    Raises ScenarioError for what only shows when the world is built, SimulationError where nothing can happen any more.
    """
    _collect_earlier_runs()
    started = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run = Run(loaded, executor, window, progress, learner, trace, task)
            run.go()
            record = run.record()
        except OutsideModelError as error:
            raise ScenarioError(f"{_source(loaded)} [channel.path_loss] {error}") from None
    record.notes = sorted({str(warning.message).splitlines()[0] for warning in caught}) + record.notes
    record.provenance = {
        "wall_s": time.perf_counter() - started[0],
        "cpu_s": time.process_time() - started[1],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "executor": executor,
        "window": -1 if window is None else window,
        "directory": str(loaded.directory.absolute()),
        "executor_calls": run.learning.num_calls,
        "executor_jobs": run.learning.num_jobs,
    }
    return record


def _collect_earlier_runs() -> None:
    """Frees the worlds of earlier runs in this process. Their parts refer to each other, and Python's own collection would not
    find them, since `Run.go` moves all objects to the generation that it hardly ever looks at. Looking takes a tenth of a
    second, more in a process that holds much else and has not frozen it (`gc.freeze`), so not more often than every 2 s; the
    last world stays."""
    global _collected_s
    if _collected_s is not None and time.process_time() - _collected_s < _COLLECT_EVERY_S:
        return
    if _collected_s is not None:
        gc.collect()
    _collected_s = time.process_time()


def _has_frozen() -> bool:
    """Whether the process keeps objects out of the collector's way by itself (`gc.freeze`): they stay out of it. Python counts
    them one by one, a tenth of a second where it is half a million: once they have been found, they are not looked for again.
    """
    global _frozen
    _frozen = _frozen or gc.get_freeze_count() > 0
    return _frozen


def _source(loaded: Loaded) -> str:
    return loaded.path.name if loaded.path else loaded.scenario.scenario.name


class Run:
    """One run in progress. The parts are public so that tests can look at them."""

    def __init__(
        self,
        loaded: Loaded,
        executor: str,
        window: int | None,
        progress: Callable[[Progress], None] | None,
        learner: Any,
        trace: list[tuple[Any, ...]] | None,
        task: OwnTask | None = None,
    ) -> None:
        scenario = self.scenario = loaded.scenario
        self.loaded = loaded
        self._progress = progress
        self.streams = Streams(
            scenario.scenario.seed, scenario.seeds.data, scenario.seeds.radio, scenario.seeds.learner
        )
        self.clock = Clock()
        with self._blaming_the_scenario():
            self.mac = medium_access(scenario)
        says = registered(scenario.algorithm.name) if learner is None else learner
        has_edges = getattr(says, "uses_edges", False)
        world = self.world = self._build_world(has_edges)  # first: its channels may be what is learned
        self.flows = build_flows(scenario, world)
        observed = recorded_air(scenario, world, self.flows, executor != "null")
        self.learning = Learning(
            scenario,
            self.streams,
            executor,
            window,
            learner,
            loaded.directory,
            task,
            lambda: self.clock.now_s,
            observed,
        )
        if getattr(self.learning.learner, "uses_edges", False) != has_edges:  # of what a function has made
            world = self.world = self._build_world(not has_edges)
            self.flows = build_flows(scenario, world)
        with self._blaming_the_scenario():
            self.cells = self._build_cells()
            star = None if self.cells is None else CellTopology(self.cells)
            self.topology = build_topology(scenario, self.mac, loaded.files, world, self.streams, star)
            self.hearing = build_hearing(scenario, self.mac, world)
        world.links.expect(self.topology.edges())
        if hasattr(self.learning.learner, "check_graph"):
            with self._blaming_the_scenario("[algorithm] "):
                self.learning.learner.check_graph(self.topology.graph)
        self.mixing = mixing_matrix(scenario, loaded.files)
        if self.mixing is not None:
            with self._blaming_the_scenario("[topology] "):
                self.mixing.check_edges(self.topology.edges(), self.topology.directed)
            if hasattr(self.learning.learner, "check_matrix"):
                with self._blaming_the_scenario("[algorithm] "):
                    self.learning.learner.check_matrix(self.mixing.weights)
        self.ledger = Ledger(world.num_nodes)
        self.processors = Processors(world.num_nodes)
        churn = churn_of(scenario, loaded.files, self.streams)
        batteries = bool(np.isfinite(world.battery_j[: world.num_devices]).any())
        self.radios = Radios(world.full_duplex, world.tx_w)
        self.presence: Presence | None = None  # where devices come and go
        self.batteries: Batteries | None = None
        if churn or batteries:
            self.radios = SwitchedRadios(world.full_duplex, world.tx_w)
            self.presence = Presence(self, self.radios, churn)
            if batteries:
                self.batteries = Batteries(self, self.presence)
        self.observe_j = np.zeros(world.num_nodes)
        self.channel_of = [0] * world.num_nodes
        heard_by = self.hearing.heard_by if self.hearing is not None else nobody
        bandwidth_hz, done = scenario.channel.bandwidth_hz, self._attempt_done
        air = Air(
            bandwidth_hz, scenario.phy, world, self.clock, self.radios, done, heard_by, self.channel_of, scenario.cells
        )
        self.media = self.mac.media(air)
        self.sinr = SinrSeries() if scenario.output.sinr else None
        self._watch_the_air()
        reports = getattr(self.learning.learner, "reports", ())
        self.evaluator = Evaluator(
            plan(
                scenario,
                reports,
                getattr(self.learning.learner, "own_metrics", ()),
                getattr(self.learning.task, "has_head", True),
            ),
            reports,
            world.num_devices,
            world.server_index,
            self.learning,
            self._round_done,
        )
        listed = getattr(self.learning.learner, "measures", {})
        numbers = {name: COMPONENTS[name] for name in self.evaluator.plan.metrics if name in COMPONENTS}
        self.measures = Measures(listed, world.num_devices, self.learning, numbers)
        senses = Senses(self)
        self.driver = Driver(
            self.clock,
            self.processors,
            self.ledger,
            self.learning.executor,
            self.learning.to_mask,
            self.evaluator.report,
            self.measures.keep,
            senses.observe,
            senses.actuate,
            trace,
        )
        self.transport = Transport(
            _transport_config(scenario),
            self.clock,
            world.links,
            self.media.of,
            self.ledger,
            self.radios,
            self.streams,
            self.channel_of,
            self.driver.deliver,
            self.driver.resolved,
            self.cells,
            self._scaled_tx_w,
            self._build_backhaul(),
        )
        self.driver.connect(self.transport)
        self._add_nodes()
        self.recorder = Recorder(self)
        self.limits = Limits(self)
        self.stop_reason = ""
        self._last_beacon: dict[int, int] = {}  # sender -> flight
        self._evaluation_due = False

    @contextmanager
    def _blaming_the_scenario(self, table: str = "") -> Iterator[None]:
        """What the models refuse while the world is built is bad input, of this table."""
        try:
            yield
        except OutsideModelError:
            raise
        except ValueError as error:
            raise ScenarioError(f"{_source(self.loaded)}: {table}{error}") from None

    def _scaled_tx_w(self, node: int, power: float) -> float:
        """Watts that a node draws on the air with this part of its present radiated power."""
        dbm = float(w_to_dbm(self.world.links.tx_power_w[node] * power))
        return self.world.tx_w_of_dbm(node, dbm)

    # -- building ------------------------------------------------------------------------------------------------------

    def _add_nodes(self) -> None:
        world, learning, transport = self.world, self.learning, self.scenario.transport
        devices = tuple(range(world.num_devices))
        samples_of = tuple(len(part) for part in learning.parts)
        edges: tuple[int, ...] = ()
        if self.cells is not None and self.cells.has_edges:
            edges = tuple(range(world.num_devices, world.num_devices + world.num_stations))
        ids = [*devices, *edges]
        if world.server_index >= 0 and learning.learner.uses_server is not False:
            ids.append(SERVER)
        for id in ids:
            index = world.server_index if id == SERVER else id
            node = SimNode(
                id,
                index,
                world.server_index,
                learning.num_samples(id),
                partial(self.streams, "learner", index),
                float(world.effective_flops[index]),
                slow_down(world.computes[index], index, self.loaded.files, self.streams),
                self.topology.neighbors if self.presence is None else self.presence.neighbors,
                self.topology.peers if self.presence is None else self.presence.peers,
                devices,
                samples_of if id == SERVER or id in edges else (),
                learning.task_of(id),
                room_bits(transport.mtu_bytes, transport.header_bytes),
                learning.initial_parameters(id),
                learning.samples_of(id),
                learning.tensor,
                learning.noise,
                learning.uniform,
                {} if self.mixing is None or id == SERVER else self.mixing.row(id, self.topology.peers(id, 0)[1]),
                learning.class_counts_of,
                edges,
                partial(self.cells.served, id) if self.cells is not None and id in edges else None,
            )
            self.driver.add(node, learning.learner.program(node))
        main = {runner.node.index for runner in self.driver.runners if not runner.is_service}
        self.evaluator.lead(frozenset(main & {world.server_index} or main))

    def _build_cells(self) -> Cells | None:
        """Who is served by which station, where there are several."""
        config, world = self.scenario.cells, self.world
        if config is None:
            return None
        return Cells(
            world.links,
            world.num_devices,
            world.num_stations,
            config.hysteresis_db,
            config.update_every_s,
            config.handover == "lose",
            config.interference == "sinr",
            world.server_index,
        )

    def _build_world(self, has_edges: bool) -> World:
        """has_edges: the learner's programs run at the base stations, too."""
        scenario = self.scenario
        if has_edges and scenario.cells is None:
            name = scenario.algorithm.name
            raise ScenarioError(
                f"{_source(self.loaded)}: {name} has edge servers at the stations of [cells], which is missing"
            )
        with self._blaming_the_scenario():
            return build_world(scenario, self.mac, self.loaded.files, self.streams, has_edges)

    def _build_backhaul(self) -> Backhaul | None:
        """What leads from base stations to the server, where there are several."""
        config = self.scenario.cells
        if config is None:
            return None
        latency_ns = to_ns(config.backhaul_latency_s)
        return Backhaul(self.clock, self.ledger, self.world.server_index, latency_ns, config.backhaul_rate_bps)

    def _watch_the_air(self) -> None:
        """Where somebody asks for the SINRs of what is on the air."""
        preamble_snr_db = self.scenario.phy.preamble_snr_db
        if self.sinr is None and preamble_snr_db is None:
            return
        preamble_snr = None if preamble_snr_db is None else float(db_to_linear(preamble_snr_db))
        with self._blaming_the_scenario():
            self.media.watch(AirWatch(self.world.links, preamble_snr, self.sinr))

    # -- running -------------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Step through the events until a stop condition holds or all programs have ended."""
        scenario, clock = self.scenario, self.clock
        stop = scenario.stop
        if stop.simulated_s is not None:
            clock.at(to_ns(stop.simulated_s), self._time_up, None, STOP)
        if scenario.evaluation.every_s is not None:
            clock.after(to_ns(scenario.evaluation.every_s), self._evaluation_tick, None, EVALUATE)
        if self.topology.update_every_s is not None or (self.hearing is not None and not self.world.links.static):
            every_s = scenario.topology.update_every_s
            clock.after(to_ns(every_s), self._topology_tick, None, 0)
        if self.cells is not None and self.world.positions.max_speed_mps > 0.0:
            clock.after(to_ns(self.cells.update_every_s), self._association_tick, None, 0)
        if isinstance(self.topology, BeaconTopology):
            for i in range(self.world.num_devices):
                phase = self.streams("beacon", i).random()
                clock.after(to_ns(phase * scenario.topology.beacon_every_s), self._beacon_tick, i)
        self.recorder.snapshot()
        if scenario.output.topology_every_s is not None:
            clock.after(to_ns(scenario.output.topology_every_s), self._snapshot_tick, None, EVALUATE)
        frozen = _has_frozen()
        if not frozen:
            gc.freeze()
        threshold = gc.get_threshold()
        gc.set_threshold(100_000, 50, 100)  # a run makes few cycles; looking for them often costs a tenth of its time
        try:
            self._step_through()
        finally:
            gc.set_threshold(*threshold)
            if not frozen:
                gc.unfreeze()

    def _step_through(self) -> None:
        clock, driver, limits, batteries = self.clock, self.driver, self.limits, self.batteries
        if self.presence is not None:
            self.presence.start()
        driver.start()
        begun = shown = time.perf_counter()
        steps = 0
        while not self.stop_reason:
            if driver.main_left == 0:
                limit = self.scenario.stop.rounds
                self.stop_reason = "finished" if limit is None or self.evaluator.rounds < limit else "rounds"
                break
            if limits.active:
                limits.watch()
                if self.stop_reason:
                    break
            if batteries is not None:
                batteries.watch()
            if not clock.step():
                limits.stuck()
            steps += 1
            if steps & 31:
                continue
            if steps & 4095 == 0:
                limits.check_starved()
            if self._progress is not None:
                now = time.perf_counter()
                if now - shown > _PROGRESS_EVERY_S:
                    shown = now
                    self._progress(self.recorder.progress(now - begun))
        self.transport.close_books()
        self.radios.settle(slice(None), clock.now_ns)
        self.recorder.evaluate()
        self.recorder.snapshot()
        if self._progress is not None:
            self._progress(self.recorder.progress(time.perf_counter() - begun))

    def _time_up(self, call: Call) -> None:
        self.limits.check_stuck()
        self.stop_reason = "simulated_s"

    def _evaluation_tick(self, call: Call) -> None:
        self.recorder.evaluate()
        self.limits.check_stuck()
        self.clock.after(to_ns(self.scenario.evaluation.every_s or 1.0), self._evaluation_tick, None, EVALUATE)

    def _topology_tick(self, call: Call) -> None:
        now_s = self.clock.now_s
        self.limits.check_stuck()  # before a change of topology asks for new plans, which look like progress
        changed = isinstance(self.topology, RadioTopology) and self.topology.update(now_s)
        if self.hearing is not None:
            self.hearing.update(now_s)
            changed = True
        if changed:
            self.media.topology_changed()
        self.clock.after(to_ns(self.scenario.topology.update_every_s), self._topology_tick, None, 0)

    def _association_tick(self, call: Call) -> None:
        assert self.cells is not None
        changes = self.cells.update(self.clock.now_s)
        if changes:
            self.transport.change_stations(dict(changes))
            if self.sinr is not None:
                self.sinr.handovers += [(self.clock.now_ns, device, station) for device, station in changes]
        self.limits.check_stuck()
        self.clock.after(to_ns(self.cells.update_every_s), self._association_tick, None, 0)

    def _beacon_tick(self, call: Call) -> None:
        sender, config, topology = call.data, self.scenario.topology, self.topology
        assert isinstance(topology, BeaconTopology)
        self.clock.after(to_ns(config.beacon_every_s), self._beacon_tick, sender)
        if self.presence is not None and not self.presence.here[sender]:
            return
        if self._last_beacon.get(sender) in self.transport.live:
            return  # the air is so full that the last one still waits
        threshold = 10.0 ** ((config.neighbor_mean_snr_db - config.hysteresis_db) / 10.0)
        efficiency = float(self.world.links.efficiency(np.array([threshold]))[0]) or self.world.links.lowest_efficiency
        audience = topology.audience(sender)
        if self.presence is not None:
            audience = audience[np.array(self.presence.here)[audience]]
        self._last_beacon[sender] = self.transport.send_beacon(
            sender,
            tuple(audience.tolist()),
            config.beacon_bytes * 8,
            efficiency,
            lambda receiver: topology.heard(receiver, sender, self.clock.now_s),
        )

    def _snapshot_tick(self, call: Call) -> None:
        self.recorder.snapshot()
        self.limits.check_stuck()
        self.clock.after(to_ns(self.scenario.output.topology_every_s or 1.0), self._snapshot_tick, None, EVALUATE)

    def _round_done(self, rounds: int) -> None:
        evaluation = self.scenario.evaluation
        every = evaluation.every_rounds
        if every is None and evaluation.every_s is None:
            every = 1
        if every is not None and rounds % every == 0 and not self._evaluation_due:
            self._evaluation_due = True
            self.clock.after(0, self._round_evaluation, None, EVALUATE)
        if self.scenario.stop.rounds is not None and rounds >= self.scenario.stop.rounds:
            self.clock.after(0, self._rounds_up, None, STOP)

    def _rounds_up(self, call: Call) -> None:
        self.stop_reason = "rounds"

    def _round_evaluation(self, call: Call) -> None:
        self._evaluation_due = False
        self.recorder.evaluate()

    def _attempt_done(self, transfer: Any) -> None:
        self.transport.attempt_done(transfer)

    def record(self) -> RunRecord:
        """Everything that the run leaves, as arrays."""
        return self.recorder.record(self.stop_reason)


def nobody(index: int) -> np.ndarray:
    """Who senses a transmission where nobody has to."""
    return np.empty(0, dtype=np.int64)


def _transport_config(scenario: Scenario) -> TransportConfig:
    transport, forced = scenario.transport, scenario.channel.forced_loss
    default = transport.reliability == "default"
    return TransportConfig(
        mtu_bytes=transport.mtu_bytes,
        header_bytes=transport.header_bytes,
        unicast_reliability="arq" if default else transport.reliability,
        broadcast_reliability="none" if default else transport.reliability,
        partial_use=transport.partial == "use",
        expires_s=transport.expires_s,
        feedback_bits=transport.feedback_bytes * 8,
        max_attempts=transport.max_attempts,
        latency_ns=to_ns(scenario.mac.latency_s),
        forced_loss=ForcedLoss(forced.unit, forced.rate, forced.mean_burst_packets) if forced.rate > 0.0 else None,
        fixed_rate=scenario.phy.rate == "fixed",
        broadcast_rate_bps=scenario.mac.broadcast_rate_bps,
        broadcast_reach=scenario.mac.broadcast_reach,
        bandwidth_hz=scenario.channel.bandwidth_hz,
    )
