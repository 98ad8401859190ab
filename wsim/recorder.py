"""What a run keeps while it goes on: evaluations, snapshots, joules; and the record that it leaves."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim import accounts, waits
from wsim.clock import NS_PER_S
from wsim.evaluation import Scores, first_sustained
from wsim.progress import Progress
from wsim.record import DIVERGED, ENERGY_USES, RunRecord
from wsim.report import seconds
from wsim.series import Plan, Series
from wsim.series_arrays import series_arrays, target_accuracy
from wsim.series_report import series_name
from wsim.spectral import spectral_gap

if TYPE_CHECKING:
    from wsim.engine import Run


MAX_LISTED = 8
"""Devices by number, in a note."""


def _value_dependent(learner: Any) -> bool:
    """Whether times depend on learned values: by the algorithm, or by the lengths of what its codec sends."""
    return learner.value_dependent or getattr(getattr(learner, "codec", None), "value_dependent", False)


class Recorder:
    """Looks at the public parts of a run; changes nothing in it but what settles its accounts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._scores: list[Scores] = []  # one an evaluation, as are the rows
        self._measured: list[dict[str, np.ndarray]] = []
        self._rows: list[tuple[Any, ...]] = []
        self._snapshots: list[tuple[float, np.ndarray, np.ndarray]] = []  # seconds, positions, edges

    def energy_j(self) -> np.ndarray:
        """[num_nodes, len(ENERGY_USES)] joules drawn until now."""
        now_ns = self._run.clock.now_ns
        self._run.radios.settle(slice(None), now_ns)
        self._run.media.book_stalls()
        return accounts.energy_j(
            self._run.world.power, self._run.processors, self._run.radios, self._run.observe_j, now_ns
        )

    def device_energy_j(self) -> float:
        """Joules of all devices until now; the server is apart."""
        return float(self.energy_j()[: self._run.world.num_devices].sum())

    def evaluate(self) -> None:
        """Measure accuracy and what it has cost by now; a second measurement at one instant replaces the first."""
        if self._rows and self._rows[-1][0] == self._run.clock.now_s:
            self._rows.pop()
            self._scores.pop()
            self._measured.pop()
        self._scores.append(self._run.evaluator.evaluate())
        measured = self._run.measures.evaluate(self._run.evaluator.counts)
        self._measured.append({**measured, **self._scores[-1].numbers})
        presence, num_devices = self._run.presence, self._run.world.num_devices
        on_air = self._run.ledger.on_air_bits + round(self._run.media.drained_bits(self._run.clock.now_ns))
        self._rows.append(
            (
                self._run.clock.now_s,
                self._run.evaluator.rounds,
                self._run.ledger.payload_bits,
                self._run.ledger.coded_bits,
                on_air,
                self.energy_j()[:num_devices].sum(axis=0),
                num_devices if presence is None else len(presence.devices),
                0 if presence is None else len(presence.failed),
            )
        )

    def snapshot(self) -> None:
        """Keep the present positions and edges."""
        now_s = self._run.clock.now_s
        if self._snapshots and self._snapshots[-1][0] == now_s:
            return
        places = self._run.world.positions.at(np.arange(self._run.world.num_nodes), now_s)
        edges = (self._run.presence or self._run.topology).edges()
        self._snapshots.append((now_s, places, edges))

    def progress(self, wall_s: float) -> Progress:
        """How far the run is, after so many seconds of wall time."""
        stop, ledger = self._run.scenario.stop, self._run.ledger
        done = [0.0]
        if stop.simulated_s:
            done.append(self._run.clock.now_s / stop.simulated_s)
        if stop.rounds:
            done.append(self._run.evaluator.rounds / stop.rounds)
        if stop.air_bits:
            done.append(ledger.on_air_bits / stop.air_bits)
        if stop.energy_j:
            done.append(self.device_energy_j() / stop.energy_j)
        accuracy = self._scores[-1].accuracy if self._scores else np.nan
        shown = None if np.isnan(accuracy) else accuracy
        rate = ledger.sent / wall_s if wall_s > 0 else 0.0
        return Progress(self._run.clock.now_s, self._run.evaluator.rounds, min(max(done), 1.0), shown, rate)

    def _spectral_gaps(self) -> np.ndarray:
        """[num_snapshots]; NaN in a star, and where neighbors change from round to round."""
        run = self._run
        topology, num_devices = run.topology, run.world.num_devices
        if run.scenario.topology.kind in ("star", "one_peer_exponential"):
            return np.full(len(self._snapshots), np.nan)
        weights = run.scenario.algorithm.hyperparameters.get("mixing_weights", run.scenario.topology.mixing_weights)
        gaps: dict[bytes, float] = {}
        for _, _, edges in self._snapshots:
            if edges.tobytes() not in gaps:
                matrix = None if run.mixing is None else run.mixing.over(edges, topology.directed)
                gaps[edges.tobytes()] = spectral_gap(num_devices, edges, weights, topology.directed, matrix)
        return np.array([gaps[edges.tobytes()] for _, _, edges in self._snapshots])

    def record(self, stop_reason: str) -> RunRecord:
        """Everything that the run leaves, as arrays."""
        scenario, world, ledger = self._run.scenario, self._run.world, self._run.ledger
        now_ns = self._run.clock.now_ns
        columns = list(zip(*self._rows, strict=True))
        energy = np.array(columns[5]).reshape(-1, len(ENERGY_USES))
        on_air = np.array(columns[4], dtype=np.int64)
        times = np.array(columns[0])
        targets = np.array(scenario.evaluation.targets.accuracy, dtype=np.float64)
        sustained = scenario.evaluation.targets.sustained_evaluations
        plan, evaluator = self._run.evaluator.plan, self._run.evaluator
        heard = [series for series in plan.series if evaluator.ever_held(series)]
        measured = series_arrays(plan, heard, self._scores, world.group, len(world.group_names))
        aimed_at = target_accuracy(plan, measured)
        hits = [first_sustained(aimed_at, target, sustained) for target in targets.tolist()]

        def at_hit(values: np.ndarray) -> np.ndarray:
            return np.array([np.nan if hit is None else float(values[hit]) for hit in hits])

        for runner in self._run.driver.runners:
            runner.state_ns[runner.state] += now_ns - runner.since_ns
            runner.since_ns = now_ns
            runner.cut_off_wait(now_ns)
        snapshot_edges = [edges for _, _, edges in self._snapshots]
        return RunRecord(
            name=scenario.scenario.name,
            seed=scenario.scenario.seed,
            learner=self._run.learning.name,
            scenario_text=self._run.loaded.text,
            overrides=list(self._run.loaded.overrides),
            resolved=scenario.resolved(),
            exact=not (self._run.learning.estimates and _value_dependent(self._run.learning.learner)),
            estimated=self._run.learning.estimates,
            stop_reason=stop_reason,
            num_devices=world.num_devices,
            node_names=[str(i) for i in range(world.num_devices)] + self._station_names(),
            group=world.group,
            group_names=world.group_names,
            num_samples=np.array([len(part) for part in self._run.learning.parts], dtype=np.int64),
            num_test_samples=np.array([len(rows) for rows in self._run.learning.own_tests], dtype=np.int64),
            effective_flops=world.effective_flops,
            simulated_s=now_ns / NS_PER_S,
            eval_time_s=times,
            eval_round=np.array(columns[1], dtype=np.int64),
            **measured,
            by_group=scenario.evaluation.by_group,
            eval_payload_bits=np.array(columns[2], dtype=np.int64),
            eval_coded_bits=np.array(columns[3], dtype=np.int64),
            eval_on_air_bits=on_air,
            eval_energy_j=energy,
            eval_devices_present=np.array(columns[6], dtype=np.int64),
            eval_devices_failed=np.array(columns[7], dtype=np.int64),
            messages_sent=ledger.sent,
            messages_delivered_used=ledger.used,
            messages_delivered_unused=ledger.delivered - ledger.used,
            messages_lost=dict(ledger.lost),
            messages_in_flight=self._run.transport.in_flight,
            payload_bits=ledger.payload_bits,
            coded_bits=ledger.coded_bits,
            on_air_bits=ledger.on_air_bits,
            airtime_s=ledger.airtime_ns / NS_PER_S,
            resource_hz_s=ledger.resource_hz_ns / NS_PER_S,
            sent_bits_by_node=ledger.sent_bits_by_node,
            packets_sent=ledger.packets_sent,
            packets_lost=ledger.packets_lost,
            backhaul_bits=ledger.backhaul_bits if self._counts_backhaul() else 0,
            processor_s=accounts.processor_s(self._run.processors, now_ns),
            radio_s=accounts.radio_s(world.power, self._run.radios),
            program_s=np.array([runner.state_ns for runner in self._run.driver.runners]) / NS_PER_S,
            program_node=np.array([runner.node.index for runner in self._run.driver.runners], dtype=np.int64),
            energy_j=self.energy_j(),
            spectral_gap=self._spectral_gaps(),
            snapshot_time_s=np.array([time_s for time_s, _, _ in self._snapshots]),
            positions_m=np.stack([places for _, places, _ in self._snapshots]),
            edge_snapshot=np.repeat(np.arange(len(snapshot_edges)), [len(edges) for edges in snapshot_edges]),
            edges=np.concatenate(snapshot_edges).reshape(-1, 2),
            targets=targets,
            sustained_evaluations=sustained,
            target_time_s=at_hit(times),
            target_on_air_bits=at_hit(on_air),
            target_energy_j=at_hit(energy.sum(axis=1)),
            referenced_files=dict(self._run.loaded.files),
            radio_provenance=world.links.channel.provenance(),
            channel_provenance=world.links.channel.sources()
            | {
                "seed": scenario.scenario.seed,
                "radio_seed": scenario.seed_of("radio"),
                "run_number": self._run.loaded.run_number,
            },
            versions=dict(_versions()),
            notes=_not_heard(plan, heard)
            + _no_gap(plan)
            + self._diverged()
            + self._run.media.notes()
            + self._cell_notes()
            + (self._run.sinr.notes() if self._run.sinr is not None else [])
            + self._run.learning.notes,
            event_digest=ledger.event_digest,
            **waits.columns(self._run.driver.runners, world.server_index),
            **self._run.measures.columns(self._measured),
            **evaluator.similarity(),
            **(self._run.sinr.columns() if self._run.sinr is not None else {}),
        )

    def _counts_backhaul(self) -> bool:
        cells, config = self._run.cells, self._run.scenario.cells
        return cells is not None and (cells.has_edges or (config is not None and config.backhaul_rate_bps is not None))

    def _station_names(self) -> list[str]:
        """The server stands at the first of the base stations, or, where those are edge servers, behind them."""
        cells = self._run.cells
        if cells is not None and cells.has_edges:
            return [*(f"station {i}" for i in range(cells.num_stations)), "server"]
        return ["server", *(f"station {i}" for i in range(1, self._run.world.num_stations))][
            : self._run.world.num_stations
        ]

    def _diverged(self) -> list[str]:
        """A note where models have diverged: whose, and since which evaluation."""
        first: dict[int | str, int] = {}  # evaluation
        for number, scores in enumerate(self._scores):
            for who in scores.diverged:
                first.setdefault(who, number)
        if not first:
            return []
        devices = sorted(who for who in first if isinstance(who, int))
        listed = ", ".join(map(str, devices[:MAX_LISTED])) + (", ..." if len(devices) > MAX_LISTED else "")
        num_devices = self._run.world.num_devices
        whose = [f"the models of {len(devices)} of {num_devices} devices ({listed})"] if devices else []
        whose += ["the server's model"] if "server" in first else []
        whose += ["the mean of the models"] if not whose else []
        time_s, rounds = self._rows[min(first.values())][:2]
        when = f"first seen after {seconds(time_s)}, round {rounds}"
        return [f"{DIVERGED}: accuracy or loss of {' and '.join(whose)} is not a finite number, {when}"]

    def _cell_notes(self) -> list[str]:
        cells = self._run.cells
        if cells is None:
            return []
        one = cells.num_stations == 1
        return ["1 cell" if one else f"{cells.num_stations} cells, {cells.num_handovers:,} hand-overs"]


def _no_gap(plan: Plan) -> list[str]:
    """A note where half of what the generalization gap is made of was measured."""
    data = {series.data for series in plan.series}
    if "train" not in data or "global_test" in data:
        return []
    return ['no generalization gap: it is train minus global_test accuracy, and [evaluation] data has no "global_test"']


def _not_heard(plan: Plan, heard: Sequence[Series]) -> list[str]:
    """A note where the headline was of nobody's model."""
    headline = plan.headline
    if headline in heard or (plan.falls_back and heard):
        return []
    name = series_name(headline.report, headline.subject, headline.data)
    return [f"accuracies are of {name}, and nobody has reported such a model; see [evaluation] subjects"]


@cache
def _versions() -> dict[str, str]:
    """Of what the results depend on; looked up once a process, since that takes milliseconds."""
    from wsim import __version__

    names = ("torch", "numpy", "scipy", "simpy")
    return {name: importlib.metadata.version(name) for name in names} | {"wsim": __version__}
