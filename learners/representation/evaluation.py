"""Everything that is measured of representations at one evaluation, of the models that devices hold then.

A device's model makes features of all its own training samples; these judge the test features of others, each made by the tester's own
model (`learners.representation.judges`). Costs no simulated time.

Memory: the test features of one model at a time, S^k of all devices (float64 [num_devices, num_classes, d, d]) and their training
features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.executors import Executor
from learners.protocol import Value
from learners.representation.features import features
from learners.representation.judges import Answers, Judges
from learners.representation.names import ACCURACIES
from learners.representation.numbers import NUMBERS, Pooled
from learners.representation.sample import shown_samples
from learners.representation.training_features import TrainingFeatures

DISTORTION = 0.5
"""eps of coding rates, where the task's objective has none."""


@dataclass(frozen=True)
class Tests:
    """What devices are tested on. inputs [n, ...] and labels [n]: of the common samples. rows: by device, those that it is tested on;
    None: all. overlap: the rows of devices do, so that the features of all samples are made once a model."""

    inputs: Tensor
    labels: Tensor
    rows: Sequence[np.ndarray] | None = None
    overlap: bool = True


@dataclass(frozen=True)
class Shown:
    """Features float32 [n, d] of test samples, their labels [n] and devices [n], sorted by label and then by device."""

    features: np.ndarray
    labels: np.ndarray
    devices: np.ndarray


@dataclass(frozen=True)
class Measured:
    """accuracies: by metric and data [num_devices]; numbers: by metric [num_components, num_devices]; NaN where there is none.
    diverged: devices whose features are not all finite."""

    accuracies: Mapping[tuple[str, str], np.ndarray]
    numbers: Mapping[str, np.ndarray]
    diverged: frozenset[int]


