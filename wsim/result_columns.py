"""What a result file holds: one row for each dataset, with its place, dimensions, unit and meaning.

A dimension is a dataset too (its scale), in the group of the variables that use it or in a parent of that group.
Categories are uint8 with `flag_values` and `flag_meanings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsim.record import ENERGY_USES, LOSS_CAUSES, PROCESSOR_STATES, PROGRAM_STATES, RADIO_STATES


@dataclass(frozen=True)
class Column:
    """A dataset that holds one field of the RunRecord.

    dims: names in DIMENSIONS; units: None for text, "1" for counts and shares; usual: from the fields of a record, the value with
    which a file leaves the dataset out
    """

    field: str
    path: str
    dims: tuple[str, ...]
    units: str | None
    long_name: str
    usual: Callable[[Mapping[str, Any]], Any] | None = None


@dataclass(frozen=True)
class Dimension:
    """A dimension scale: indices from 0, or categories where `meanings` names them."""

    path: str
    long_name: str
    meanings: tuple[str, ...] = ()


DIMENSIONS = {
    "device": Dimension("/device", "device index"),
    "node": Dimension("/node", "node index: the devices, then the server where there is one"),
    "group": Dimension("/group", "index of the group of devices"),
    "note": Dimension("/note", "index of the note"),
    "energy_use": Dimension("/energy_use", "what the energy was used for", ENERGY_USES),
    "evaluation": Dimension("/metrics/evaluation", "index of the evaluation"),
    "series": Dimension("/metrics/series/series", "index of the series: what was evaluated side by side"),
    "level": Dimension("/metrics/series/level", "index of the way in which devices are brought together"),
    "measure": Dimension("/metrics/measures/measure", "index of the component of what the devices measured"),
    "similarity_sample": Dimension("/similarity/similarity_sample", "index of the device's feature of a test sample"),
    "similarity_component": Dimension("/similarity/similarity_component", "index of the number in a feature"),
    "target": Dimension("/targets/target", "index of the target"),
    "loss_cause": Dimension("/ledger/loss_cause", "why a message was lost", LOSS_CAUSES),
    "processor_state": Dimension("/timelines/processor_state", "state of the processor", PROCESSOR_STATES),
    "radio_state": Dimension("/timelines/radio_state", "state of the radio", RADIO_STATES),
    "program_state": Dimension("/timelines/program_state", "state of the program", PROGRAM_STATES),
    "program": Dimension("/timelines/program", "index of the program"),
    "snapshot": Dimension("/topology/snapshot", "index of the snapshot of the topology"),
    "edge": Dimension("/topology/edge", "index of the edge"),
    "axis": Dimension("/topology/axis", "axis of the position", ("x", "y", "z")),
    "override": Dimension("/scenario/override", "index of the override"),
    "referenced_file": Dimension("/scenario/referenced_file", "index of the file"),
    "radio_property": Dimension("/radio/radio_property", "index of the property"),
    "package": Dimension("/versions/package", "index of the package"),
    "item": Dimension("/provenance/item", "index of the item"),
    "sinr_step": Dimension("/sinr/sinr_step", "index of the step, sorted by transfer, receiver and time"),
    "handover": Dimension("/handovers/handover", "index of the hand-over"),
    "wait": Dimension("/waits/wait", "index of the pair of a node and one for whom it waited"),
}

ON_REQUEST = ("sinr_step", "handover", "wait", "measure", "similarity_sample", "similarity_component")
"""Dimensions that are left out, with their columns, where they are empty."""

_EVALUATION = ("evaluation",)
_SERIES = ("series", "evaluation")
_TARGET = ("target",)

COLUMNS = (
    Column("name", "/name", (), None, "name of the scenario"),
    Column("seed", "/seed", (), "1", "seed of the run"),
    Column("learner", "/learner", (), None, "learning algorithm"),
    Column("exact", "/exact", (), "1", "whether no declared expectation was used"),
    Column("estimated", "/estimated", (), "1", "whether the run did no arithmetic (accuracies are NaN)"),
    Column(
        "stop_reason", "/stop_reason", (), None, "the limit that ended the run, or finished: all programs had ended"
    ),
    Column("num_devices", "/num_devices", (), "1", "number of devices"),
    Column("node_names", "/node_name", ("node",), None, "name of the node"),
    Column("group", "/device_group", ("device",), "1", "group of the device"),
    Column("group_names", "/group_name", ("group",), None, "name of the group of devices"),
    Column("num_samples", "/num_samples", ("device",), "1", "training samples held by the device"),
    Column("effective_flops", "/effective_flops", ("node",), "FLOP/s", "speed of the processor"),
    Column("simulated_s", "/simulated_s", (), "s", "simulated time at the end"),
    Column("notes", "/note_text", ("note",), None, "warning given during the run"),
    Column("event_digest", "/event_digest", (), None, "hash of the trace of events"),
    Column("num_test_samples", "/num_test_samples", ("device",), "1", "own test samples held by the device"),
    Column("by_group", "/by_group", (), "1", "whether tables and pictures show the groups of devices apart"),
    Column("eval_time_s", "/metrics/time_s", _EVALUATION, "s", "simulated time of the evaluation"),
    Column("eval_round", "/metrics/round", _EVALUATION, "1", "rounds completed"),
    Column("accuracy", "/metrics/accuracy", _EVALUATION, "1", "accuracy: the headline, of the first series"),
    Column("accuracy_worst", "/metrics/accuracy_worst", _EVALUATION, "1", "accuracy of the worst device"),
    Column("test_loss", "/metrics/test_loss", _EVALUATION, "1", "mean cross-entropy of the headline, in nats"),
    Column("accuracy_p10", "/metrics/accuracy_p10", _EVALUATION, "1", "accuracy, 10th percentile over devices"),
    Column("accuracy_std", "/metrics/accuracy_std", _EVALUATION, "1", "accuracy, standard deviation over devices"),
    Column(
        "accuracy_by_device", "/metrics/accuracy_by_device", ("evaluation", "device"), "1", "accuracy of the device"
    ),
    Column("series_report", "/metrics/series/report", ("series",), None, "name of what the learner reported"),
    Column("series_subject", "/metrics/series/subject", ("series",), None, "whose model: device, server or mean_model"),
    Column("series_data", "/metrics/series/data", ("series",), None, "tested on: global_test or own_test"),
    Column(
        "levels", "/metrics/series/level_name", ("level",), None, "mean, worst, p10, median, best or std over devices"
    ),
    Column(
        "series_accuracy", "/metrics/series/accuracy", _SERIES, "1", "accuracy, over devices as the first level says"
    ),
    Column("series_loss", "/metrics/series/loss", _SERIES, "1", "mean cross-entropy, in nats"),
    Column(
        "series_accuracy_by_level",
        "/metrics/series/accuracy_by_level",
        (*_SERIES, "level"),
        "1",
        "accuracy over devices",
    ),
    Column(
        "series_loss_by_level",
        "/metrics/series/loss_by_level",
        (*_SERIES, "level"),
        "1",
        "mean cross-entropy over devices, in nats; the worst is the largest",
    ),
    Column(
        "series_accuracy_by_group",
        "/metrics/series/accuracy_by_group",
        (*_SERIES, "group", "level"),
        "1",
        "accuracy over the devices of a group",
    ),
    Column(
        "series_accuracy_by_device",
        "/metrics/series/accuracy_by_device",
        (*_SERIES, "device"),
        "1",
        "accuracy of the device",
    ),
    Column(
        "series_loss_by_device",
        "/metrics/series/loss_by_device",
        (*_SERIES, "device"),
        "1",
        "mean cross-entropy of the device, in nats",
    ),
    Column(
        "series_disagreement",
        "/metrics/series/disagreement",
        _SERIES,
        "1",
        "root mean square distance of the devices' models to their mean",
    ),
    Column(
        "measure_name", "/metrics/measures/name", ("measure",), None, "what devices measured of the learning algorithm"
    ),
    Column("measure_component", "/metrics/measures/component", ("measure",), None, "which number of it"),
    Column(
        "measure_value",
        "/metrics/measures/value",
        ("measure", "evaluation", "device"),
        "1",
        "what the device had measured last",
    ),
    Column(
        "similarity_features",
        "/similarity/feature",
        ("similarity_sample", "similarity_component"),
        "1",
        "representation of a test sample, of length 1",
    ),
    Column("similarity_label", "/similarity/label", ("similarity_sample",), "1", "class of the sample"),
    Column("similarity_device", "/similarity/device_index", ("similarity_sample",), "1", "device whose model it is"),
    Column("eval_payload_bits", "/metrics/payload_bits", _EVALUATION, "bit", "payload bits so far"),
    Column("eval_coded_bits", "/metrics/coded_bits", _EVALUATION, "bit", "coded bits so far"),
    Column("eval_on_air_bits", "/metrics/on_air_bits", _EVALUATION, "bit", "bits on the air so far"),
    Column("eval_energy_j", "/metrics/energy_j", ("evaluation", "energy_use"), "J", "energy of all devices so far"),
    Column(
        "eval_devices_present",
        "/metrics/devices_present",
        _EVALUATION,
        "1",
        "devices that were there; left out where all were, all the time",
        lambda fields: np.full(len(fields["eval_time_s"]), fields["num_devices"]),
    ),
    Column(
        "eval_devices_failed",
        "/metrics/devices_failed",
        _EVALUATION,
        "1",
        "devices that had failed; left out where none did",
        lambda fields: np.zeros(len(fields["eval_time_s"]), dtype=np.int64),
    ),
    Column("messages_sent", "/ledger/messages_sent", (), "1", "(message, intended receiver) pairs sent"),
    Column("messages_delivered_used", "/ledger/messages_delivered_used", (), "1", "pairs delivered and used"),
    Column(
        "messages_delivered_unused", "/ledger/messages_delivered_unused", (), "1", "pairs delivered, late or superseded"
    ),
    Column("messages_lost", "/ledger/messages_lost", ("loss_cause",), "1", "pairs lost, by cause"),
    Column("messages_in_flight", "/ledger/messages_in_flight", (), "1", "pairs in flight at the end"),
    Column("payload_bits", "/ledger/payload_bits", (), "bit", "output of the codec"),
    Column("coded_bits", "/ledger/coded_bits", (), "bit", "with headers and padding, each counted once"),
    Column("on_air_bits", "/ledger/on_air_bits", (), "bit", "coded bits times attempts, and feedback"),
    Column("airtime_s", "/ledger/airtime_s", (), "s", "sum of the durations of all transmissions"),
    Column("resource_hz_s", "/ledger/resource_hz_s", (), "Hz s", "bandwidth times time used"),
    Column("sent_bits_by_node", "/ledger/sent_bits_by_node", ("node",), "bit", "bits on the air sent by the node"),
    Column(
        "backhaul_bits",
        "/ledger/backhaul_bits",
        (),
        "bit",
        "coded bits over the backhaul; left out where there are none or they are not counted",
        lambda fields: 0,
    ),
    Column("packets_sent", "/ledger/packets_sent", (), "1", "packets sent"),
    Column("packets_lost", "/ledger/packets_lost", (), "1", "packets lost"),
    Column("processor_s", "/timelines/processor_s", ("node", "processor_state"), "s", "time of the processor by state"),
    Column("radio_s", "/timelines/radio_s", ("node", "radio_state"), "s", "time of the radio by state"),
    Column("program_s", "/timelines/program_s", ("program", "program_state"), "s", "time of the program by state"),
    Column("program_node", "/timelines/program_node", ("program",), "1", "node that runs the program"),
    Column("energy_j", "/energy/energy_j", ("node", "energy_use"), "J", "energy of the node by use"),
    Column(
        "spectral_gap",
        "/topology/spectral_gap",
        ("snapshot",),
        "1",
        "1 - |lambda_2| of the mixing matrix between devices; NaN in a star",
    ),
    Column("snapshot_time_s", "/topology/time_s", ("snapshot",), "s", "simulated time of the snapshot"),
    Column("positions_m", "/topology/position_m", ("snapshot", "node", "axis"), "m", "position of the node"),
    Column("edge_snapshot", "/topology/edge_snapshot", ("edge",), "1", "snapshot that the edge belongs to"),
    Column("targets", "/targets/accuracy", _TARGET, "1", "accuracy to reach"),
    Column("target_report", "/targets/report", (), None, "report that the targets are of"),
    Column("target_subject", "/targets/subject", (), None, "whose model the targets are of"),
    Column("target_data", "/targets/data", (), None, "data that the targets are of"),
    Column("target_level", "/targets/over_devices", (), None, "how the devices are brought together for the targets"),
    Column("sustained_evaluations", "/targets/sustained_evaluations", (), "1", "evaluations that must hold it"),
    Column("target_time_s", "/targets/time_s", _TARGET, "s", "simulated time to the target, NaN if not reached"),
    Column("target_on_air_bits", "/targets/on_air_bits", _TARGET, "bit", "bits on the air to the target"),
    Column("target_energy_j", "/targets/energy_j", _TARGET, "J", "energy of all devices to the target"),
    Column("sinr_time_s", "/sinr/time_s", ("sinr_step",), "s", "simulated time at which the step begins"),
    Column("sinr_duration_s", "/sinr/duration_s", ("sinr_step",), "s", "how long the step lasts"),
    Column("sinr_transfer", "/sinr/transfer", ("sinr_step",), "1", "index of the transfer"),
    Column("sinr_tx", "/sinr/tx", ("sinr_step",), "1", "node that sends"),
    Column("sinr_rx", "/sinr/rx", ("sinr_step",), "1", "node that receives"),
    Column("sinr_db", "/sinr/sinr_db", ("sinr_step",), "dB", "signal to interference and noise at the receiver"),
    Column("handover_time_s", "/handovers/time_s", ("handover",), "s", "simulated time of the hand-over"),
    Column("handover_device", "/handovers/device_index", ("handover",), "1", "device that was handed over"),
    Column(
        "handover_station",
        "/handovers/station_index",
        ("handover",),
        "1",
        "node of the station that serves it from then on",
    ),
    Column("wait_node", "/waits/waiting", ("wait",), "1", "node whose programs waited"),
    Column("wait_awaited", "/waits/awaited", ("wait",), "1", "node for which they waited; -1: nobody in particular"),
    Column("wait_s", "/waits/waited_s", ("wait",), "s", "how long, in all"),
    Column("wait_count", "/waits/num_waits", ("wait",), "1", "waits; one that several share counts for each of them"),
    Column("wait_deadline_count", "/waits/num_deadlines", ("wait",), "1", "waits that a deadline ended"),
    Column("scenario_text", "/scenario/text", (), None, "the scenario file as it was read"),
    Column("overrides", "/scenario/override_text", ("override",), None, "override from the command line"),
    Column("resolved", "/scenario/resolved", (), None, "the resolved scenario, JSON"),
)

# Columns of two halves: field -> (dataset, dataset).
PAIRS = {
    "edges": (
        Column("edges", "/topology/edge_source", ("edge",), "1", "node at the first end"),
        Column("edges", "/topology/edge_target", ("edge",), "1", "node at the second end"),
    ),
    "referenced_files": (
        Column("referenced_files", "/scenario/referenced_file_name", ("referenced_file",), None, "name of the file"),
        Column("referenced_files", "/scenario/referenced_file_text", ("referenced_file",), None, "text of the file"),
    ),
    "radio_provenance": (
        Column("radio_provenance", "/radio/property_name", ("radio_property",), None, "property of the radio model"),
        Column("radio_provenance", "/radio/property_value", ("radio_property",), None, "its value"),
    ),
    "versions": (
        Column("versions", "/versions/package_name", ("package",), None, "package"),
        Column("versions", "/versions/package_version", ("package",), None, "its version"),
    ),
    "provenance": (
        Column("provenance", "/provenance/item_name", ("item",), None, "fact about the execution"),
        Column("provenance", "/provenance/item_value", ("item",), None, "its value, JSON"),
    ),
}
