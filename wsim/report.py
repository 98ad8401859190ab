"""What a run says about itself: an object for `--json` and a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsim.headline import share_of
from wsim.record import ENERGY_USES, PROCESSOR_STATES, PROGRAM_STATES, RADIO_STATES, RunRecord
from wsim.series_report import (
    fill_series_table,
    gap_dicts,
    headline_name,
    is_usual,
    series_dicts,
    target_dict,
    target_line,
)

_SEPARATOR = " · "


def summary_dict(record: RunRecord) -> dict[str, Any]:
    """The outcome of a run, ready for JSON: seconds, bits and joules; null where there is no number, never NaN.

    `accuracy_is`: what all that is called accuracy is, "share of the WMMSE rate" of a control problem.
    `energy_j` is the total of all devices; the server stands apart in `server_energy_j`.
    """
    return {
        "name": record.name,
        "seed": record.seed,
        "learner": record.learner,
        "num_devices": record.num_devices,
        "devices_present": _count_at_end(record.eval_devices_present, record.num_devices),
        "devices_failed": _count_at_end(record.eval_devices_failed, 0),
        "estimated": record.estimated,
        "exact": record.exact,
        "stop_reason": record.stop_reason,
        "accuracy_is": share_of(record.resolved) or "accuracy",
        "accuracy": _last(record.accuracy),
        "accuracy_worst": _last(record.accuracy_worst),
        "test_loss": _last(record.test_loss),
        "rounds": num_rounds(record),
        "simulated_s": record.simulated_s,
        "bits": {"payload": record.payload_bits, "coded": record.coded_bits, "on_air": record.on_air_bits}
        | ({"backhaul": record.backhaul_bits} if record.backhaul_bits else {}),
        "airtime_s": record.airtime_s,
        "resource_hz_s": record.resource_hz_s,
        "energy_j": record.total_energy_j,
        "energy_by_use_j": record.energy_by_use(),
        "server_energy_j": server_energy_j(record),
        "messages": {
            "sent": record.messages_sent,
            "delivered": record.messages_delivered_used + record.messages_delivered_unused,
            "delivered_used": record.messages_delivered_used,
            "delivered_unused": record.messages_delivered_unused,
            "lost": dict(record.messages_lost),
            "in_flight": record.messages_in_flight,
        },
        "packets": {"sent": record.packets_sent, "lost": record.packets_lost},
        "graph": graph_dict(record),
        "series": series_dicts(record),
        "generalization_gap": gap_dicts(record),
        "target": target_dict(record),
        "targets": [
            {
                "accuracy": float(accuracy),
                "time_s": _number(record.target_time_s[i]),
                "on_air_bits": _number(record.target_on_air_bits[i]),
                "energy_j": _number(record.target_energy_j[i]),
            }
            for i, accuracy in enumerate(record.targets)
        ],
        "timelines": timeline_shares(record),
        "channel": dict(record.channel_provenance),
        "notes": list(record.notes),
    }


def graph_dict(record: RunRecord) -> dict[str, Any] | None:
    """How many links there are, and how fast averaging over them mixes (1 - |lambda_2| of the mixing matrix): smallest and largest
    of the graph's snapshots. None where there is no such matrix, as in a star."""
    gaps = record.spectral_gap[np.isfinite(record.spectral_gap)]
    if not len(gaps):
        return None
    links = np.bincount(record.edge_snapshot, minlength=len(record.snapshot_time_s))
    return {
        "links": {"min": int(links.min()), "max": int(links.max())},
        "spectral_gap": {"min": float(gaps.min()), "max": float(gaps.max())},
    }


def _count_at_end(counts: np.ndarray, otherwise: int) -> int:
    return int(counts[-1]) if len(counts) else otherwise


def timeline_shares(record: RunRecord) -> dict[str, dict[str, float]]:
    """Share of the devices' time in each state, for the processor, the radio and the program. The server is apart.

    Each sums to 1, or is 0 throughout where no time has passed.
    """
    on_device = record.program_node < record.num_devices
    timelines = {
        "processor": (PROCESSOR_STATES, record.processor_s[: record.num_devices]),
        "radio": (RADIO_STATES, record.radio_s[: record.num_devices]),
        "program": (PROGRAM_STATES, record.program_s[on_device]),
    }
    shares = {}
    for name, (states, seconds) in timelines.items():
        total_s = seconds.sum(axis=0)
        shares[name] = dict(zip(states, (total_s / (total_s.sum() or 1)).tolist(), strict=True))
    return shares


def server_energy_j(record: RunRecord) -> float | None:
    """Joules of the server, None where there is none or its energy is not counted."""
    server = record.energy_j[record.num_devices :]
    return float(server.sum()) if server.any() else None