class Representations:
    """metrics: of `names`. subspace_dim: r, None: min(30, d // num_classes), at least 1. tasks: by device, `learners.task.Task`s of one
    data set and one feature_dim. parts: by device, indices of its training samples. tests: by the name of the data.

    Raises ValueError, which begins with the key, for models without representations or whose dimensions do not fit."""

    def __init__(
        self,
        metrics: Sequence[str],
        subspace_dim: int | None,
        tasks: Sequence[Any],
        parts: Sequence[np.ndarray],
        tests: Mapping[str, Tests],
        executor: Executor,
    ) -> None:
        if not all(hasattr(task, "model") for task in tasks):
            raise ValueError("metrics: are of representations, and the task has no model that gives them")
        dims = sorted({task.model.feature_dim for task in tasks})
        if len(dims) > 1:
            listed = ", ".join(map(str, dims))
            raise ValueError(
                f"metrics: compare representations of one length, and the devices' models have feature_dim {listed}"
            )
        if subspace_dim is not None and subspace_dim > dims[0]:
            raise ValueError(
                f"subspace_dim = {subspace_dim}: representations have {dims[0]} dimensions; at most {dims[0]}"
            )
        self.num_classes: int = tasks[0].num_classes
        self.subspace_dim = subspace_dim or max(1, min(30, dims[0] // self.num_classes))
        self._accuracies = [name for name in metrics if name in ACCURACIES]
        self._numbers = [name for name in metrics if name in NUMBERS]
        self._tasks = tasks
        self._parts = [torch.from_numpy(part) for part in parts]
        self._tests = tests
        self._executor = executor
        self._known: dict[int, tuple[Value, TrainingFeatures]] = {}  # by device, of the last evaluation
        self._last: tuple[dict[int, Value], Measured] = {}, Measured({}, {}, frozenset())

    def measure(self, values: Mapping[int, Value]) -> Measured:
        """values: flat models by device; devices without a training sample are left out."""
        if not self._accuracies and not self._numbers:
            return Measured({}, {}, frozenset())
        values = {device: value for device, value in sorted(values.items()) if len(self._parts[device])}
        before, measured = self._last
        if values.keys() == before.keys() and all(value is before[device] for device, value in values.items()):
            return measured
        models = self._models(values)
        trained = {device: self._trained(device, values[device], x) for device, x in models.items()}
        self._known = {device: (values[device], one) for device, one in trained.items()}
        diverged = frozenset(device for device, one in trained.items() if not one.is_finite)
        accuracies = self._measure_accuracies(values, models, trained) if self._accuracies and values else {}
        measured = Measured(accuracies, self._measure_numbers(trained), diverged)
        self._last = values, measured
        return measured

    def shown(self, values: Mapping[int, Value]) -> Shown:
        """Features of a few common test samples, of flat models by device; without those of models that have diverged."""
        models = self._models(dict(sorted(values.items())))
        samples = self._tasks[0].samples
        rows = shown_samples(samples.test_labels.numpy(), self.num_classes, max(1, len(models)))
        found, devices = [], []
        for device, x in models.items():
            z = features(self._tasks[device], x, samples.test_inputs[rows])
            if z.isfinite().all():
                found.append(z.to(torch.float32).numpy())
                devices.append(device)
        if not found:
            return Shown(np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        labels = np.tile(samples.test_labels.numpy()[rows], len(devices))
        of = np.repeat(np.array(devices), len(rows))
        order = np.lexsort((of, labels))  # a device's samples of a class stay in their order
        return Shown(np.concatenate(found)[order], labels[order], of[order])

    def _models(self, values: Mapping[int, Value]) -> dict[int, Tensor]:
        """By device [num_params]."""
        for device, value in values.items():
            expected = (self._tasks[device].num_params,)
            if tuple(value.shape) != expected:
                raise ValueError(
                    f"metrics: are of flat models of {expected[0]} numbers, and device {device} holds {list(value.shape)}"
                )
        return dict(zip(values, self._executor.materialize(list(values.values())), strict=True))

    def _trained(self, device: int, value: Value, x: Tensor) -> TrainingFeatures:
        known = self._known.get(device)
        if known is not None and known[0] is value:
            return known[1]
        task, rows = self._tasks[device], self._parts[device]
        z = features(task, x, task.samples.train_inputs[rows])
        return TrainingFeatures(z, task.samples.train_labels[rows], self.num_classes)

    def _measure_accuracies(
        self, values: Mapping[int, Value], models: Mapping[int, Tensor], trained: Mapping[int, TrainingFeatures]
    ) -> dict[tuple[str, str], np.ndarray]:
        shape = len(self._parts)
        found = {(name, data): np.full(shape, np.nan) for name in self._accuracies for data in self._tests}
        judges = Judges(self._accuracies, self.subspace_dim, trained)
        alike: dict[tuple[int, int], list[int]] = {}  # devices with one model have the same features of common samples
        for device, value in values.items():
            alike.setdefault((id(value), id(self._tasks[device])), []).append(device)
        for devices in alike.values():
            task, x = self._tasks[devices[0]], models[devices[0]]
            common: dict[int, Answers] = {}
            for data, tests in self._tests.items():
                for device in devices:
                    rows = None if tests.rows is None else tests.rows[device]
                    if rows is not None and not len(rows):
                        continue
                    if rows is not None and not tests.overlap:
                        z, labels = features(task, x, tests.inputs[rows]), tests.labels[rows]
                        answers, rows = Answers(judges, z, labels, [device]), None
                    else:
                        key = id(tests.inputs)
                        if key not in common:
                            common[key] = Answers(judges, features(task, x, tests.inputs), tests.labels, devices)
                        answers = common[key]
                    for name in self._accuracies:
                        found[name, data][device] = answers.accuracy(name, device, rows)
        return found

    def _measure_numbers(self, trained: Mapping[int, TrainingFeatures]) -> dict[str, np.ndarray]:
        finite = {device: one for device, one in trained.items() if one.is_finite}
        if not finite or not self._numbers:
            return {}
        pooled = Pooled(list(finite.values()))
        distortion = float(getattr(getattr(self._tasks[0], "objective", None), "distortion", DISTORTION))
        found = {}
        for name in self._numbers:
            rows = NUMBERS[name](finite, pooled, distortion)
            found[name] = np.full((len(next(iter(rows.values()))), len(self._parts)), np.nan)
            found[name][:, list(rows)] = np.array(list(rows.values())).T
        return found
