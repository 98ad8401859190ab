"""The learning side of a run: data, model, task, learner and executor, built from the scenario."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from learners import executors, tensors
from learners.batching import BatchStream
from learners.control.control_task import ControlTask
from learners.control.observed_links import FEWEST_TESTS, Air, Recording
from learners.control.observed_stream import ObservedStream
from learners.control.problem import Problem
from learners.control.scale_stream import ScaleStream, ScaleWalk
from learners.data.holdout import hold_out, set_aside
from learners.data.views import seen, stacked
from learners.models.encoder import Headless
from learners.own_task import OwnTask
from learners.protocol import SERVER
from learners.representation.evaluation import Measured, Representations, Shown, Tests
from learners.scoring import Examples, Scorer
from learners.semantic.coding_rate import DISTORTION, CodingRateReduction
from learners.task import NO_SAMPLES, Task, cross_entropy
from wsim.catalog import find, names_of
from wsim.errors import DataError, ScenarioError
from wsim.scenario import Scenario
from wsim.scenario.evaluation import metrics_of, scale_of
from wsim.scenario.keys import keys_of, own_keys, taken
from wsim.scenario.learning import Model, Variant
from wsim.scenario.objectives import CODING_RATE, CROSS_ENTROPY, objective_of
from wsim.streams import Streams

EXECUTORS = ("batched", "eager", "null")

OBJECTIVES: dict[str, Callable[[Scenario], Any]] = {
    CROSS_ENTROPY: lambda scenario: cross_entropy,
    CODING_RATE: lambda scenario: CodingRateReduction(scenario.task.distortion or DISTORTION),
}

Stream = BatchStream | ScaleStream | ObservedStream


class Learning:
    """`parts`, `own_tests`: [num_devices] arrays of indices into the training set, what a device trains on and what it tests on.
    `train_subset`: those of the common training samples that accuracy is measured on; empty where [evaluation] data has no "train".
    `learner`: instead of the scenario's own, a class that takes the keys of [algorithm], a function (task, codec, num_rounds)
    -> learner, or a learner. `directory`: where relative names of data files start. `task`: instead of that of [data] and
    [model], of which the partition remains. `now_s`: the present time. `air`: what a data set may look at that is recorded in the
    network, whose devices it also deals it to."""

    def __init__(
        self,
        scenario: Scenario,
        streams: Streams,
        executor: str,
        window: int | None,
        learner: Any = None,
        directory: Path = Path(),
        task: OwnTask | None = None,
        now_s: Callable[[], float] = lambda: 0.0,
        air: Air | None = None,
    ) -> None:
        self._now_s = now_s
        tensors.set_threads(1)
        tensors.keep_freed_memory()
        self._streams = streams
        self.estimates = executor == "null"
        try:
            dataset: Any = _dataset(scenario, streams, directory, air) if task is None else task
            labels = dataset.train_labels
            recording: Recording | None = getattr(dataset, "recording", None) if task is None else None
            if recording is not None:
                public, dealt = NO_SAMPLES, list(recording.parts)
            else:
                public, dealt = _dealt(scenario, labels, streams)
            views = scenario.data.views if task is None else None
            if views is not None:
                dealt = seen(dealt, len(labels), len(views.corners))
                dataset = stacked(dataset, views.size, views.corners)
                labels = dataset.train_labels
            self.parts, self.own_tests = _held_out(scenario, dealt, labels, streams)
        except ValueError as error:
            raise DataError(f"{scenario.scenario.name} [data]: {error}") from None
        self.class_counts = _class_counts(self.parts, labels, getattr(dataset, "num_classes", 0))
        self.problem: Problem | None = dataset if isinstance(dataset, Problem) else None
        self._recording = recording
        self.task: Any
        self._tasks: list[Any]
        if self.problem is not None:
            self.task = ControlTask(self.problem, _controller(scenario.model, self.problem, scenario), scenario.dtype)
            self._tasks = [self.task] * scenario.num_devices
        elif task is None:
            says = learner if hasattr(learner, "objectives") else registered(scenario.algorithm.name)
            objective = OBJECTIVES[objective_of(scenario, says)](scenario)
            model = _model(scenario.model, dataset, scenario, objective)
            self.task = Task(dataset, model, scenario.dtype, objective=objective, public_samples=public)
            self._tasks = _tasks_of_devices(scenario, self.task)
        else:
            self.task = _own_task(scenario, task)
            self._tasks = [self.task] * scenario.num_devices
        codec = find("codec", scenario.codec.name)(**scenario.codec.own)
        handed_in = learner
        if learner is None or isinstance(learner, type):
            make = learner or find("learner", scenario.algorithm.name)
            keys = scenario.algorithm.hyperparameters
            try:
                learner = make(task=self.task, codec=codec, num_rounds=scenario.stop.rounds, **keys)
            except ValueError as error:  # of what is known once the data is loaded
                raise ScenarioError(f"{scenario.scenario.name} [algorithm] {error}") from None
        elif callable(learner):
            learner = learner(self.task, codec, scenario.stop.rounds)
        self.learner = learner
        if self.learner.uses_server and scenario.server is None:
            raise ScenarioError(f"{scenario.scenario.name}: {scenario.algorithm.name} needs a [server]")
        self._check_models(scenario)
        self._check(scenario, "check_public", len(public))
        self._check(scenario, "check_parts", self.class_counts)
        self.name: str = scenario.algorithm.name  # of the learner, its class's where it was handed in
        note = getattr(learner, "note", None)
        self.notes = [note] if note else []
        if self.problem is not None:
            self.notes += self.problem.notes
        if handed_in is not None and handed_in is not registered(scenario.algorithm.name):
            says = "was handed in; [algorithm] does not say all of it"
            self.name = type(self.learner).__name__
            self.notes.append(f"own learner {self.name}: {says}")
        self.executor: executors.Executor
        if executor == "batched" and window is not None:
            self.executor = executors.BatchedExecutor(window=window)
        else:
            self.executor = executors.EXECUTORS[executor]()
        self._scorer = Scorer(self.executor, self.task.dtype)
        samples = self.task.samples
        self._common = {"global_test": Examples(samples.test_inputs, samples.test_labels)}
        self.train_subset = np.empty(0, dtype=np.int64)
        if "train" in scenario.evaluation.data:
            rows = _subset(self.parts, len(samples.test_labels), streams("train_subset"))
            self._common["train"] = Examples(samples.train_inputs[rows], samples.train_labels[rows])
            self.train_subset = rows
        self._common |= self._of_scales(scenario)
        self.own_samples = {"own_test": self.own_tests}
        self._own = {
            "own_test": [Examples(samples.train_inputs, samples.train_labels, rows) for rows in self.own_tests]
        }
        if "own_classes" in scenario.evaluation.data:
            held = self.own_samples["own_classes"] = self._of_own_classes(scenario)
            self._own["own_classes"] = [Examples(samples.test_inputs, samples.test_labels, rows) for rows in held]
        if "own_scale" in scenario.evaluation.data and self.problem is not None:
            scales = self.problem.test_scales
            firsts = [self.problem.first_scale(device) for device in range(scenario.num_devices)]
            held = self.own_samples["own_scale"] = [np.flatnonzero(scales == first) for first in firsts]
            self._own["own_scale"] = [Examples(samples.test_inputs, samples.test_labels, rows) for rows in held]
        if "own_view" in scenario.evaluation.data and views is not None:
            num_test = len(samples.test_labels) // len(views.corners)
            every = [np.arange(num_test)] * scenario.num_devices
            held = self.own_samples["own_view"] = seen(every, num_test, len(views.corners))
            self._own["own_view"] = [Examples(samples.test_inputs, samples.test_labels, rows) for rows in held]
        self.pools_samples = bool(getattr(self.learner, "pools_samples", False))
        self._representations = self._represented(scenario)
        self._same_initial = scenario.model.same_initial_weights
        self._initial: dict[tuple[int, ...], Any] = {}
        self._codec_streams: dict[int, np.random.Generator] = {}
        self._shapes_of_noise: dict[int, Any] = {}
        self._batch_streams = self._streams_of_samples(scenario.server is not None)

    @property
    def num_calls(self) -> int:
        return int(self.executor.num_calls)

    @property
    def num_jobs(self) -> int:
        return int(self.executor.num_jobs)

    def task_of(self, id: int) -> Any:
        """The task of a node's own architecture: [model] itself at the server and at edge servers."""
        return self._tasks[id] if 0 <= id < len(self._tasks) else self.task

    def initial_parameters(self, id: int) -> Callable[[], Any]:
        """The initial model of a node: one for all of its architecture, or its own."""
        task = self.task_of(id)
        which: tuple[int, ...] = (0 if self._same_initial or not 0 <= id < len(self._tasks) else id + 1,)
        if task is not self.task and self._same_initial:
            which = (0, self._tasks.index(task) + 1)

        def initial() -> Any:
            if which not in self._initial:
                rng = self._streams("initial_parameters", *which)
                self._initial[which] = self.executor.lift(task.initial_parameters(rng))
            return self._initial[which]

        return initial

    def class_counts_of(self, device: int) -> np.ndarray:
        """int [num_classes]: how many training samples of each class a device holds."""
        counts: np.ndarray = self.class_counts[device]
        return counts

    def samples_of(self, id: int) -> Stream | None:
        """A node's training samples; in an estimate nothing is drawn of them. None where it holds none."""
        return self._batch_streams.get(id)

    def num_samples(self, id: int) -> int:
        stream = self._batch_streams.get(id)
        return 0 if stream is None else len(stream.sample_indices)

    def _streams_of_samples(self, has_server: bool) -> dict[int, Stream]:
        """By node id. Where the learner pools all samples in one place, that is the server, or device 0 without one."""
        if not self.pools_samples:
            return {i: self._batch_stream(part, i) for i, part in enumerate(self.parts)}
        everything = np.unique(np.concatenate(self.parts)) if self._recording else np.sort(np.concatenate(self.parts))
        place, index = (SERVER, len(self.parts)) if has_server else (0, 0)
        return {place: self._batch_stream(everything, index)}

    def _check_models(self, scenario: Scenario) -> None:
        """Whether the learner can work with the architectures of the devices."""
        tasks = list(dict.fromkeys(self._tasks))
        source = scenario.scenario.name
        if tasks != [self.task] and not getattr(self.learner, "heterogeneous", False):
            raise ScenarioError(
                f"{source} [model] variants: {scenario.algorithm.name} needs one architecture at all nodes"
            )
        if any(getattr(task, "num_buffers", 0) for task in (self.task, *tasks)) and not getattr(
            self.learner, "only_trains", False
        ):
            raise ScenarioError(
                f"{source} [model] {scenario.model.name} normalizes over batches, and {scenario.algorithm.name} has no use for running "
                "statistics; a model without them, such as one with group normalization"
            )
        check = getattr(self.learner, "check_models", None)
        if check is not None and all(hasattr(task, "model") for task in tasks):
            try:
                check([task.model for task in tasks])
            except ValueError as error:
                raise ScenarioError(f"{source} [model]: {error}") from None

    def _check(self, scenario: Scenario, name: str, about: Any) -> None:
        """What the learner's own check of this name, if it has one, refuses of the scenario's [algorithm]."""
        check = getattr(self.learner, name, None)
        if check is not None:
            try:
                check(about)
            except ValueError as error:
                raise ScenarioError(f"{scenario.scenario.name} [algorithm] {error}") from None

    def _of_scales(self, scenario: Scenario) -> dict[str, Examples]:
        """By "scale_K", the tests of so many objects that [evaluation] data asks for."""
        found = {}
        for data in scenario.evaluation.data:
            if (scale := scale_of(data)) is not None:
                assert self.problem is not None
                if self._recording is not None and scale not in self.problem.tests:
                    raise ScenarioError(
                        f'{scenario.scenario.name} [evaluation] data = "{data}": fewer than {FEWEST_TESTS} test samples have {scale} '
                        f"objects; of {', '.join(map(str, sorted(self.problem.tests))) or 'no number'} there are enough"
                    )
                inputs, references = self.task.of_scale(scale)
                fits = scale <= getattr(self.task.model, "largest_scale", scale)
                found[data] = Examples(inputs, references, None if fits else NO_SAMPLES)
        return found

    def _observed_stream(self, part: np.ndarray, index: int, recording: Recording) -> ObservedStream:
        """Of one device, or of the place where all samples are."""
        assert self.problem is not None
        rng = None if self.estimates else self._streams("batches", index)
        task, largest = self.task, self.problem.max_scale
        return ObservedStream(part, recording, rng, task.dtype, largest, task.step_flops, self._now_s)

    def _scale_stream(self, part: np.ndarray, index: int) -> ScaleStream:
        """Of one device; of all of them, where they are pooled."""
        problem, streams = self.problem, self._streams
        assert problem is not None
        owners = range(len(self.parts)) if self.pools_samples else (index,)
        walk_of = np.zeros(len(problem.train_inputs), dtype=np.int64)
        for walk, device in enumerate(owners):
            walk_of[self.parts[device]] = walk
        walks = [
            ScaleWalk(
                problem.first_scale(i),
                problem.scale_every_s,
                min(problem.scales),
                problem.max_scale,
                partial(streams, "scale", i),
            )
            for i in owners
        ]
        rng = None if self.estimates else streams("batches", index)
        task = self.task
        return ScaleStream(part, rng, task.dtype, walks, walk_of, problem.max_scale, task.step_flops, self._now_s)

    def _batch_stream(self, part: np.ndarray, index: int) -> Stream:
        if self._recording is not None:
            return self._observed_stream(part, index, self._recording)
        if self.problem is not None:
            return self._scale_stream(part, index)
        if self.estimates:
            return BatchStream(part, None, self.task.dtype)
        streams = self._streams
        return BatchStream(part, streams("batches", index), self.task.dtype, partial(streams, "augmentation", index))

    def tensor(self, values: Any) -> Any:
        return tensors.from_numbers(values, self.task.dtype)

    def to_mask(self, mask: np.ndarray) -> Any:
        return tensors.from_bools(mask)

    def noise(self, index: int, round: int, num_values: int) -> Any:
        """Unit-variance receiver noise of an analog reception."""
        return tensors.standard_normal(self._streams("analog_noise", index, round), num_values, self.task.dtype)

    def uniform(self, index: int, num_values: int) -> Any:
        """Noise of a codec that rounds at random, from the node's own stream."""
        if self.estimates:
            if num_values not in self._shapes_of_noise:
                self._shapes_of_noise[num_values] = tensors.no_numbers(num_values)
            return self._shapes_of_noise[num_values]
        stream = self._codec_streams.get(index)
        if stream is None:
            stream = self._codec_streams[index] = self._streams("codec", index)
        return tensors.uniform(stream, num_values)

    def score(self, questions: Sequence[tuple[Any, Any, str | tuple[str, int]]]) -> np.ndarray:
        """[len(questions), 3] accuracy, loss and whether one of them is not finite, as `Scorer.score`, of (value, metric, samples:
        "global_test", "train", or of a device ("own_test", device), ("own_classes", device), ("own_view", device))."""
        common, own = self._common, self._own
        return self._scorer.score(
            [
                (value, metric, common[samples] if isinstance(samples, str) else own[samples[0]][samples[1]])
                for value, metric, samples in questions
            ]
        )

    def represent(self, values: Mapping[int, Any]) -> Measured:
        """What the metrics are of flat models by device. ValueError where these are not flat models of [model]."""
        assert self._representations is not None
        return self._representations.measure(values)

    def shown(self, values: Mapping[int, Any]) -> Shown:
        """What is kept for the picture of similarities, as `represent`."""
        assert self._representations is not None
        return self._representations.shown(values)

    def _of_own_classes(self, scenario: Scenario) -> list[np.ndarray]:
        """By device, indices of the common test samples of the classes that it trains on."""
        test_labels = self.task.samples.test_labels.numpy()
        if test_labels.ndim != 1:
            raise ScenarioError(f'{scenario.scenario.name} [evaluation] data = "own_classes": the task has no classes')
        labels = np.asarray(self.task.train_labels)
        return [np.flatnonzero(np.isin(test_labels, np.unique(labels[part]))) for part in self.parts]

    def _represented(self, scenario: Scenario) -> Representations | None:
        """What measures representations, where [evaluation] asks for it or the task has nothing else to be judged by."""
        evaluation = scenario.evaluation
        metrics = metrics_of(evaluation, getattr(self.task, "has_head", True))
        if not metrics:
            return None
        samples = self.task.samples
        train = samples.train_inputs, samples.train_labels
        tests: dict[str, Tests] = {
            data: Tests(one.inputs, one.labels) for data, one in self._common.items() if data in evaluation.data
        }
        if "own_test" in evaluation.data:
            tests["own_test"] = Tests(*train, self.own_tests, overlap=False)
        if "own_classes" in evaluation.data:
            tests["own_classes"] = Tests(samples.test_inputs, samples.test_labels, self.own_samples["own_classes"])
        if "own_view" in evaluation.data:
            rows = self.own_samples["own_view"]
            tests["own_view"] = Tests(samples.test_inputs, samples.test_labels, rows, overlap=False)
        tasks = [self.task] * len(self.parts) if self.pools_samples else self._tasks
        try:
            return Representations(metrics, evaluation.subspace_dim, tasks, self.parts, tests, self.executor)
        except ValueError as error:
            raise ScenarioError(f"{scenario.scenario.name} [evaluation] {error}") from None

    def numbers(self, values: Sequence[Any]) -> np.ndarray:
        """float64 [len(values), n] of vectors of one length."""
        found: np.ndarray = self.executor.stack(values).double().numpy()
        return found

    def consensus(self, values: Sequence[Any]) -> tuple[Any, float]:
        """The mean of flat models, and their root mean square distance to it."""
        return self._scorer.consensus(values)


