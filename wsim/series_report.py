"""What a run says about everything that it evaluated side by side: an object for `--json` and rows for the table."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from wsim.generalization import generalization_gaps
from wsim.record import RunRecord
from wsim.scenario.evaluation import OWN_DATA

SUBJECTS = {"device": "devices", "server": "server", "mean_model": "mean model (genie)"}
USUAL_LEVELS = ["mean", "worst", "p10", "std"]


def series_dicts(record: RunRecord) -> list[dict[str, Any]]:
    """The last evaluation of every series, the headline first; null where there is no number."""
    found = []
    for i in range(len(record.series_report)):
        one: dict[str, Any] = {
            "report": record.series_report[i],
            "subject": record.series_subject[i],
            "data": record.series_data[i],
            "accuracy": _last(record.series_accuracy[i]),
            "loss": _last(record.series_loss[i]),
            "over_devices": _by_level(record, record.series_accuracy_by_level[i]),
            "loss_over_devices": _by_level(record, record.series_loss_by_level[i]),
            "disagreement": _last(record.series_disagreement[i]),
        }
        if record.by_group:
            groups = record.series_accuracy_by_group[i]
            one["groups"] = {name: _by_level(record, groups[:, g]) for g, name in enumerate(record.group_names)}
        found.append(one)
    return found


def gap_dicts(record: RunRecord) -> list[dict[str, Any]]:
    """The last generalization gap of every report and subject that was measured on both kinds of samples; null where there is
    no number."""
    return [
        {
            "report": found.report,
            "subject": found.subject,
            "gap": _last(found.gap),
            "over_devices": {level: _last(values) for level, values in found.by_level.items()},
        }
        for found in generalization_gaps(record)
    ]


def target_dict(record: RunRecord) -> dict[str, Any]:
    """What the targets are of."""
    return {
        "report": record.target_report,
        "subject": record.target_subject,
        "data": record.target_data,
        "over_devices": record.target_level,
        "sustained_evaluations": record.sustained_evaluations,
    }


def series_name(report: str, subject: str, data: str) -> str:
    """ "devices · own test"; a report other than the method's model stands before it."""
    parts = [] if report == "model" else [report.replace("_", " ")]
    return " · ".join([*parts, SUBJECTS[subject], data.replace("_", " ")])


def headline_name(record: RunRecord) -> str:
    """ "p10, devices · own test"."""
    subject, data = record.series_subject[0], record.series_data[0]
    level = f"{record.levels[0]}, " if subject == "device" or data in OWN_DATA else ""
    return level + series_name(record.series_report[0], subject, data)


def is_usual(record: RunRecord) -> bool:
    """Nothing but the models of devices and server on the common test set: the line of accuracies says it all."""
    return not (
        record.by_group
        or any(report != "model" for report in record.series_report)
        or any(data != "global_test" for data in record.series_data)
        or "mean_model" in record.series_subject
        or record.levels != USUAL_LEVELS
        or any(map(math.isfinite, record.series_disagreement[:, -1:].ravel()))
    )


def fill_series_table(record: RunRecord, table: Table) -> None:
    """Columns and rows of the last evaluation: a series a line, below it its groups where they are asked for; then the
    generalization gaps."""
    disagrees = any(map(math.isfinite, record.series_disagreement[:, -1:].ravel()))
    for heading in (*record.levels, "loss", *(["disagreement"] if disagrees else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for i in range(len(record.series_report)):
        levels = [_cell(value) for value in _by_level(record, record.series_accuracy_by_level[i]).values()]
        if all(level == "-" for level in levels):  # one model: the mean, the worst and the best of one
            levels[0] = _cell(_last(record.series_accuracy[i]))
        rest = [_cell(_last(record.series_loss[i])), _cell(_last(record.series_disagreement[i]))]
        name = series_name(record.series_report[i], record.series_subject[i], record.series_data[i])
        table.add_row(name, *levels, *rest[: 1 + disagrees])
        groups = record.series_accuracy_by_group[i]
        for g, group in enumerate(record.group_names if record.by_group else []):
            levels = [_cell(value) for value in _by_level(record, groups[:, g]).values()]
            if any(level != "-" for level in levels):
                table.add_row(f"  {group}", *levels)
    for gap in gap_dicts(record):
        levels = [_cell(gap["over_devices"].get(level)) for level in record.levels]
        if all(level == "-" for level in levels):
            levels[0] = _cell(gap["gap"])
        table.add_row(series_name(gap["report"], gap["subject"], "generalization_gap"), *levels)


def target_line(record: RunRecord) -> str | None:
    """What the targets are of, where that is not the plain mean or the server's model at one evaluation."""
    name = series_name(record.target_report, record.target_subject, record.target_data)
    words = [name] if name not in ("devices · global test", "server · global test") else []
    words += [record.target_level] if record.target_level != "mean" else []
    words += [f"held for {record.sustained_evaluations} evaluations"] if record.sustained_evaluations > 1 else []
    return "targets: " + ", ".join(words) if words else None


def _by_level(record: RunRecord, values: Any) -> dict[str, float | None]:
    """The last row of [E, num_levels]."""
    if not len(values):
        return dict.fromkeys(record.levels)
    return {level: _number(value) for level, value in zip(record.levels, values[-1].tolist(), strict=True)}


def _last(values: Any) -> float | None:
    return _number(float(values[-1])) if len(values) else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: float | None) -> str:
    """Four digits after the point; large losses and distances in short."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.3g}"
