"""Whether the numbers of a record can be those of a run: a file that was damaged and sealed again may hold any."""

from __future__ import annotations

import numpy as np

from wsim.record import ANYONE, CHANNEL_FACTS, RunRecord
from wsim.scenario.evaluation import is_test_data

_AMOUNTS = (  # finite, never negative
    *("simulated_s", "airtime_s", "resource_hz_s", "effective_flops", "eval_time_s", "eval_energy_j", "energy_j"),
    *("processor_s", "radio_s", "program_s", "snapshot_time_s", "num_devices", "num_samples", "num_test_samples"),
    *("eval_round", "eval_payload_bits", "eval_coded_bits", "eval_on_air_bits", "sent_bits_by_node"),
    *("eval_devices_present", "eval_devices_failed"),
    *("messages_sent", "messages_delivered_used", "messages_delivered_unused", "messages_in_flight"),
    *(
        "payload_bits",
        "coded_bits",
        "on_air_bits",
        "backhaul_bits",
        "packets_sent",
        "packets_lost",
        "sustained_evaluations",
    ),
    *("sinr_time_s", "sinr_duration_s", "sinr_transfer", "handover_time_s"),
    "similarity_label",
    *("wait_s", "wait_count", "wait_deadline_count"),
)
_ACCURACIES = (  # finite, or NaN where there is none
    *("accuracy", "accuracy_worst", "accuracy_p10", "accuracy_std", "accuracy_by_device"),
    *("series_accuracy", "series_accuracy_by_level", "series_accuracy_by_group", "series_accuracy_by_device"),
    *("target_time_s", "target_on_air_bits", "target_energy_j"),
)
_CHOICES = {
    "series_subject": ("device", "server", "mean_model"),
    "levels": ("mean", "worst", "p10", "median", "best", "std"),
}


def check_values(record: RunRecord) -> None:
    """Raise ValueError, which names the field, for a number that no run leaves."""
    for name in _AMOUNTS:
        value = getattr(record, name)
        if not (np.isfinite(value).all() and np.min(value, initial=0) >= 0):
            raise ValueError(f"{name} holds a number that is negative or not finite")
    if any(count < 0 for count in record.messages_lost.values()):
        raise ValueError("messages_lost is negative")
    for name in _ACCURACIES:
        if np.isinf(getattr(record, name)).any():
            raise ValueError(f"{name} is infinite")
    for name in ("positions_m", "targets", "sinr_db", "similarity_features"):
        if not np.isfinite(getattr(record, name)).all():
            raise ValueError(f"{name} is not finite")
    num_nodes = len(record.node_names)
    for name, size in (
        ("group", len(record.group_names)),
        ("edges", num_nodes),
        ("program_node", num_nodes),
        ("edge_snapshot", len(record.snapshot_time_s)),
        ("sinr_tx", num_nodes),
        ("sinr_rx", num_nodes),
        ("handover_device", record.num_devices),
        ("handover_station", num_nodes),
        ("wait_node", num_nodes),
        ("wait_awaited", num_nodes),
        ("similarity_device", record.num_devices),
    ):
        index = getattr(record, name)
        lowest = ANYONE if name == "wait_awaited" else 0
        if np.min(index, initial=0) < lowest or np.max(index, initial=-1) >= size:
            raise ValueError(f"{name} points to something that is not there")
    if record.num_devices > num_nodes or any(name.isdigit() for name in record.node_names[record.num_devices :]):
        raise ValueError("num_devices and the names of the nodes do not agree")
    if np.max(record.eval_devices_present + record.eval_devices_failed, initial=0) > record.num_devices:
        raise ValueError("eval_devices_present and eval_devices_failed are more devices than there are")
    for name, choices in _CHOICES.items():
        values = getattr(record, name)
        if not values or any(value not in choices for value in values):
            raise ValueError(f"{name} is empty or holds another word than {', '.join(choices)}")
    if not record.series_data or not all(map(is_test_data, record.series_data)):
        raise ValueError("series_data is empty or names data that there are not")
    if record.channel_provenance and not record.channel_provenance.keys() >= set(CHANNEL_FACTS):
        raise ValueError(f"channel_provenance lacks one of {', '.join(CHANNEL_FACTS)}")
    if record.target_subject not in _CHOICES["series_subject"] or not is_test_data(record.target_data):
        raise ValueError("the targets are of an unknown series")
