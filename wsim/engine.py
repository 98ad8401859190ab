"""Runs a scenario: builds the world, the air, the learners and the clock, steps through the events, returns the record."""

from __future__ import annotations

import gc
import importlib.metadata
import math
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from channels.units import dbm_to_w
from learners.protocol import SERVER, Actuate, Observe, Report
from wsim.accounts import Processors, Radios, energy_j, power_w, processor_s
from wsim.clock import EVALUATE, NS_PER_S, Call, Clock, to_ns
from wsim.driver import Driver
from wsim.errors import ScenarioError, SimulationError
from wsim.evaluation import Evaluator, first_sustained, spread
from wsim.learning import Learning
from wsim.ledger import Ledger
from wsim.mac.registry import build_media
from wsim.node import SimNode
from wsim.packets import ForcedLoss
from wsim.progress import Progress
from wsim.record import ENERGY_USES, RunRecord
from wsim.scenario import files as scenario_files
from wsim.streams import Streams
from wsim.topology import BeaconTopology, FixedTopology, Hearing, RadioTopology, build_graph
from wsim.transport import Flight, Transport, TransportConfig
from wsim.world import build_world

if TYPE_CHECKING:
    from wsim.scenario import Loaded, Scenario

_STOP_PRIORITY = EVALUATE + 1
_PROGRESS_EVERY_S = 0.2
STARVED_S = 3600


