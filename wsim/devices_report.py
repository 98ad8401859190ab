"""One line a node: what it reached, where its time went, and for whom it waited."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from wsim.record import PROCESSOR_STATES, RunRecord
from wsim.report import bits, joules, seconds
from wsim.waits import by_name_s, for_anyone_s, longest


def device_dicts(record: RunRecord) -> list[dict[str, Any]]:
    """Of each node, devices first, ready for JSON. accuracy: of its model at the last evaluation, null where it holds none; waited_s:
    its programs for messages of certain nodes; longest_for: for which of them most, namely for longest_s; waited_for_anyone_s:
    for messages of nobody in particular (a program that answers requests does so most of the time)."""
    for_anyone = for_anyone_s(record)
    by_name = by_name_s(record)
    found = []
    for node, (name, longest_of) in enumerate(zip(record.node_names, longest(record), strict=True)):
        is_device = node < record.num_devices
        accuracy = float(record.accuracy_by_device[-1, node]) if is_device and len(record.accuracy) else math.nan
        found.append(
            {
                "name": name,
                "group": record.group_names[record.group[node]] if is_device else None,
                "accuracy": None if math.isnan(accuracy) else accuracy,
                "computing_s": float(record.processor_s[node, PROCESSOR_STATES.index("computing")]),
                "waited_s": float(by_name[node]),
                "longest_for": None if longest_of is None else record.node_names[longest_of[0]],
                "longest_s": None if longest_of is None else longest_of[1],
                "waited_for_anyone_s": float(for_anyone[node]),
                "sent_bits": int(record.sent_bits_by_node[node]),
                "energy_j": float(record.energy_j[node].sum()),
            }
        )
    return found


def device_table(record: RunRecord) -> Table:
    """`device_dicts` for the terminal; without columns in which nobody has anything."""
    rows = device_dicts(record)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="cyan")
    columns: dict[str, list[str]] = {"device": [row["name"] for row in rows]}
    if len(record.group_names) > 1:
        columns["group"] = [row["group"] or "" for row in rows]
    if any(row["accuracy"] is not None for row in rows):
        columns["accuracy"] = ["" if row["accuracy"] is None else f"{row['accuracy']:.4f}" for row in rows]
    columns["computing"] = [seconds(row["computing_s"]) for row in rows]
    if len(record.wait_s):
        columns["waited"] = [seconds(row["waited_s"]) if row["waited_s"] else "-" for row in rows]
        columns["longest for"] = [
            "-" if row["longest_for"] is None else f"{row['longest_for']} ({seconds(row['longest_s'])})" for row in rows
        ]
    if any(row["waited_for_anyone_s"] for row in rows):
        columns["for anyone"] = [seconds(row["waited_for_anyone_s"]) for row in rows]
    columns |= {"sent": [bits(row["sent_bits"]) for row in rows], "energy": [joules(row["energy_j"]) for row in rows]}
    for heading in columns:
        in_words = heading in ("device", "group", "longest for")
        table.add_column(heading, justify="left" if in_words else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table
