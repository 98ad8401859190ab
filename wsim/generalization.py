"""Generalization gap: how much better models do on samples that were trained on than on the test set.

    gap = accuracy on train - accuracy on global_test

of the same report, subject and way in which devices are brought together. "train" is a fixed random subset of the union of the
devices' training samples, so that the gap of a device's model is to what all devices train on, not to its own part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsim.record import RunRecord


@dataclass(frozen=True)
class GeneralizationGap:
    """report, subject: as in `wsim.series.Series`. gap: [E], over devices as the first level says; by_level: [E] by level
    ("std" has none), NaN where there is one model."""

    report: str
    subject: str
    gap: np.ndarray
    by_level: dict[str, np.ndarray]


def generalization_gaps(record: RunRecord) -> list[GeneralizationGap]:
    """Of all that was measured both on global_test and on train, in the order of the series; E is the number of evaluations."""
    names = list(zip(record.series_report, record.series_subject, record.series_data, strict=True))
    found = []
    for test, (report, subject, data) in enumerate(names):
        if data == "global_test" and (report, subject, "train") in names:
            train = names.index((report, subject, "train"))
            levels = record.series_accuracy_by_level[train] - record.series_accuracy_by_level[test]
            by_level = {name: levels[:, i] for i, name in enumerate(record.levels) if name != "std"}
            gap = record.series_accuracy[train] - record.series_accuracy[test]
            found.append(GeneralizationGap(report, subject, gap, by_level))
    return found
