"""What a run measures again and again: which report, of whose model, on which data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learners.representation.names import ACCURACIES
from wsim.scenario import Scenario
from wsim.scenario.evaluation import (
    AFTER_LOCAL_TRAINING,
    OWN_DATA,
    check_report,
    check_subjects,
    flat_report,
    metrics_of,
    report_name,
    subjects_of,
)
from wsim.scenario.messages import problem


@dataclass(frozen=True)
class Series:
    """report: the name that the learner gave it, or of an accuracy among the metrics; subject: "device" | "server" | "mean_model";
    data: "global_test" | "own_test" | "own_classes" | "own_view" | "own_scale" | "train" | "scale_16"."""

    report: str
    subject: str
    data: str

    @property
    def has_devices(self) -> bool:
        """One number a device, else one altogether."""
        return self.subject == "device" or self.data in OWN_DATA

    @property
    def is_metric(self) -> bool:
        """Of what devices' representations are worth, instead of answers that models give."""
        return self.report in ACCURACIES


@dataclass(frozen=True)
class Plan:
    """series, levels: the headline's first. levels: how the devices' numbers are brought together ("disagreement" is not
    among them: it is of models). falls_back: the headline is the devices' until the server has reported a model. averaged,
    represented: the reports of which means and disagreement, and metrics, are; metrics: all of them, accuracies and numbers."""

    series: tuple[Series, ...]
    levels: tuple[str, ...]
    disagreement: bool
    target: Series
    target_level: str
    falls_back: bool
    averaged: str
    represented: str
    metrics: tuple[str, ...]

    @property
    def headline(self) -> Series:
        return self.series[0]

    @property
    def disagreeing(self) -> str:
        """The report whose devices' series says how far models are from their mean."""
        return self.averaged if any(one.report == self.averaged for one in self.series) else self.headline.report

    @property
    def devices(self) -> Series | None:
        """The series of the numbers that are the devices' own beside the headline."""
        own = Series(self.headline.report, "device", self.headline.data)
        if own in self.series:
            return own
        return self.headline if self.headline.has_devices else None


def plan(scenario: Scenario, reports: Sequence[str], own_metrics: Sequence[str] = (), has_head: bool = True) -> Plan:
    """What [evaluation] asks for, of a learner with these reports, of which own_metrics bring their metric along.

    All inference heads are measured beside each other, unless other_reports = false; models after local training only where they
    are asked for, since then every device has one of its own. has_head: else models give no answers, and what does not bring its
    metric along has none; the first accuracy among the metrics takes the place of the model's.
    """
    source, evaluation, targets = scenario.scenario.name, scenario.evaluation, scenario.evaluation.targets
    check_report(scenario, reports, source)
    metrics = metrics_of(evaluation, has_head)
    check_subjects(scenario, metrics, source)
    accuracies = [name for name in metrics if name in ACCURACIES]
    names = [name for name in dict.fromkeys(("model", *reports)) if has_head or name in own_metrics]
    chosen = report_name(evaluation)
    if not has_head and chosen == "model":
        chosen = accuracies[0]
    is_metric = chosen in ACCURACIES
    if not has_head:
        _check_headless(scenario, chosen, names, source)
    subjects = ("device",) if is_metric and evaluation.subjects is None else subjects_of(scenario)
    represented = flat_report(reports, own_metrics) or "model"
    averaged = represented if is_metric else chosen
    others = [name for name in names if name != chosen and not name.endswith(AFTER_LOCAL_TRAINING)]
    if not evaluation.other_reports:
        others = [averaged] if is_metric and "mean_model" in subjects else []
    modelled = [
        Series(report, subject, data)
        for report in ([] if is_metric else [chosen]) + others
        for subject in subjects
        for data in evaluation.data
        if report == averaged or subject != "mean_model"
    ]
    measured = [Series(name, "device", data) for name in accuracies for data in evaluation.data]
    first = [series for series in measured if series.report == chosen]
    rest = [series for series in measured if series.report != chosen]
    levels: list[str] = [level for level in evaluation.over_devices if level != "disagreement"]
    levels.sort(key=lambda level: level == "std")  # the headline's is an accuracy
    subject = "device" if is_metric else targets.subject or subjects[0]
    return Plan(
        (*first, *modelled, *rest),
        tuple(levels),
        "disagreement" in evaluation.over_devices,
        Series(chosen, subject, targets.data or evaluation.data[0]),
        targets.over_devices or levels[0],
        evaluation.subjects is None and subjects[0] == "server",
        averaged,
        represented,
        metrics,
    )


def _check_headless(scenario: Scenario, chosen: str, names: Sequence[str], source: str) -> None:
    """What only a model with a head has cannot be asked for."""
    if chosen not in (*names, *ACCURACIES):
        says = (
            f"what is reported as {chosen} has no head in this task; an accuracy of representations among metrics has"
        )
        raise problem(source, ("evaluation", "model_time" if chosen == AFTER_LOCAL_TRAINING else "inference"), says)
    for number, subject in enumerate(scenario.evaluation.subjects or ()):
        if subject != "device":
            says = 'models have no head in this task, and accuracies of representations are of devices; "device"'
            raise problem(source, ("evaluation", "subjects", number), says, value=subject)


def over_devices(values: np.ndarray, level: str, losses: bool = False) -> np.ndarray:
    """[...] of values [..., num_devices], all of them present; losses: large ones are the bad ones."""
    if level == "mean":
        return values.mean(axis=-1)
    if level == "std":
        return values.std(axis=-1)
    share = {"worst": 0.0, "p10": 0.1, "median": 0.5, "best": 1.0}[level]
    if share in (0.0, 1.0):
        return values.min(axis=-1) if (share == 0.0) != losses else values.max(axis=-1)
    found: np.ndarray = np.quantile(values, 1.0 - share if losses else share, axis=-1)
    return found


def levels_over_devices(
    values: np.ndarray, present: np.ndarray, levels: Sequence[str], losses: bool = False
) -> np.ndarray:
    """[num_rows, len(levels)] of values [num_rows, num_devices], over the devices that are `present` (bool, like values);
    NaN in rows without any."""
    result = np.full((len(values), len(levels)), np.nan)
    rows_of: dict[bytes, list[int]] = {}  # rows in which the same devices are present
    for row, mask in enumerate(present):
        rows_of.setdefault(mask.tobytes(), []).append(row)
    for rows in rows_of.values():
        mask = present[rows[0]]
        if mask.any():
            some = np.ascontiguousarray(values[rows][:, mask])
            for column, level in enumerate(levels):
                result[rows, column] = over_devices(some, level, losses)
    return result