def simulate(
    loaded: Loaded,
    executor: str = "batched",
    window: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    learner: Any = None,
    trace: list[tuple[Any, ...]] | None = None,
) -> RunRecord:
    """Run a scenario to its end.

    executor: "batched", "eager", or "null" for an estimate (same events, no arithmetic)
    window: jobs that the batched executor collects before it works them off; changes the speed, never the result
    learner: your own instead of the registered one: a class (it takes the keys of [algorithm]; give it to `load` too, which
        checks them), a function (task, codec, num_rounds) -> learner, or a learner
    trace: a list that receives every request of every program, in order of simulated time

    Raises ScenarioError for what only shows when the world is built, SimulationError where nothing can happen any more.
    """
    started = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = Run(loaded, executor, window, progress, learner, trace)
        run.go()
        record = run.record()
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
        "executor_calls": run.learning.num_calls,
        "executor_jobs": run.learning.num_jobs,
    }
    return record


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
    ) -> None:
        scenario = self.scenario = loaded.scenario
        self.loaded = loaded
        self._progress = progress
        self.streams = Streams(
            scenario.scenario.seed, scenario.seeds.data, scenario.seeds.radio, scenario.seeds.learner
        )
        self.clock = Clock()
        with self._blaming_the_scenario():
            self.world = build_world(scenario, loaded.files, self.streams)
        world = self.world
        self.learning = Learning(scenario, self.streams, executor, window, learner)
        self.ledger = Ledger(world.num_nodes)
        self.processors = Processors(world.num_nodes)
        self.radios = Radios(world.full_duplex, world.tx_w)
        self.observe_j = np.zeros(world.num_nodes)
        with self._blaming_the_scenario():
            self._build_topology()
        self.channel_of = np.zeros(world.num_nodes, dtype=np.int64)
        self.media = build_media(
            scenario, world, self.clock, self.radios, self._attempt_done, self._heard_by, self.channel_of
        )
        self.evaluator = Evaluator(world.num_devices, world.server_index, self.learning.measure, self._round_done)
        self.driver = Driver(
            self.clock,
            self.processors,
            self.ledger,
            self.learning.executor,
            self.learning.to_mask,
            self._reported,
            self._observe,
            self._actuate,
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
            self.driver.deliver,
            self.driver.resolved,
        )
        self.driver.transport = self.transport
        self._add_nodes()
        self._rows: list[tuple[Any, ...]] = []
        self._snapshots: list[tuple[float, np.ndarray, np.ndarray]] = []
        self._stop_reason = ""
        self._last_beacon: dict[int, int] = {}  # sender -> flight
        self._look_again_ns = -1  # when the limits are looked at once more
        self._drained = 0, 0.0  # when the bits on the air were last seen to grow, and how many there were
        self._evaluation_due = False

    @contextmanager
    def _blaming_the_scenario(self) -> Iterator[None]:
        """What the models refuse while the world is built is bad input."""
        try:
            yield
        except ValueError as error:
            raise ScenarioError(f"{self._source}: {error}") from None

    @property
    def _source(self) -> str:
        return self.loaded.path.name if self.loaded.path else self.scenario.scenario.name

    # -- building ------------------------------------------------------------------------------------------------------

    def _build_topology(self) -> None:
        scenario, world = self.scenario, self.world
        config = scenario.topology
        bandwidth_hz = scenario.channel.bandwidth_hz
        self.topology: FixedTopology | RadioTopology
        if config.kind == "radio":
            self.topology = RadioTopology(
                world.links,
                world.num_devices,
                bandwidth_hz,
                config.neighbor_mean_snr_db,
                config.hysteresis_db,
                config.update_every_s,
            )
            if config.discovery == "beacon":
                self.topology = BeaconTopology(self.topology, world.num_devices, config.beacon_every_s)
        elif config.kind == "star":
            self.topology = FixedTopology(world.num_devices, None)
        else:
            edges: list[tuple[int, int]] = []
            if config.file is not None:
                edges = scenario_files.edges(self.loaded.files[config.file], config.file, world.num_devices)
            graph = build_graph(
                config.kind, world.num_devices, config.degree, config.probability, edges, self.streams("graph")
            )
            self.topology = FixedTopology(world.num_devices, graph)
        self.hearing: Hearing | None = None
        if scenario.mac.kind == "shared" and not scenario.mac.orthogonal_links:
            self.hearing = Hearing(world.links, world.num_devices, bandwidth_hz, scenario.mac.sensing_snr_db)
            self.hearing.update(0.0)
        self._refuse_unreachable()

    def _refuse_unreachable(self) -> None:
        """Among devices that stay where they are, an edge of a fixed graph that carries nothing would wait for ever.

        With fading, an edge is given up 10 dB later: a Rayleigh peak that high comes once in 22,000 coherence times."""
        world, scenario = self.world, self.scenario
        if not isinstance(self.topology, FixedTopology) or world.positions.max_speed_mps > 0.0:
            return
        least_db = scenario.phy.min_snr_db - (0.0 if world.links.static else 10.0)
        edges = self.topology.edges()
        for tx, rx in ((edges[:, 0], edges[:, 1]), (edges[:, 1], edges[:, 0])):
            if not len(tx):
                continue
            band_hz = np.full(len(tx), scenario.channel.bandwidth_hz)
            if scenario.mac.kind == "fdma":  # a power-limited uplink may narrow its band down to its share
                band_hz[tx != world.server_index] /= world.num_devices
            snr_db = 10 * np.log10(world.links.mean_cn0(tx, rx, 0.0) / band_hz)
            i = int(snr_db.argmin())
            if snr_db[i] < least_db:
                raise ScenarioError(
                    f"{self._source} [topology] kind = {scenario.topology.kind!r}: the link from "
                    f"{self._name(int(tx[i]))} to {self._name(int(rx[i]))} has a mean SNR of {snr_db[i]:.1f} dB, "
                    f"[phy] min_snr_db is {scenario.phy.min_snr_db}, and nobody moves: place the devices closer, raise "
                    "tx_power_dbm or lower min_snr_db"
                )

    def _name(self, index: int) -> str:
        return "the server" if index == self.world.server_index else f"device {index}"

    def _heard_by(self, index: int) -> np.ndarray:
        assert self.hearing is not None
        return self.hearing.heard_by(index)

    def _add_nodes(self) -> None:
        world, learning = self.world, self.learning
        devices = tuple(range(world.num_devices))
        samples_of = tuple(len(part) for part in learning.parts)
        ids = list(devices)
        if learning.learner.uses_server:
            ids.append(SERVER)
        for id in ids:
            index = world.server_index if id == SERVER else id
            node = SimNode(
                id,
                index,
                world.server_index,
                0 if id == SERVER else samples_of[id],
                self.streams("learner", index),
                float(world.effective_flops[index]),
                self._jitter(index),
                self.topology.neighbors,
                devices,
                samples_of if id == SERVER else (),
                learning.initial_parameters(id),
                None if id == SERVER else learning.batches(id),
                learning.tensor,
                learning.noise,
            )
            self.driver.add(node, learning.learner.program(node))

    def _jitter(self, index: int) -> Callable[[], float]:
        sigma = float(self.world.jitter_sigma_ln[index])
        if sigma == 0.0:
            return lambda: 1.0
        rng = self.streams("jitter", index)
        return lambda: float(np.exp(sigma * rng.standard_normal()))

    # -- running -------------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Step through the events until a stop condition holds or all programs have ended."""
        scenario, clock = self.scenario, self.clock
        stop = scenario.stop
        if stop.simulated_s is not None:
            clock.at(to_ns(stop.simulated_s), self._time_up, None, _STOP_PRIORITY)
        if scenario.evaluation.every_s is not None:
            clock.after(to_ns(scenario.evaluation.every_s), self._evaluation_tick, None, EVALUATE)
        if self.topology.update_every_s is not None or (self.hearing is not None and not self.world.links.static):
            every_s = scenario.topology.update_every_s
            clock.after(to_ns(every_s), self._topology_tick, None, 0)
        if isinstance(self.topology, BeaconTopology):
            for i in range(self.world.num_devices):
                phase = self.streams("beacon", i).random()
                clock.after(to_ns(phase * scenario.topology.beacon_every_s), self._beacon_tick, i)
        self._snapshot()
        if scenario.output.topology_every_s is not None:
            clock.after(to_ns(scenario.output.topology_every_s), self._snapshot_tick, None, EVALUATE)
        gc.freeze()
        threshold = gc.get_threshold()
        gc.set_threshold(100_000, 50, 100)  # a run makes few cycles; looking for them often costs a tenth of its time
        try:
            self._step_through()
        finally:
            gc.set_threshold(*threshold)
            gc.unfreeze()

    def _step_through(self) -> None:
        clock, stop = self.clock, self.scenario.stop
        self.driver.start()
        begun = shown = time.perf_counter()
        driver = self.driver
        limited = stop.air_bits is not None or stop.energy_j is not None
        steps = 0
        while not self._stop_reason:
            if driver.main_left == 0:
                self._stop_reason = "rounds"
                break
            if clock.next_ns() == float("inf"):
                self._stuck()
            if limited:
                self._watch_limits()
                if self._stop_reason:
                    break
            clock.step()
            steps += 1
            if steps & 4095 == 0:
                self._check_starved()
            if steps & 31 == 0:
                if self._progress is not None:
                    now = time.perf_counter()
                    if now - shown > _PROGRESS_EVERY_S:
                        shown = now
                        self._progress(self._state_of_progress(now - begun))
        self.transport.close_books()
        self.radios.settle(slice(None), clock.now_ns)
        if self._rows and self._rows[-1][0] == clock.now_s:
            self._rows.pop()  # measured before the books were closed
        self._evaluate()
        self._snapshot()
        if self._progress is not None:
            self._progress(self._state_of_progress(time.perf_counter() - begun))

    def _watch_limits(self) -> None:
        """Bits on the air and joules grow steadily between events: stop at the very instant at which a limit is met."""
        stop, now_ns, next_ns = self.scenario.stop, self.clock.now_ns, int(self.clock.next_ns())
        if stop.air_bits is not None:
            have = self.ledger.on_air_bits
            if have + self.media.drained_bits(next_ns) >= stop.air_bits:
                low, high = now_ns, next_ns
                while low < high:
                    middle = (low + high) // 2
                    if have + self.media.drained_bits(middle) >= stop.air_bits:
                        high = middle
                    else:
                        low = middle + 1
                self._stop_at(high, "air_bits")
        if stop.energy_j is not None:
            left_j = stop.energy_j - self._device_energy_j()
            devices_w = power_w(self.world.power, self.processors, self.radios, now_ns)[: self.world.num_devices].sum()
            if left_j <= devices_w * (next_ns - now_ns) / NS_PER_S:
                self._stop_at(now_ns + math.ceil(max(left_j, 0.0) / max(devices_w, 1e-30) * NS_PER_S), "energy_j")

    def _stop_at(self, time_ns: int, reason: str) -> None:
        """Stop then, unless the limit is not met after all (stalls draw less than was thought)."""
        if time_ns <= self.clock.now_ns:
            self._stop_reason = self._stop_reason or reason
        elif not self.clock.now_ns < self._look_again_ns <= time_ns:
            self._look_again_ns = time_ns
            self.clock.at(time_ns, lambda call: None, None, _STOP_PRIORITY)

    def _stuck(self) -> None:
        raise SimulationError(
            f"nothing can happen any more at {self.clock.now_s:.6g} s: {self.driver.who_waits()}; a lost or impossible "
            "message needs [algorithm] deadline_s, or a reliable transport"
        )

    def _check_starved(self) -> None:
        """Everybody waits for the air and not a bit has been on it for long: the links are dead, even if they change."""
        now_ns = self.clock.now_ns
        drained = self.ledger.on_air_bits + self.media.drained_bits(now_ns)
        if drained != self._drained[1] or self.driver.timers > 0:
            self._drained = now_ns, drained
        elif now_ns - self._drained[0] > STARVED_S * NS_PER_S and self.driver.main_left:
            raise SimulationError(
                f"no link has carried a bit for {STARVED_S} s of simulated time, at {self.clock.now_s:.6g} s: "
                f"{self.driver.who_waits()}; move the devices closer, raise tx_power_dbm or lower [phy] min_snr_db"
            )

    def _check_stuck(self) -> None:
        """Only recurring events are left: nobody computes or sleeps, nothing is on its way."""
        if self.driver.timers == 0 and self.driver.main_left and not self.media.can_progress(self.transport):
            self._stuck()

    def _time_up(self, call: Call) -> None:
        self._check_stuck()
        self._stop_reason = "simulated_s"

    def _evaluation_tick(self, call: Call) -> None:
        self._evaluate()
        self._check_stuck()
        self.clock.after(to_ns(self.scenario.evaluation.every_s or 1.0), self._evaluation_tick, None, EVALUATE)

    def _topology_tick(self, call: Call) -> None:
        now_s = self.clock.now_s
        changed = isinstance(self.topology, RadioTopology) and self.topology.update(now_s)
        if self.hearing is not None:
            self.hearing.update(now_s)
            changed = True
        if changed:
            self.media.topology_changed()
        self._check_stuck()
        self.clock.after(to_ns(self.scenario.topology.update_every_s), self._topology_tick, None, 0)

    def _beacon_tick(self, call: Call) -> None:
        sender, config, topology = call.data, self.scenario.topology, self.topology
        assert isinstance(topology, BeaconTopology)
        self.clock.after(to_ns(config.beacon_every_s), self._beacon_tick, sender)
        if self._last_beacon.get(sender) in self.transport.live:
            return  # the air is so full that the last one still waits
        threshold = 10.0 ** ((config.neighbor_mean_snr_db - config.hysteresis_db) / 10.0)
        efficiency = float(self.world.links.efficiency(np.array([threshold]))[0]) or self.world.links.lowest_efficiency
        audience = topology.audience(sender)
        self._last_beacon[sender] = self.transport.send_beacon(
            sender,
            audience,
            config.beacon_bytes * 8,
            efficiency,
            lambda receiver: topology.heard(receiver, sender, self.clock.now_s),
        )

    def _snapshot_tick(self, call: Call) -> None:
        self._snapshot()
        self._check_stuck()
        self.clock.after(to_ns(self.scenario.output.topology_every_s or 1.0), self._snapshot_tick, None, EVALUATE)

    def _snapshot(self) -> None:
        now_s = self.clock.now_s
        if self._snapshots and self._snapshots[-1][0] == now_s:
            return
        places = self.world.positions.at(np.arange(self.world.num_nodes), now_s)
        self._snapshots.append((now_s, places, self.topology.edges()))

    def _round_done(self, rounds: int) -> None:
        evaluation = self.scenario.evaluation
        every = evaluation.every_rounds
        if every is None and evaluation.every_s is None:
            every = 1
        if every is not None and rounds % every == 0 and not self._evaluation_due:
            self._evaluation_due = True
            self.clock.after(0, self._round_evaluation, None, EVALUATE)
        if self.scenario.stop.rounds is not None and rounds >= self.scenario.stop.rounds:
            self.clock.after(0, self._rounds_up, None, _STOP_PRIORITY)

    def _rounds_up(self, call: Call) -> None:
        self._stop_reason = "rounds"

    def _round_evaluation(self, call: Call) -> None:
        self._evaluation_due = False
        self._evaluate()

    def _attempt_done(self, transfer: Any) -> None:
        self.transport.attempt_done(transfer)

    def _reported(self, node: SimNode, report: Report) -> None:
        self.evaluator.report(node, report)

    # -- what programs can look at and set ------------------------------------------------------------------------------

    def _observe(self, node: SimNode, request: Observe) -> tuple[Any, float]:
        """The value and the seconds that looking takes; its joules are booked here."""
        cost = self.scenario.observation
        self.observe_j[node.index] += cost.energy_j
        world, links, now_s = self.world, self.world.links, self.clock.now_s
        value: Any
        if request.what == "position":
            value = tuple(world.positions.at(np.array([node.index]), now_s)[0].tolist())
        elif request.what == "time":
            value = now_s
        elif request.what == "membership":
            value = self.topology.membership(node.index)
        elif request.what == "battery":
            value = float(world.battery_j[node.index] - self._energy_j()[node.index].sum())
        elif request.what in ("gain", "rate"):
            if request.peer is None:
                raise SimulationError(f"node {node.id}: Observe({request.what!r}) needs a peer")
            tx, rx = np.array([node.index]), node.index_of(request.peer)
            cn0 = links.cn0(tx, rx, links.cell_at(self.clock.now_ns), 1)
            if request.what == "rate":
                bandwidth_hz = self.scenario.channel.bandwidth_hz
                value = float(links.efficiency(cn0 / bandwidth_hz)[0, 0] * bandwidth_hz)
            else:
                value = float(10 * np.log10(cn0[0, 0] * links.noise_w_per_hz[rx][0] / links.tx_power_w[node.index]))
        else:
            known = "position, battery, gain, rate, time, membership"
            raise SimulationError(f"node {node.id}: Observe({request.what!r}): what can be observed is {known}")
        return value, cost.delay_s

    def _actuate(self, node: SimNode, request: Actuate) -> None:
        world, index = self.world, node.index
        if request.what == "power":
            limit = float(world.max_tx_power_dbm[index])
            if not request.value <= limit + 1e-9:
                raise SimulationError(
                    f"node {node.id}: power of {request.value} dBm is above its maximum of {limit} dBm"
                )
            self.media.before_power_change(index)
            world.links.set_power(index, float(dbm_to_w(request.value)))
            self.radios.set_power(index, self.clock.now_ns, world.tx_w_of_dbm(index, request.value))
            self.media.power_changed(index)
        elif request.what == "channel":
            channels = self.scenario.mac.channels
            if not (request.value == int(request.value) and 0 <= request.value < channels):
                raise SimulationError(f"node {node.id}: channel {request.value}: one of 0 to {channels - 1}")
            self.channel_of[index] = int(request.value)
        else:
            raise SimulationError(f"node {node.id}: Actuate({request.what!r}): what can be set is power, channel")

    # -- measuring -----------------------------------------------------------------------------------------------------

    def _energy_j(self) -> np.ndarray:
        now_ns = self.clock.now_ns
        self.radios.settle(slice(None), now_ns)
        self.media.book_stalls()
        return energy_j(self.world.power, self.processors, self.radios, self.observe_j, now_ns)

    def _device_energy_j(self) -> float:
        return float(self._energy_j()[: self.world.num_devices].sum())

    def _evaluate(self) -> None:
        headline, by_device = self.evaluator.accuracies()
        on_air = self.ledger.on_air_bits + round(self.media.drained_bits(self.clock.now_ns))
        self._rows.append(
            (
                self.clock.now_s,
                self.evaluator.rounds,
                headline,
                *spread(by_device),
                by_device,
                self.ledger.payload_bits,
                self.ledger.coded_bits,
                on_air,
                self._energy_j()[: self.world.num_devices].sum(axis=0),
            )
        )

    def _state_of_progress(self, wall_s: float) -> Progress:
        stop, ledger = self.scenario.stop, self.ledger
        done = [0.0]
        if stop.simulated_s:
            done.append(self.clock.now_s / stop.simulated_s)
        if stop.rounds:
            done.append(self.evaluator.rounds / stop.rounds)
        if stop.air_bits:
            done.append(ledger.on_air_bits / stop.air_bits)
        if stop.energy_j:
            done.append(self._device_energy_j() / stop.energy_j)
        accuracy = self._rows[-1][2] if self._rows else float("nan")
        shown = None if np.isnan(accuracy) else float(accuracy)
        rate = ledger.sent / wall_s if wall_s > 0 else 0.0
        return Progress(self.clock.now_s, self.evaluator.rounds, min(max(done), 1.0), shown, rate)

    def record(self) -> RunRecord:
        """Everything that the run leaves, as arrays."""
        scenario, world, ledger = self.scenario, self.world, self.ledger
        now_ns = self.clock.now_ns
        columns = list(zip(*self._rows, strict=True))
        accuracy = np.array(columns[2])
        energy = np.array(columns[10]).reshape(-1, len(ENERGY_USES))
        on_air = np.array(columns[9], dtype=np.int64)
        times = np.array(columns[0])
        targets = np.array(scenario.evaluation.targets.accuracy, dtype=np.float64)
        sustained = scenario.evaluation.targets.sustained_evaluations
        hits = [first_sustained(accuracy, target, sustained) for target in targets.tolist()]

        def at_hit(values: np.ndarray) -> np.ndarray:
            return np.array([np.nan if hit is None else float(values[hit]) for hit in hits])

        for runner in self.driver.runners:
            runner.state_ns[runner.state] += now_ns - runner.since_ns
            runner.since_ns = now_ns
        snapshot_edges = [edges for _, _, edges in self._snapshots]
        return RunRecord(
            name=scenario.scenario.name,
            seed=scenario.scenario.seed,
            learner=scenario.algorithm.name,
            scenario_text=self.loaded.text,
            overrides=list(self.loaded.overrides),
            resolved=scenario.resolved(),
            exact=not (self.learning.estimates and self.learning.learner.value_dependent),
            estimated=self.learning.estimates,
            stop_reason=self._stop_reason,
            num_devices=world.num_devices,
            node_names=[str(i) for i in range(world.num_devices)] + ["server"] * (world.server_index >= 0),
            group=world.group,
            group_names=world.group_names,
            num_samples=np.array([len(part) for part in self.learning.parts], dtype=np.int64),
            effective_flops=world.effective_flops,
            simulated_s=now_ns / NS_PER_S,
            eval_time_s=times,
            eval_round=np.array(columns[1], dtype=np.int64),
            accuracy=accuracy,
            accuracy_worst=np.array(columns[3]),
            accuracy_p10=np.array(columns[4]),
            accuracy_std=np.array(columns[5]),
            accuracy_by_device=np.array(columns[6]).reshape(len(times), world.num_devices),
            eval_payload_bits=np.array(columns[7], dtype=np.int64),
            eval_coded_bits=np.array(columns[8], dtype=np.int64),
            eval_on_air_bits=on_air,
            eval_energy_j=energy,
            messages_sent=ledger.sent,
            messages_delivered_used=ledger.used,
            messages_delivered_unused=ledger.delivered - ledger.used,
            messages_lost=dict(ledger.lost),
            messages_in_flight=self.transport.in_flight,
            payload_bits=ledger.payload_bits,
            coded_bits=ledger.coded_bits,
            on_air_bits=ledger.on_air_bits,
            airtime_s=ledger.airtime_ns / NS_PER_S,
            resource_hz_s=ledger.resource_hz_ns / NS_PER_S,
            sent_bits_by_node=ledger.sent_bits_by_node,
            packets_sent=ledger.packets_sent,
            packets_lost=ledger.packets_lost,
            processor_s=processor_s(self.processors, now_ns),
            radio_s=self.radios.state_ns.T / NS_PER_S,
            program_s=np.array([runner.state_ns for runner in self.driver.runners]) / NS_PER_S,
            program_node=np.array([runner.node.index for runner in self.driver.runners], dtype=np.int64),
            energy_j=self._energy_j(),
            snapshot_time_s=np.array([time_s for time_s, _, _ in self._snapshots]),
            positions_m=np.stack([places for _, places, _ in self._snapshots]),
            edge_snapshot=np.repeat(np.arange(len(snapshot_edges)), [len(edges) for edges in snapshot_edges]),
            edges=np.concatenate(snapshot_edges).reshape(-1, 2),
            targets=targets,
            sustained_evaluations=sustained,
            target_time_s=at_hit(times),
            target_on_air_bits=at_hit(on_air),
            target_energy_j=at_hit(energy.sum(axis=1)),
            referenced_files=dict(self.loaded.files),
            radio_provenance=world.links.channel.provenance(),
            versions={name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "simpy")}
            | {"wsim": _version()},
            notes=self.media.notes(),
            event_digest=ledger.event_digest,
        )


def _version() -> str:
    from wsim import __version__

    return __version__


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


__all__ = ["Flight", "Run", "simulate"]
