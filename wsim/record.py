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


@dataclass
class RunRecord:
    """Everything outside `provenance` is equal for equal seeds.

    Nodes are the devices 0 .. num_devices - 1, then the server where there is one (`node_names`).
    """

    name: str
    seed: int
    learner: str
    scenario_text: str
    overrides: list[str]
    resolved: dict[str, Any]  # the resolved scenario, JSON-able
    exact: bool  # False where an estimate used a declared expectation
    estimated: bool  # True for `wsim estimate`: no arithmetic, accuracies are NaN
    stop_reason: (
        str  # the limit that was met, "rounds" | "simulated_s" | "air_bits" | "energy_j"; or "finished": no limit
    )
    num_devices: int
    node_names: list[str]
    group: np.ndarray  # [num_devices] int, index of the device's group
    group_names: list[str]
    num_samples: np.ndarray  # [num_devices] training samples held
    effective_flops: np.ndarray  # [num_nodes]
    simulated_s: float

    # evaluations, one row each
    eval_time_s: np.ndarray  # [E]
    eval_round: np.ndarray  # [E] rounds completed by then
    accuracy: np.ndarray  # [E] mean over devices that hold a model, the server's where there is one
    accuracy_worst: np.ndarray  # [E]
    accuracy_p10: np.ndarray  # [E]
    accuracy_std: np.ndarray  # [E]
    accuracy_by_device: np.ndarray  # [E, num_devices], NaN where it holds none
    eval_payload_bits: np.ndarray  # [E] cumulative, as are the following
    eval_coded_bits: np.ndarray  # [E]
    eval_on_air_bits: np.ndarray  # [E]
    eval_energy_j: np.ndarray  # [E, len(ENERGY_USES)] all devices (the server apart)

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
    positions_m: np.ndarray  # [T, num_nodes, 3]
    edge_snapshot: np.ndarray  # [num_edges] index into snapshot_time_s
    edges: np.ndarray  # [num_edges, 2] node indices

    # targets: absolute accuracies, NaN where not reached
    targets: np.ndarray  # [G]
    sustained_evaluations: int
    target_time_s: np.ndarray  # [G]
    target_on_air_bits: np.ndarray  # [G]
    target_energy_j: np.ndarray  # [G]

    referenced_files: dict[str, str] = field(default_factory=dict)  # graphs and traces: name -> text
    radio_provenance: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # wsim, torch, numpy, ...
    notes: list[str] = field(default_factory=list)  # warnings given during the run
    provenance: dict[str, Any] = field(default_factory=dict)  # wall times, date, host, executor, window
    event_digest: str = ""  # hash of the event trace (send, deliver, loss, compute: times and ids)

    def energy_by_use(self) -> dict[str, float]:
        """Joules of all devices by use; the server is apart."""
        return dict(zip(ENERGY_USES, self.energy_j[: self.num_devices].sum(axis=0).tolist(), strict=True))

    @property
    def total_energy_j(self) -> float:
        """Joules of all devices (the server is apart)."""
        return float(self.energy_j[: self.num_devices].sum())
