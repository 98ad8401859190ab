"""What a run measures again and again: which report, of whose model, on which data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsim.scenario import Scenario
from wsim.scenario.evaluation import AFTER_LOCAL_TRAINING, check_report, report_name, subjects_of


@dataclass(frozen=True)
class Series:
    """report: the name that the learner gave it; subject: "device" | "server" | "mean_model"; data: "global_test" |
    "own_test" | "train"."""

    report: str
    subject: str
    data: str

    @property
    def has_devices(self) -> bool:
        """One number a device, else one altogether."""
        return self.subject == "device" or self.data == "own_test"


@dataclass(frozen=True)
class Plan:
    """series, levels: the headline's first. levels: how the devices' numbers are brought together ("disagreement" is not
    among them: it is of models). falls_back: the headline is the devices' until the server has reported a model."""

    series: tuple[Series, ...]
    levels: tuple[str, ...]
    disagreement: bool
    target: Series
    target_level: str
    falls_back: bool

    @property
    def headline(self) -> Series:
        return self.series[0]

    @property
    def devices(self) -> Series | None:
        """The series of the numbers that are the devices' own beside the headline."""
        own = Series(self.headline.report, "device", self.headline.data)
        if own in self.series:
            return own
        return self.headline if self.headline.has_devices else None


def plan(scenario: Scenario, reports: Sequence[str]) -> Plan:
    """What [evaluation] asks for, of a learner with these reports.

    All inference heads are measured beside each other, unless other_reports = false; models after local training only where they
    are asked for, since then every device has one of its own.
    """
    check_report(scenario, reports, scenario.scenario.name)
    evaluation, targets = scenario.evaluation, scenario.evaluation.targets
    chosen = report_name(evaluation)
    names = dict.fromkeys(("model", *reports))
    others = [name for name in names if name != chosen and not name.endswith(AFTER_LOCAL_TRAINING)]
    if not evaluation.other_reports:
        others = []
    subjects = subjects_of(scenario)
    series = [
        Series(report, subject, data)
        for report in (chosen, *others)
        for subject in subjects
        for data in evaluation.data
        if report == chosen or subject != "mean_model"
    ]
    levels: list[str] = [level for level in evaluation.over_devices if level != "disagreement"]
    levels.sort(key=lambda level: level == "std")  # the headline's is an accuracy
    return Plan(
        tuple(series),
        tuple(levels),
        "disagreement" in evaluation.over_devices,
        Series(chosen, targets.subject or subjects[0], targets.data or evaluation.data[0]),
        targets.over_devices or levels[0],
        evaluation.subjects is None and subjects[0] == "server",
    )


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
