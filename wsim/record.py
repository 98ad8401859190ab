"""What a run leaves behind: plain arrays, ready for a file, a table or a picture. No behavior beyond summaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

LOSS_CAUSES = ("outage", "collision", "half_duplex", "queue", "deadline", "departure", "forced", "channel")
PROCESSOR_STATES = ("computing", "idle")
RADIO_STATES = ("transmitting", "receiving", "both", "accessing", "listening", "asleep", "off")
PROGRAM_STATES = ("computing", "receiving", "sleeping", "awaiting_outcome", "observing", "finished")
ENERGY_USES = ("compute", "transmit", "receive", "listen", "idle", "observe")
CHANNEL_FACTS = (
    *("path_loss", "path_loss_standard", "fading", "fading_standard", "fading_generator", "shadowing"),
    *("shadowing_standard", "shadowing_field", "delay_profile", "seed", "radio_seed", "run_number"),
)
ANYONE = -1  # in `RunRecord.wait_awaited`: nobody in particular
DIVERGED = "diverged"  # how the note begins of models whose numbers are no longer finite
HANDED_IN = ("own learner", "own task")  # how notes begin of what was handed in from Python; its class follows


def _no_numbers() -> np.ndarray:
    return np.empty(0)


def _no_features() -> np.ndarray:
    return np.empty((0, 0))


def _no_measures() -> np.ndarray:
    return np.empty((0, 0, 0))


def _no_indices() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass
class RunRecord:
    """Everything outside `provenance` and `channel_provenance` is equal for equal seeds.

    Nodes are the devices 0 .. num_devices - 1, then the server where there is one and further base stations (`node_names`).
    """

    name: str
    seed: int
    learner: str  # the algorithm's name in the scenario; of a learner that Python handed in, its class's
    scenario_text: str
    overrides: list[str]
    resolved: dict[str, Any]  # the resolved scenario, JSON-able
    exact: bool  # False where an estimate used a declared expectation
    estimated: bool  # True for `wsim estimate`: no arithmetic, accuracies are NaN
    stop_reason: str
    """The limit that was met, "rounds" | "simulated_s" | "air_bits" | "energy_j"; or "finished": no limit, or "nobody_left": all
    devices have failed."""
    num_devices: int
    node_names: list[str]
    group: np.ndarray  # [num_devices] int, index of the device's group
    group_names: list[str]
    num_samples: np.ndarray  # [num_devices] training samples held
    num_test_samples: np.ndarray  # [num_devices] own test samples held
    effective_flops: np.ndarray  # [num_nodes]
    simulated_s: float

    # evaluations, one row each
    eval_time_s: np.ndarray  # [E]
    eval_round: np.ndarray  # [E] rounds completed by then
    accuracy: np.ndarray  # [E] the headline: of the first series, over devices as the first of `levels` says
    accuracy_worst: np.ndarray  # [E] of the headline's devices, as are the following three
    accuracy_p10: np.ndarray  # [E]
    accuracy_std: np.ndarray  # [E]
    accuracy_by_device: np.ndarray  # [E, num_devices], NaN where it holds none
    test_loss: np.ndarray  # [E] of the headline: mean cross-entropy, NaN where its metric gives none
    eval_payload_bits: np.ndarray  # [E] cumulative, as are the following
    eval_coded_bits: np.ndarray  # [E]
    eval_on_air_bits: np.ndarray  # [E]
    eval_energy_j: np.ndarray  # [E, len(ENERGY_USES)] all devices (the server apart)
    eval_devices_present: np.ndarray  # [E] devices that were there
    eval_devices_failed: np.ndarray  # [E] devices that had failed by then: of the others, some may be away

    # series: what was evaluated side by side, the headline first (see `wsim.series`); NaN where there is nothing
    series_report: list[str]  # [S] name that the learner gave to what it reported
    series_subject: list[str]  # [S] "device" | "server" | "mean_model" (a genie's average)
    series_data: list[
        str
    ]  # [S] "global_test" | "own_test" | "own_classes" | "own_view" | "own_scale" | "train" | "scale_16"
    levels: list[str]  # [L] how devices are brought together: "mean" | "worst" | "p10" | "median" | "best" | "std"
    by_group: bool  # tables and pictures show the groups apart
    series_accuracy: np.ndarray  # [S, E] of the one model, or over devices as the first level says
    series_loss: np.ndarray  # [S, E]
    series_accuracy_by_level: np.ndarray  # [S, E, L] over the devices; NaN for one model on the global test set
    series_loss_by_level: np.ndarray  # [S, E, L] the worst and the p10 are large
    series_accuracy_by_group: np.ndarray  # [S, E, num_groups, L]
    series_accuracy_by_device: np.ndarray  # [S, E, num_devices]
    series_loss_by_device: np.ndarray  # [S, E, num_devices]
    series_disagreement: np.ndarray  # [S, E] root mean square distance of the devices' models to their mean

    # ledger: (message, intended receiver) pairs
    messages_sent: int
    messages_delivered_used: int
    messages_delivered_unused: int
    messages_lost: dict[str, int]  # by LOSS_CAUSES
    messages_in_flight: int
    payload_bits: int
    coded_bits: int
    on_air_bits: int
    airtime_s: float
    resource_hz_s: float
    sent_bits_by_node: np.ndarray  # [num_nodes] on air
    packets_sent: int
    packets_lost: int

    # timelines and energy, seconds and joules
    processor_s: np.ndarray  # [num_nodes, len(PROCESSOR_STATES)]
    radio_s: np.ndarray  # [num_nodes, len(RADIO_STATES)]
    program_s: np.ndarray  # [num_programs, len(PROGRAM_STATES)]
    program_node: np.ndarray  # [num_programs] node index
    energy_j: np.ndarray  # [num_nodes, len(ENERGY_USES)]

    # topology snapshots
    snapshot_time_s: np.ndarray  # [T]
    spectral_gap: np.ndarray  # [T] of the mixing matrix
    positions_m: np.ndarray  # [T, num_nodes, 3]
    edge_snapshot: np.ndarray  # [num_edges] index into snapshot_time_s
    edges: np.ndarray  # [num_edges, 2] node indices

    # targets: absolute accuracies, NaN where not reached
    targets: np.ndarray  # [G]
    target_report: str  # of which series and level, as those above
    target_subject: str
    target_data: str
    target_level: str
    sustained_evaluations: int
    target_time_s: np.ndarray  # [G]
    target_on_air_bits: np.ndarray  # [G]
    target_energy_j: np.ndarray  # [G]

    referenced_files: dict[str, str] = field(default_factory=dict)  # graphs and traces: name -> text
    radio_provenance: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # wsim, torch, numpy, ...
    notes: list[str] = field(default_factory=list)  # warnings given during the run
    channel_provenance: dict[str, str | int] = field(default_factory=dict)
    """Models of the channel, where they come from and what draws them, in words (`channels.sources`); seed, radio_seed (that of its
    streams) and run_number (`Loaded.run_number`). Empty where the file is older than this."""
    provenance: dict[str, Any] = field(default_factory=dict)  # wall times, date, host, executor, window
    event_digest: str = ""  # hash of the event trace (send, deliver, loss, compute: times and ids)

    backhaul_bits: int = 0  # over the wires of [cells], counted where they have a rate or the stations are edge servers

    # what devices measured of the learning algorithm; empty where it measures nothing, and in an estimate
    measure_name: list[str] = field(default_factory=list)  # [M] see `learners.protocol.Learner`
    measure_component: list[str] = field(default_factory=list)  # [M]
    measure_value: np.ndarray = field(default_factory=_no_measures)  # [M, E, num_devices], NaN where there was none

    # with "similarity" among [evaluation] metrics, else empty: representations of common test samples at the end, of length 1, sorted
    # by label and then by device
    similarity_features: np.ndarray = field(default_factory=_no_features)  # [Z, d]
    similarity_label: np.ndarray = field(default_factory=_no_indices)  # [Z]
    similarity_device: np.ndarray = field(default_factory=_no_indices)  # [Z] whose model

    # with [output] sinr, else empty: the SINR of what was on the air, a step function of time for every transfer and receiver
    sinr_time_s: np.ndarray = field(default_factory=_no_numbers)  # [N] where the step begins
    sinr_duration_s: np.ndarray = field(default_factory=_no_numbers)  # [N]
    sinr_transfer: np.ndarray = field(
        default_factory=_no_indices
    )  # [N] from 0, in the order in which they came on the air
    sinr_tx: np.ndarray = field(default_factory=_no_indices)  # [N] node index, as are the receivers
    sinr_rx: np.ndarray = field(default_factory=_no_indices)  # [N]
    sinr_db: np.ndarray = field(default_factory=_no_numbers)  # [N]
    handover_time_s: np.ndarray = field(default_factory=_no_numbers)  # [H] of several cells
    handover_device: np.ndarray = field(default_factory=_no_indices)  # [H]
    handover_station: np.ndarray = field(default_factory=_no_indices)  # [H] node index of the new station

    # who has waited for whom in its programs, one row a pair that has (see `wsim.driver.waits`); sorted, empty where nobody has
    wait_node: np.ndarray = field(default_factory=_no_indices)  # [W] node index of the one who waits
    wait_awaited: np.ndarray = field(default_factory=_no_indices)  # [W] node index, or ANYONE
    wait_s: np.ndarray = field(
        default_factory=_no_numbers
    )  # [W] those of a node sum to the `receiving` of its programs
    wait_count: np.ndarray = field(
        default_factory=_no_indices
    )  # [W] waits; one that several share counts for each of them
    wait_deadline_count: np.ndarray = field(default_factory=_no_indices)  # [W] of which ended by a deadline

    @property
    def handed_in(self) -> str | None:
        """The note of a learner or task that was handed in from Python: the scenario does not say all of the run then."""
        return next((note for note in self.notes if note.startswith(HANDED_IN)), None)

    @property
    def own(self) -> dict[str, str]:
        """What was handed in from Python, by the name of its class: {"own learner": "Mine"}."""
        found = [(kind, note) for note in self.notes for kind in HANDED_IN if note.startswith(f"{kind} ")]
        return {kind: note.partition(":")[0].removeprefix(f"{kind} ") for kind, note in found}

    @property
    def diverged(self) -> str | None:
        """The note of models that have diverged: their accuracies are of no model at all."""
        return next((note for note in self.notes if note.startswith(f"{DIVERGED}: ")), None)

    def energy_by_use(self) -> dict[str, float]:
        """Joules of all devices by use; the server is apart."""
        return dict(zip(ENERGY_USES, self.energy_j[: self.num_devices].sum(axis=0).tolist(), strict=True))

    @property
    def total_energy_j(self) -> float:
        """Joules of all devices (the server is apart)."""
        return float(self.energy_j[: self.num_devices].sum())

    def totals(self) -> dict[str, float]:
        """Bits, seconds on the air, joules, messages and packets of the whole run, by the names of columns in tables."""
        return {
            "payload_bits": self.payload_bits,
            "coded_bits": self.coded_bits,
            "on_air_bits": self.on_air_bits,
            "airtime_s": self.airtime_s,
            "energy_j": self.total_energy_j,
            **{f"energy_{use}_j": joules for use, joules in self.energy_by_use().items()},
            "messages_sent": self.messages_sent,
            "messages_delivered": self.messages_delivered_used + self.messages_delivered_unused,
            "messages_lost": sum(self.messages_lost.values()),
            "packets_sent": self.packets_sent,
            "packets_lost": self.packets_lost,
        }