def num_rounds(record: RunRecord) -> int:
    """Rounds completed by the last evaluation."""
    return int(record.eval_round[-1]) if len(record.eval_round) else 0


def summary_table(record: RunRecord) -> RenderableType:
    """The table after a run, readable in 80 columns."""
    title = Text(f"{record.name}{_SEPARATOR}{record.learner}{_SEPARATOR}seed {record.seed}", style="bold")
    title.append(f"{_SEPARATOR}{_count(record.num_devices, 'device')}", style="not bold")
    title.append(" and a server" if len(record.node_names) > record.num_devices else "", style="not bold")
    parts: list[RenderableType] = [title, _outcome(record), "", _energy(record)]
    if not (is_usual(record) or record.estimated):
        parts += ["", _series(record)]
    if len(record.targets):
        parts += ["", _targets(record)]
        what = target_line(record)
        parts += [Text(what)] if what else []
    parts += ["", _where_the_time_went(record)]
    if record.channel_provenance:
        parts += ["", _channel(record.channel_provenance)]
    parts += [""] * bool(record.notes)
    parts += [Text(f"note: {note}", style="yellow") for note in record.notes]
    return Group(*parts)


def _outcome(record: RunRecord) -> Table:
    """Label, value: accuracy, time, bits, joules, messages."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    gone = _gone(record)
    for label, value in (
        ("accuracy", _accuracy(record)),
        *([("devices", gone)] if gone else []),
        ("simulated time", _time(record)),
        ("bits", _bits(record)),
        ("messages", _messages(record)),
        ("packets", f"{record.packets_sent:,} sent, {record.packets_lost:,} lost"),
    ):
        table.add_row(label, Text(value))
    graph = graph_dict(record)
    if graph is not None:
        words = f"{_range(graph['links'], ',')} links{_SEPARATOR}spectral gap {_range(graph['spectral_gap'], '.3g')}"
        table.add_row("graph", Text(words))
    return table


def _range(ends: Mapping[str, float], form: str) -> str:
    """The smallest to the largest value; once where they agree."""
    low, high = format(ends["min"], form), format(ends["max"], form)
    return low if low == high else f"{low} to {high}"


def _accuracy(record: RunRecord) -> str:
    if record.estimated:
        return "not computed (estimate" + (")" if record.exact else ", not exact: uses a declared expectation)")
    mean, worst = _last(record.accuracy), _last(record.accuracy_worst)
    if mean is None:
        measured = np.flatnonzero(np.isfinite(record.accuracy))
        if not len(measured):
            return "not evaluated"
        last = measured[-1]
        return f"nobody counts at the end; {record.accuracy[last]:.4f} at {seconds(float(record.eval_time_s[last]))}"
    of = "" if is_usual(record) else f" ({headline_name(record)})"
    of += f" {share}" if (share := share_of(record.resolved)) else ""
    return f"{mean:.4f}{of}" + ("" if worst is None else f"{_SEPARATOR}worst device {worst:.4f}")


_COUNTED = {"alive": "who has not failed", "present": "those present", "all": "everybody, failed or not"}


def _gone(record: RunRecord) -> str | None:
    """How many devices are there at the end, and of whom the accuracies are; None where all devices are there all of the time."""
    present, failed = record.eval_devices_present, record.eval_devices_failed
    if not len(present) or present.min() == record.num_devices:
        return None
    away = record.num_devices - present[-1] - failed[-1]
    counts = ((present[-1], "present"), (away, "away"), (failed[-1], "failed"))
    shown = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    counted = record.resolved.get("evaluation", {}).get("counted_devices", "alive")
    return f"{shown} at the end{_SEPARATOR}accuracies of devices: {_COUNTED[counted]}"


def _time(record: RunRecord) -> str:
    rounds = _count(num_rounds(record), "round")
    ends = {"finished": "all programs ended", "nobody_left": "all devices have failed"}
    ended = ends.get(record.stop_reason, f"ended by stop.{record.stop_reason}")
    return f"{seconds(record.simulated_s)}, {rounds}, {ended}"


def _bits(record: RunRecord) -> str:
    levels = f"payload {bits(record.payload_bits)}{_SEPARATOR}coded {bits(record.coded_bits)}"
    levels += f"{_SEPARATOR}on the air {bits(record.on_air_bits)}"
    levels += f"{_SEPARATOR}backhaul {bits(record.backhaul_bits)}" if record.backhaul_bits else ""
    return f"{levels}\nair time {seconds(record.airtime_s)}{_SEPARATOR}{si(record.resource_hz_s, 'Hz s')} of spectrum"


def _messages(record: RunRecord) -> str:
    lost = {cause: count for cause, count in record.messages_lost.items() if count}
    causes = ", ".join(f"{cause.replace('_', ' ')} {count:,}" for cause, count in lost.items())
    delivered = record.messages_delivered_used + record.messages_delivered_unused
    return (
        f"{record.messages_sent:,} sent{_SEPARATOR}{delivered:,} delivered ({record.messages_delivered_used:,} used, "
        f"{record.messages_delivered_unused:,} unused)\n"
        f"{sum(lost.values()):,} lost{f' ({causes})' if causes else ''}{_SEPARATOR}{record.messages_in_flight:,} in flight"
    )


def _series(record: RunRecord) -> Table:
    """What was evaluated side by side; long names are folded."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="cyan")
    table.add_column("accuracy at the end", min_width=16, overflow="fold")
    fill_series_table(record, table)
    return table


