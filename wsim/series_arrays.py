"""From the scores of every evaluation to the arrays of a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsim.evaluation import Scores
from wsim.series import Plan, Series, levels_over_devices

DEVICE_LEVELS = ("worst", "p10", "std")  # of the headline's devices, recorded whatever else is asked for


def series_arrays(
    plan: Plan, heard: Sequence[Series], scores: Sequence[Scores], group: np.ndarray, num_groups: int
) -> dict[str, Any]:
    """The fields of a `RunRecord` that say how accurate the models were; [E] is the number of `scores`.

    heard: series of whose model anybody has reported anything; the others are left out, but for the headline
    group: [num_devices] index of the device's group
    """
    series = [one for one in plan.series if one in heard]
    if plan.headline not in series and not (plan.falls_back and series):
        series.insert(0, plan.headline)
    which = [plan.series.index(one) for one in series]
    num_evaluations, num_devices = len(scores), len(group)
    single = np.stack([score.single[which] for score in scores], axis=2)  # [S, 2, E]
    if (
        all(score is scores[0] for score in scores) and np.isnan(scores[0].by_device).all()
    ):  # estimates: takes no memory
        by_device = np.broadcast_to(np.nan, (len(series), 2, num_evaluations, num_devices))
    else:
        by_device = np.stack([score.by_device[which] for score in scores], axis=2)  # [S, 2, E, num_devices]
    accuracy, loss = by_device[:, 0], by_device[:, 1]
    accuracy_levels = _levels(accuracy, accuracy, plan.levels)
    loss_levels = _levels(loss, accuracy, plan.levels, losses=True)
    by_group = np.full((len(series), num_evaluations, num_groups, len(plan.levels)), np.nan)
    for number in range(num_groups):
        of_group = accuracy[:, :, group == number]
        by_group[:, :, number] = _levels(of_group, of_group, plan.levels)
    own = series.index(plan.devices) if plan.devices in series else None
    of_devices = accuracy[own] if own is not None else np.broadcast_to(np.nan, (num_evaluations, num_devices))
    devices = _levels(of_devices[None], of_devices[None], DEVICE_LEVELS)[0]
    target = series[0] if plan.target == plan.headline else plan.target  # [0]: also where the headline falls back
    has_devices = np.array([one.has_devices for one in series])[:, None]
    return {
        "accuracy": np.array([score.accuracy for score in scores]),
        "test_loss": np.array([score.loss for score in scores]),
        "accuracy_by_device": of_devices,
        **{f"accuracy_{level}": devices[:, column] for column, level in enumerate(DEVICE_LEVELS)},
        "series_report": [one.report for one in series],
        "series_subject": [one.subject for one in series],
        "series_data": [one.data for one in series],
        "levels": list(plan.levels),
        "series_accuracy": np.where(has_devices, accuracy_levels[:, :, 0], single[:, 0]),
        "series_loss": np.where(has_devices, loss_levels[:, :, 0], single[:, 1]),
        "series_accuracy_by_level": accuracy_levels,
        "series_loss_by_level": loss_levels,
        "series_accuracy_by_group": by_group,
        "series_accuracy_by_device": accuracy,
        "series_loss_by_device": loss,
        "target_report": target.report,
        "target_subject": target.subject,
        "target_data": target.data,
        "target_level": plan.target_level,
        "series_disagreement": np.stack([score.disagreement[which] for score in scores], axis=1),
    }


def target_accuracy(plan: Plan, arrays: dict[str, Any]) -> np.ndarray:
    """[E] what the targets are compared with."""
    if plan.target == plan.headline and plan.target_level == plan.levels[0]:
        return arrays["accuracy"]
    names = list(zip(arrays["series_report"], arrays["series_subject"], arrays["series_data"], strict=True))
    target = plan.target
    if (target.report, target.subject, target.data) not in names:
        return np.full(len(arrays["accuracy"]), np.nan)
    number = names.index((target.report, target.subject, target.data))
    if not target.has_devices:
        return arrays["series_accuracy"][number]
    return arrays["series_accuracy_by_level"][number, :, plan.levels.index(plan.target_level)]


def _levels(values: np.ndarray, accuracy: np.ndarray, levels: Sequence[str], losses: bool = False) -> np.ndarray:
    """[S, E, len(levels)] of values [S, E, num_devices], over the devices whose accuracy is a number."""
    num_series, num_evaluations, num_devices = values.shape
    present = ~np.isnan(accuracy).reshape(-1, num_devices)
    found = levels_over_devices(values.reshape(-1, num_devices), present, levels, losses)
    return found.reshape(num_series, num_evaluations, len(levels))