def _dataset(scenario: Scenario, streams: Streams, directory: Path, air: Air | None) -> Any:
    load = find("dataset", scenario.data.name)
    keys = own_keys("dataset", load, scenario.data)
    for name, key in keys_of("dataset", load).items():
        if key.is_place and keys[name] is not None:
            keys[name] = str(directory / keys[name])
    return load(streams("split"), **taken(load, air=air), **keys)


def _tasks_of_devices(scenario: Scenario, task: Task) -> list[Task]:
    """By device; one task for each distinct architecture. task: of [model] itself, which is used where that is one of them."""
    made = {_architecture(scenario.model): task}
    variants: tuple[Model | Variant, ...] = scenario.model.variants or (scenario.model,)
    for variant in variants:
        key = _architecture(variant)
        if key not in made:
            made[key] = task.with_model(_model(variant, task.dataset, scenario, task.objective))
    return [made[_architecture(variants[i % len(variants)])] for i in range(scenario.num_devices)]


def _architecture(table: Model | Variant) -> str:
    return f"{table.name} {sorted(table.own.items())}"


def _model(table: Model | Variant, dataset: Any, scenario: Scenario, objective: Any) -> Any:
    try:
        model = find("model", table.name)(dataset.input_shape, dataset.num_classes, **table.own)
        return Headless(model) if isinstance(objective, CodingRateReduction) else model
    except ValueError as error:
        raise DataError(f"{scenario.scenario.name} [model]: {error}") from None


