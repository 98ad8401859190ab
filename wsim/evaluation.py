"""What is measured when: the values that programs offer, evaluated at the scenario's times. Costs no simulated time.

Subject: the server's model where there is one, else the devices' own; data: the global test set. A device holds the model that
it last reported; equal models (many devices, one download) are evaluated once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from learners.protocol import Report
from wsim.node import SimNode


class Evaluator:
    """measure(values, metric) -> [len(values)] accuracies (NaN in an estimate)."""

    def __init__(
        self,
        num_devices: int,
        server_index: int,
        measure: Callable[[list[Any], Any], np.ndarray],
        on_round: Callable[[int], None],
    ) -> None:
        self._num_devices = num_devices
        self._server_index = server_index
        self._measure = measure
        self._on_round = on_round
        self._held: dict[int, tuple[Any, Any]] = {}  # node index -> (value, metric)
        self._known: dict[int, tuple[Any, float]] = {}  # accuracies of the last evaluation, by identity of the value
        self._counts = [0] * (num_devices + 1)
        self._reached: dict[int, int] = {}
        self.rounds = 0

    def report(self, node: SimNode, report: Report) -> None:
        """Keep what a program offers; a report named "model" closes a round of its node, also with the value None: nothing to
        evaluate."""
        if report.name != "model":
            return
        if report.value is not None:
            self._held[node.index] = (report.value, report.metric or node.task.metric)
        counting = self._server_index >= 0
        if counting and node.index != self._server_index:
            return
        self._counts[node.index] += 1
        count = self._counts[node.index]
        self._reached[count] = self._reached.get(count, 0) + 1
        if self._reached.get(self.rounds + 1, 0) == (1 if counting else self._num_devices):
            self.rounds += 1
            del self._reached[self.rounds]
            self._on_round(self.rounds)

    def accuracies(self) -> tuple[float, np.ndarray]:
        """The headline accuracy and [num_devices] accuracies of what each device holds (NaN: nothing)."""
        unknown: dict[int, tuple[Any, Any]] = {}
        for value, metric in self._held.values():
            if id(value) not in self._known:
                unknown[id(value)] = (value, metric)
        by_metric: dict[int, list[Any]] = {}
        metrics: dict[int, Any] = {}
        for value, metric in unknown.values():
            by_metric.setdefault(id(metric), []).append(value)
            metrics[id(metric)] = metric
        known = {id(value): self._known[id(value)] for value, _ in self._held.values() if id(value) in self._known}
        for key, values in by_metric.items():
            for value, accuracy in zip(values, self._measure(values, metrics[key]).tolist(), strict=True):
                known[id(value)] = (value, accuracy)
        self._known = known
        by_device = np.full(self._num_devices, np.nan)
        for index, (value, _) in self._held.items():
            if index != self._server_index:
                by_device[index] = known[id(value)][1]
        if self._server_index in self._held:
            return known[id(self._held[self._server_index][0])][1], by_device
        present = by_device[~np.isnan(by_device)]
        return (float(present.mean()) if len(present) else float("nan")), by_device


def spread(by_device: np.ndarray) -> tuple[float, float, float]:
    """(worst, 10th percentile, standard deviation) over the devices that hold a model."""
    present = by_device[~np.isnan(by_device)]
    if not len(present):
        return (float("nan"),) * 3
    return float(present.min()), float(np.quantile(present, 0.1)), float(present.std())


def first_sustained(accuracy: np.ndarray, target: float, sustained: int) -> int | None:
    """Index of the first evaluation from which `sustained` in a row are at least `target`, None if never."""
    run = 0
    for i, value in enumerate(accuracy.tolist()):
        run = run + 1 if value >= target else 0
        if run == sustained:
            return i - sustained + 1
    return None