def _targets(record: RunRecord) -> Table:
    table = _table("to accuracy", "time", "bits on the air", "energy")
    missed = "not estimated" if record.estimated else "not reached"
    for target, time_s, air_bits, energy_j in zip(
        record.targets, record.target_time_s, record.target_on_air_bits, record.target_energy_j, strict=True
    ):
        reached = not math.isnan(time_s)
        cells = (seconds(time_s), bits(air_bits), joules(energy_j)) if reached else (missed, "", "")
        table.add_row(f"{target:g}", *cells)
    return table


def _energy(record: RunRecord) -> Table:
    """Joules by use; the server on a line of its own."""
    table = _table("energy", *(use for use in ENERGY_USES), "total")
    by_node = {"devices": record.energy_j[: record.num_devices].sum(axis=0)}
    if server_energy_j(record):
        by_node["server"] = record.energy_j[record.num_devices :].sum(axis=0)
    for name, by_use in by_node.items():
        table.add_row(
            name, *(joules(value) if value else "-" for value in by_use.tolist()), joules(float(by_use.sum()))
        )
    return table


def _where_the_time_went(record: RunRecord) -> Table:
    """Three lists side by side: share of the devices' time by state."""
    frame = Table(box=None, show_header=False, pad_edge=False, padding=(0, 4, 0, 0))
    columns = []
    for name, shares in timeline_shares(record).items():
        table = _table(name, "time")
        for state, share in shares.items():
            if share > 0:
                table.add_row(state.replace("_", " "), f"{share:.1%}")
        columns.append(table)
    frame.add_row(*columns)
    return frame


def _channel(facts: Mapping[str, str | int]) -> Table:
    """Models of the channel with their sources and generators, and what its random numbers follow from."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    of_radio = "" if facts["radio_seed"] == facts["seed"] else f" (of the radio {facts['radio_seed']})"
    for label, value in (
        ("path loss", f"{facts['path_loss']}{_SEPARATOR}{facts['path_loss_standard']}"),
        ("fading", _with(facts["fading"], facts["fading_generator"])),
        ("shadowing", _with(facts["shadowing"], facts["shadowing_field"])),
        ("delay profile", str(facts["delay_profile"])),
        ("random", f"seed {facts['seed']}{of_radio}{_SEPARATOR}run number {facts['run_number']}"),
    ):
        if not value.startswith("none: "):
            table.add_row(label, Text(value))
    return table


def _with(law: str | int, generator: str | int) -> str:
    return "none" if law == "none" else f"{law}{_SEPARATOR}{generator}"


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="cyan")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def seconds(value_s: float) -> str:
    """A duration for people: milliseconds to hours."""
    if value_s < 0.9995:
        return f"{1000 * value_s:.3g} ms"
    if value_s < 599.95:
        return f"{value_s:.1f} s"
    minutes, rest_s = divmod(round(value_s), 60)
    if minutes < 120:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def bits(value: float) -> str:
    """A number of bits with a decimal prefix."""
    return si(value, "bit")


def joules(value_j: float) -> str:
    """An energy with a decimal prefix."""
    return si(value_j, "J")


def si(value: float, unit: str) -> str:
    """Three digits and a decimal prefix: 3.95e8 bit -> 395 Mbit."""
    if value == 0:
        return f"0 {unit}"
    prefixes = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"}
    # 999.7 would print as 1000 of its prefix: round to three digits before the prefix is chosen
    rounded = float(f"{value:.3g}")
    power = min(max(math.floor(math.log10(abs(rounded)) / 3 + 1e-9), -3), 5)
    if unit == "bit":
        power = max(power, 0)
    scaled = rounded / 1000.0**power
    if abs(scaled) < 0.9995:  # beyond the smallest prefix
        return f"{value:.3g} {unit}"
    digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    text = f"{scaled:.{digits}f}"
    return f"{text if power or unit != 'bit' else f'{value:g}'} {prefixes[power]}{unit}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _last(values: np.ndarray) -> float | None:
    return _number(values[-1]) if len(values) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