def _controller(table: Model, problem: Problem, scenario: Scenario) -> Any:
    """The model of a control problem."""
    try:
        return find("model", table.name)(problem.input_shape, problem.num_classes, **table.own)
    except ValueError as error:
        raise DataError(f"{scenario.scenario.name} [model]: {error}") from None


def registered(name: str) -> Any:
    """The learner's class of this name, None where there is none."""
    return find("learner", name) if name in names_of("learner") else None


def _own_task(scenario: Scenario, task: OwnTask) -> OwnTask:
    """The task that was handed in. Warns that the result's [data] and [model] are not what was learned."""
    if scenario.model.variants:
        raise ScenarioError(f"{scenario.scenario.name} [model] variants: an own task has one architecture")
    if scenario.data.public_fraction is not None:
        raise ScenarioError(f"{scenario.scenario.name} [data] public_fraction: an own task has no public samples")
    dtype = str(task.dtype).removeprefix("torch.")
    if dtype != scenario.dtype:
        raise ScenarioError(f'{scenario.scenario.name} dtype = "{scenario.dtype}": the task\'s is {dtype}')
    says = f"own task {type(task).__name__}: of [data] and [model] only partition and same_initial_weights were used"
    warnings.warn(says, stacklevel=2)
    return task


def _dealt(scenario: Scenario, labels: np.ndarray, streams: Streams) -> tuple[np.ndarray, list[np.ndarray]]:
    """The public samples, and what each device is dealt of the others."""
    if scenario.data.public_fraction is None:
        return NO_SAMPLES, _parts(scenario, labels, streams)
    rest, public = set_aside(labels, scenario.data.public_fraction, streams("public"))
    return public, [rest[part] for part in _parts(scenario, labels[rest], streams)]


