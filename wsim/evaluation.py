"""What is measured when: the values that programs offer, evaluated at the scenario's times. Costs no simulated time.

A node holds, by name, the value that it last reported. Equal models (many devices, one download) are evaluated once, and
what has not changed since the last evaluation is not evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from learners.protocol import Report
from wsim.errors import ScenarioError, SimulationError
from wsim.node import SimNode
from wsim.scenario.evaluation import OWN_DATA
from wsim.series import Plan, Series, over_devices

Samples = str | tuple[str, int]
"""All of "global_test", "train" or "scale_16", or one device's of `OWN_DATA`."""

Found = TypeVar("Found")

Question = tuple[Any, Any, Samples]
"""(value, metric, samples)."""


class Represented(Protocol):
    """What is measured of representations, see `learners.representation.evaluation.Measured`."""

    @property
    def accuracies(self) -> Mapping[tuple[str, str], np.ndarray]: ...

    @property
    def numbers(self) -> Mapping[str, np.ndarray]: ...

    @property
    def diverged(self) -> frozenset[int]: ...


class Shown(Protocol):
    """What is kept of representations, see `learners.representation.evaluation.Shown`."""

    @property
    def features(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def devices(self) -> np.ndarray: ...


class Scoring(Protocol):
    """What the evaluator needs of the learning side."""

    estimates: bool

    @property
    def own_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """By data and device, indices of the samples that it is tested on."""

    @property
    def pools_samples(self) -> bool:
        """Whether one place trains on the samples of all, and its model is everybody's."""

    def score(self, questions: Sequence[Question]) -> np.ndarray:
        """[len(questions), 3] accuracy, loss, and 1 where one of them is not finite though the metric gives it."""

    def consensus(self, values: Sequence[Any]) -> tuple[Any, float]:
        """The mean of flat models, and their root mean square distance to it."""

    def represent(self, values: Mapping[int, Any]) -> Represented:
        """What the metrics are of flat models by device. ValueError where they are no such models."""

    def shown(self, values: Mapping[int, Any]) -> Shown:
        """Features of a few common test samples, as `represent`."""


@dataclass(frozen=True)
class Held:
    """What a node reported last. own_metric: the report brought its metric along, so the value need not be a flat model."""

    value: Any
    metric: Any
    own_metric: bool


@dataclass(frozen=True)
class Scores:
    """One evaluation of all series; NaN where nobody holds a model, or there is no sample, and throughout in an estimate.

    accuracy, loss: of the headline; single: [num_series, 2] accuracy and loss of the one model of a series; by_device:
    [num_series, 2, num_devices]; disagreement: [num_series]; diverged: devices, "server", "mean_model": whose accuracy or loss
    is not finite, of any report and data, or whose features are not; numbers: those of representations by metric, [num_components,
    num_devices]
    """

    accuracy: float
    loss: float
    single: np.ndarray
    by_device: np.ndarray
    disagreement: np.ndarray
    diverged: frozenset[int | str] = frozenset()
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)