def _parts(scenario: Scenario, labels: np.ndarray, streams: Streams) -> list[np.ndarray]:
    partition = find("partition", scenario.data.partition)
    parts: list[np.ndarray] = partition(
        labels, scenario.num_devices, streams("partition"), **own_keys("partition", partition, scenario.data)
    )
    return parts


def _class_counts(parts: Sequence[np.ndarray], labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int [num_devices, num_classes]; without classes where the labels of a task are no numbers of classes."""
    if labels.dtype.kind not in "iu" or not num_classes:
        return np.zeros((len(parts), 0), dtype=np.int64)
    return np.stack([np.bincount(labels[part], minlength=num_classes) for part in parts])


def _subset(parts: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """[min(size, number of samples)] sorted indices, drawn without replacement from all samples that any device trains on."""
    held = np.unique(np.concatenate(parts))
    return np.sort(rng.choice(held, min(size, len(held)), replace=False))


def _held_out(
    scenario: Scenario, dealt: list[np.ndarray], labels: np.ndarray, streams: Streams
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the devices train on, and what they test on. Warns where one device's test is another's training sample."""
    fraction = scenario.data.local_test_fraction
    if fraction is None:
        return dealt, [np.empty(0, dtype=np.int64)] * len(dealt)
    pairs = [hold_out(part, labels, fraction, streams("local_test", i)) for i, part in enumerate(dealt)]
    parts, tests = [train for train, _ in pairs], [test for _, test in pairs]
    tested = np.concatenate(tests)
    if not len(tested):
        raise ValueError(
            f"local_test_fraction = {fraction}: no device has two samples, one to train on and one to test"
        )
    shared = int(np.isin(tested, np.concatenate(parts)).sum())
    if shared:
        dealer = "samples_per_device" if scenario.data.partition != "everything" else 'partition = "everything"'
        warnings.warn(
            f"{shared} of {len(tested)} own test samples are training samples of other devices: {dealer} deals samples "
            "more than once",
            stacklevel=2,
        )
    return parts, tests