class Evaluator:
    """reports: the names that the learner may give to what it reports."""

    def __init__(
        self,
        plan: Plan,
        reports: Sequence[str],
        num_devices: int,
        server_index: int,
        scoring: Scoring,
        on_round: Callable[[int], None],
    ) -> None:
        self.plan = plan
        self._reports = {"model", *reports}
        self._num_devices = num_devices
        self._server_index = server_index
        self._scoring = scoring
        self._on_round = on_round
        self._held: dict[str, dict[int, Held]] = {}  # by node index
        for report in (
            *(series.report for series in plan.series if not series.is_metric),
            plan.averaged,
            plan.represented,
        ):
            self._held.setdefault(report, {})
        self._known: dict[tuple[int, int, Samples], tuple[Question, np.ndarray]] = {}  # of the last evaluation
        self._consensus: tuple[list[Any], Any, float] = [], None, np.nan  # of the last one: models, mean, distance
        shape = (len(plan.series), 2, num_devices)
        self._nothing = Scores(
            np.nan, np.nan, np.full(shape[:2], np.nan), np.full(shape, np.nan), np.full(shape[0], np.nan)
        )
        self.counts: Callable[[int], bool] = lambda device: True  # replaced where devices come, go and fail
        self.lead(frozenset([server_index] if server_index >= 0 else range(num_devices)))
        self._counts = [0] * (max(num_devices, server_index) + 1)
        self._reached: dict[int, int] = {}
        self.rounds = 0

    def lead(self, leaders: frozenset[int]) -> None:
        """Indices of the nodes that close rounds: a round is over when all of them that are present have closed it."""
        self.leaders = self.all_leaders = leaders

    def report(self, node: SimNode, report: Report) -> None:
        """Keep what a program offers; a report named "model" closes a round of its node, also with the value None: nothing to
        evaluate."""
        name = report.name
        if report.value is not None and (held := self._held.get(name)) is not None:
            held[node.index] = Held(report.value, report.metric or node.task.metric, report.metric is not None)
        if name != "model":
            if name not in self._reports:
                raise SimulationError(
                    f'node {node.id} reports "{name}", which the class of its learner does not list in `reports`'
                )
            return
        if node.index not in self.leaders:
            return
        count = self._counts[node.index] + 1
        if report.round is not None and report.round + 1 != count:
            self._count_up_to(node.index, report.round + 1)
            return
        self._counts[node.index] = count
        self._reached[count] = self._reached.get(count, 0) + 1
        if self._reached.get(self.rounds + 1, 0) == len(self.leaders):
            self._close_rounds()

    def _close_rounds(self) -> None:
        """Those that all leaders have closed."""
        while self.leaders and self._reached.get(self.rounds + 1, 0) == len(self.leaders):
            self.rounds += 1
            del self._reached[self.rounds]
            self._on_round(self.rounds)

    def _count_up_to(self, index: int, count: int) -> None:
        """A leader has left out rounds, which are closed for it; one that is behind what it was taken for changes nothing."""
        for closed in range(max(self._counts[index], self.rounds) + 1, count + 1):
            self._reached[closed] = self._reached.get(closed, 0) + 1
        self._counts[index] = max(self._counts[index], count)
        self._close_rounds()

    def withdraw(self, index: int) -> None:
        """A node has gone: rounds are closed without it."""
        if index not in self.leaders:
            return
        self.leaders -= {index}
        for closed in range(self.rounds + 1, self._counts[index] + 1):
            self._reached[closed] -= 1
        self._close_rounds()

    def enter(self, index: int) -> None:
        """A node has come: it leads too, if it did or would have from the start; what was closed without it stays closed."""
        if index in self.all_leaders and index not in self.leaders:
            self.leaders |= {index}
            self._counts[index] = max(self._counts[index], self.rounds)
            for closed in range(self.rounds + 1, self._counts[index] + 1):
                self._reached[closed] = self._reached.get(closed, 0) + 1
            self._close_rounds()

    def ever_held(self, series: Series) -> bool:
        """Whether anybody has reported what the series is of."""
        if series.is_metric:
            return bool(self._represented())
        held = self._held[series.report]
        return self._server_index in held if series.subject == "server" else any(i != self._server_index for i in held)

    def evaluate(self) -> Scores:
        """The scores of what everybody holds now."""
        if self._scoring.estimates:
            return self._nothing
        asked = [self._questions(series) for series in self.plan.series]
        known = {}
        unknown = {}
        for questions in asked:
            for question in questions.values():
                key = id(question[0]), id(question[1]), question[2]
                if key in self._known:
                    known[key] = self._known[key]
                else:
                    unknown[key] = question
        scores = self._scoring.score(list(unknown.values()))
        for (key, question), score in zip(unknown.items(), scores, strict=True):
            known[key] = question, score
        self._known = known
        single, by_device = self._nothing.single.copy(), self._nothing.by_device.copy()
        diverged: set[int | str] = set()
        for number, questions in enumerate(asked):
            subject = self.plan.series[number].subject
            for device, (value, metric, samples) in questions.items():
                _, score = known[id(value), id(metric), samples]
                if device is None:
                    single[number] = score[:2]
                else:
                    by_device[number, :, device] = score[:2]
                if score[2] == 1.0:
                    diverged.add(device if device is not None and subject == "device" else subject)
        disagreement = self._nothing.disagreement.copy()
        if self.plan.disagreement:
            for number, series in enumerate(self.plan.series):
                if series.subject == "device" and series.report == self.plan.disagreeing:
                    disagreement[number] = self._mean_model()[1]
        numbers: Mapping[str, np.ndarray] = {}
        if self.plan.metrics:
            measured = self._of_models(self._scoring.represent)
            for number, series in enumerate(self.plan.series):
                if (found := measured.accuracies.get((series.report, series.data))) is not None:
                    by_device[number, 0] = found
            diverged |= measured.diverged
            numbers = measured.numbers
        accuracy, loss = self._headline(single, by_device)
        return Scores(accuracy, loss, single, by_device, disagreement, frozenset(diverged), numbers)

    def similarity(self) -> dict[str, Any]:
        """The fields of a `RunRecord` that hold features of test samples, where metrics ask for them; none in an estimate."""
        if self._scoring.estimates or "similarity" not in self.plan.metrics:
            return {}
        shown = self._of_models(self._scoring.shown)
        return {
            "similarity_features": shown.features,
            "similarity_label": shown.labels,
            "similarity_device": shown.devices,
        }

    def _of_models(self, measure: Callable[[Mapping[int, Any]], Found]) -> Found:
        try:
            return measure(self._represented())
        except ValueError as error:
            raise ScenarioError(f"[evaluation] {error}") from None

    def _represented(self) -> dict[int, Any]:
        """Models by device that counts: its own, or the one that is everybody's."""
        report = self.plan.represented
        if not self._scoring.pools_samples:
            return {device: kept.value for device, kept in self._models(report).items()}
        one = next(iter(self._held[report].values()), None)
        return {} if one is None else {i: one.value for i in range(self._num_devices) if self.counts(i)}

    def _questions(self, series: Series) -> dict[int | None, Question]:
        """By device that counts; None: of the one model on common samples."""
        data = series.data
        if series.is_metric:
            return {}
        if series.subject == "device":
            models = self._models(series.report)
            if data not in OWN_DATA:
                return {device: (kept.value, kept.metric, data) for device, kept in models.items()}
            tests = self._scoring.own_samples[data]
            return {i: (kept.value, kept.metric, (data, i)) for i, kept in models.items() if len(tests[i])}
        held = self._held[series.report]
        one = held.get(self._server_index) if series.subject == "server" else self._mean_model()[0]
        if one is None:
            return {}
        if data not in OWN_DATA:
            return {None: (one.value, one.metric, data)}
        tests = self._scoring.own_samples[data]
        devices = (device for device, rows in enumerate(tests) if len(rows) and self.counts(device))
        return {device: (one.value, one.metric, (data, device)) for device in devices}

    def _models(self, report: str) -> dict[int, Held]:
        """What the devices that count hold."""
        held = self._held[report].items()
        return {device: kept for device, kept in held if device != self._server_index and self.counts(device)}

    def _mean_model(self) -> tuple[Held | None, float]:
        """The mean of the models that the devices that count hold, of the headline's report where that is one, and how far they are from
        it."""
        held = list(self._models(self.plan.averaged).values())
        if not held:
            return None, np.nan
        if any(kept.own_metric or kept.metric is not held[0].metric or len(kept.value.shape) != 1 for kept in held):
            raise ScenarioError(
                "[evaluation] mean_model and disagreement are of flat models of one architecture, and this learner's devices "
                'hold others; leave them out of subjects and over_devices ("device" is always possible)'
            )
        values = [kept.value for kept in held]
        models, mean, distance = self._consensus
        if len(models) != len(values) or any(a is not b for a, b in zip(models, values, strict=True)):
            mean, distance = self._scoring.consensus(values)
            self._consensus = values, mean, distance
        return Held(mean, held[0].metric, False), distance

    def _headline(self, single: np.ndarray, by_device: np.ndarray) -> tuple[float, float]:
        plan = self.plan
        number = 0
        if plan.falls_back and self._server_index not in self._held[plan.headline.report]:
            number = next(n for n, series in enumerate(plan.series) if series.subject == "device")
        if not plan.series[number].has_devices:
            return float(single[number, 0]), float(single[number, 1])
        present = ~np.isnan(by_device[number, 0])
        if not present.any():
            return np.nan, np.nan
        accuracies, losses = by_device[number, 0, present], by_device[number, 1, present]
        level = plan.levels[0]
        return float(over_devices(accuracies, level)), float(over_devices(losses, level, losses=True))


def first_sustained(accuracy: np.ndarray, target: float, sustained: int) -> int | None:
    """Index of the first evaluation from which `sustained` in a row are at least `target`, None if never."""
    run = 0
    for i, value in enumerate(accuracy.tolist()):
        run = run + 1 if value >= target else 0
        if run == sustained:
            return i - sustained + 1
    return None
