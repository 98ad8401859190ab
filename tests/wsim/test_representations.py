"""Metrics of representations against a slow twin in plain NumPy: singular value decompositions, loops over devices and samples."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from learners.deferred import Op
from learners.models.bias_mlp import BiasMlp
from learners.models.encoder import Headless
from learners.protocol import Compute, Report
from learners.references.local_only import LocalOnly
from learners.representation import features, neighbors, subspaces
from learners.representation.judges import Answers, Judges
from learners.representation.names import ACCURACIES, COMPONENTS
from learners.representation.numbers import Pooled, consensus_gap
from learners.representation.subspaces import bases
from learners.representation.training_features import TrainingFeatures
from learners.task import Task
from tests.contract.worlds import calm
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError
from wsim.record import DIVERGED, RunRecord
from wsim.scenario import Loaded
from wsim.series import plan
from wsim.series_report import headline_name

ALL = f"evaluation.metrics={[*ACCURACIES, *COMPONENTS]}".replace("'", '"')
DATA = 'evaluation.data=["global_test", "own_test", "own_classes", "train"]'
HELD_OUT = "data.local_test_fraction=0.25"
ENCODER = 'model={name="bias_mlp", hidden=[8], feature_dim=8}'
SKEWED = ("data.partition=dirichlet", "data.alpha=0.3")  # devices lack classes, and have few samples of others
K, NUM_NEIGHBORS, RIDGE, EPS = 4, 5, 1e-4, 0.5


def played(loaded: Loaded) -> tuple[Run, RunRecord]:
    run = Run(loaded, "batched", None, None, None, None)
    run.go()
    return run, run.record()


# -- the slow twin ------------------------------------------------------------------------------------------------------


def unit(x: np.ndarray, inputs: np.ndarray, d: int = 8) -> np.ndarray:
    """Representations of length 1 of the calm world's MLP (ReLU behind its hidden layer), or of ENCODER."""
    sizes = [(8, 8), (8,)] if len(x) == 108 else [(8, 8), (8,), (d, 8), (d,)]
    layers, at = [], 0
    for shape in sizes:
        layers.append(x[at : at + int(np.prod(shape))].reshape(shape))
        at += int(np.prod(shape))
    h = np.maximum(inputs @ layers[0].T + layers[1], 0)
    if len(layers) > 2:
        h = h @ layers[2].T + layers[3]
    lengths = np.linalg.norm(h, axis=1, keepdims=True)
    return h / np.where(lengths > 0, lengths, 1)


class Twin:
    def __init__(self, run: Run) -> None:
        samples, held = run.learning.task.samples, run.evaluator._held["model"]
        self.xs = [held[i].value.tensor().numpy() for i in range(6)]
        self.parts = run.learning.parts
        self.train = samples.train_inputs.numpy(), samples.train_labels.numpy()
        self.test = samples.test_inputs.numpy(), samples.test_labels.numpy()
        self.own, self.subset = run.learning.own_tests, run.learning.train_subset
        self.z = [unit(x, self.train[0][part]) for x, part in zip(self.xs, self.parts, strict=True)]
        self.y = [self.train[1][part] for part in self.parts]
        self.dim = 2  # 8 // 4

    def test_set(self, data: str, j: int) -> tuple[np.ndarray, np.ndarray]:
        rows = {
            "global_test": np.arange(len(self.test[1])),
            "own_classes": np.array([b for b, y in enumerate(self.test[1]) if y in self.y[j]]),
            "own_test": self.own[j],
            "train": self.subset,
        }[data]
        inputs, labels = self.train if data in ("own_test", "train") else self.test
        return unit(self.xs[j], inputs[rows]), labels[rows]

    def subspace(self, z: np.ndarray, y: np.ndarray, features: np.ndarray) -> np.ndarray:
        residuals = np.full((len(features), K), np.inf)
        for k in set(y.tolist()):
            _, values, directions = np.linalg.svd(z[y == k], full_matrices=False)
            u = directions[: self.dim][values[: self.dim] ** 2 > 1e-6 * values[0] ** 2]
            residuals[:, k] = np.linalg.norm(features - features @ u.T @ u, axis=1)
        return residuals.argmin(axis=1)

    def centered_subspace(self, z: np.ndarray, y: np.ndarray, features: np.ndarray) -> np.ndarray:
        residuals = np.full((len(features), K), np.inf)
        for k in set(y.tolist()):
            mean = z[y == k].mean(axis=0)
            _, values, directions = np.linalg.svd(z[y == k] - mean, full_matrices=False)
            u = directions[: self.dim][values[: self.dim] ** 2 > 1e-6 * values[0] ** 2]
            residuals[:, k] = np.linalg.norm((features - mean) - (features - mean) @ u.T @ u, axis=1)
        return residuals.argmin(axis=1)

    def knn(self, z: np.ndarray, y: np.ndarray, features: np.ndarray, absolute: bool = False) -> np.ndarray:
        found = []
        for feature in features:
            cosine = np.abs(z @ feature) if absolute else z @ feature
            nearest = y[np.argsort(-cosine, kind="stable")[:NUM_NEIGHBORS]]
            found.append(np.bincount(nearest, minlength=K).argmax())
        return np.array(found)

    def linear_probe(self, z: np.ndarray, y: np.ndarray, features: np.ndarray) -> np.ndarray:
        n, d = z.shape
        rows = np.vstack(
            [np.hstack([z, np.ones((n, 1))]), np.hstack([np.sqrt(RIDGE * n) * np.eye(d), np.zeros((d, 1))])]
        )
        targets = np.vstack([np.eye(K)[y], np.zeros((d, K))])
        w = np.linalg.lstsq(rows, targets, rcond=None)[0]
        scores = features @ w[:-1] + w[-1]
        scores[:, [k for k in range(K) if k not in y]] = -np.inf
        return scores.argmax(axis=1)

    def svm(self, z: np.ndarray, y: np.ndarray, features: np.ndarray) -> np.ndarray:
        scores = np.full((len(features), K), -np.inf)
        for k in set(y.tolist()):
            rows = np.hstack([z, np.ones((len(z), 1))]) * np.where(y == k, 1.0, -1.0)[:, None]

            def loss(w: np.ndarray, rows: np.ndarray = rows) -> tuple[float, np.ndarray]:
                slack = np.maximum(0, 1 - rows @ w)
                return 0.5 * w @ w + slack @ slack, w - 2 * rows.T @ slack

            options = {"gtol": 1e-10, "ftol": 1e-16, "maxiter": 5000}
            w = minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method="L-BFGS-B", options=options).x
            scores[:, k] = features @ w[:-1] + w[-1]
        return scores.argmax(axis=1)

    def accuracy(self, metric: str, data: str, j: int) -> float:
        features, labels = self.test_set(data, j)
        whose, _, way = metric.removesuffix("_accuracy").partition("_")
        others = [i for i in range(6) if i != j]
        if whose in ("others", "pooled"):
            of = others if whose == "others" else range(6)
            z, y = np.concatenate([self.z[i] for i in of]), np.concatenate([self.y[i] for i in of])
            return float((self.subspace(z, y, features) == labels).mean())
        judge = {"abs_knn": lambda *a: self.knn(*a, absolute=True)}.get(way) or getattr(self, way)
        of = [j] if whose == "own" else others
        return float(np.mean([(judge(self.z[i], self.y[i], features) == labels).mean() for i in of]))

    def rate(self, z: np.ndarray) -> float:
        n, d = z.shape
        return 0.5 * float(np.linalg.slogdet(np.eye(d) + d / (n * EPS) * z.T @ z)[1])

    def reduction(self, z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        classes = sum((y == k).mean() * self.rate(z[y == k]) for k in set(y.tolist()))
        return self.rate(z) - classes, classes

    def rank(self, z: np.ndarray, y: np.ndarray) -> float:
        found = []
        for k in set(y.tolist()):
            shares = np.linalg.svd(z[y == k], compute_uv=False) ** 2
            shares = shares[shares > 0] / shares.sum()
            found.append(np.exp(-(shares * np.log(shares)).sum()))
        return float(np.mean(found))

    def v(self, i: int, k: int) -> np.ndarray:
        z = self.z[i][self.y[i] == k]
        return z.T @ z / len(z)

    def numbers(self, j: int) -> Mapping[str, list[float]]:
        z, y = np.concatenate(self.z), np.concatenate(self.y)
        local, class_rate = self.reduction(self.z[j], self.y[j])
        gaps, shared = 0.0, 0
        for k in set(self.y[j].tolist()):
            holders = [i for i in range(6) if k in self.y[i]]
            gaps += ((self.v(j, k) - np.mean([self.v(i, k) for i in holders], axis=0)) ** 2).sum()
            shared += len(holders) > 1
        cosines = [abs(z[a] @ z[y != y[a]].T).sum() for a in range(len(z))]
        return {
            "coding_rate": [local, self.reduction(z, y)[0], class_rate],
            "class_coding_rate": [self.rate(self.z[j][self.y[j] == k]) if k in self.y[j] else np.nan for k in range(K)],
            "consensus_gap": [gaps, gaps / shared if shared else np.nan],
            "effective_rank": [self.rank(self.z[j], self.y[j]), self.rank(z, y)],
            "between_classes": [sum(cosines) / sum((y != label).sum() for label in y)],
        }


@pytest.mark.parametrize("world", [(), (ENCODER, *SKEWED)], ids=["mlp", "encoder, classes lacking"])
def test_every_metric_is_that_of_the_slow_twin(world: tuple[str, ...]) -> None:
    run, record = played(calm("dpsgd", ALL, DATA, HELD_OUT, "stop.rounds=2", *world))
    twin = Twin(run)
    if world:
        assert min(len(set(y.tolist())) for y in twin.y) < K
    # features behind a ReLU may have one number other than 0, and then equal neighbors: who of them counts is nobody's to say
    for metric in [name for name in ACCURACIES if world or "knn" not in name]:
        for data in ("global_test", "own_test", "own_classes", "train"):
            number = series(record, metric, data)
            tested = [j for j in range(6) if len(twin.test_set(data, j)[1])]
            expected = [twin.accuracy(metric, data, j) for j in tested]
            np.testing.assert_allclose(
                record.series_accuracy_by_device[number, -1, tested], expected, atol=1e-9, err_msg=f"{metric} {data}"
            )
            assert record.series_accuracy[number, -1] == pytest.approx(np.mean(expected))
    values = dict(
        zip(zip(record.measure_name, record.measure_component, strict=True), record.measure_value, strict=True)
    )
    for j in range(6):
        for name, numbers in twin.numbers(j).items():
            listed = COMPONENTS[name]
            components = [f"{listed} {k}" for k in range(K)] if isinstance(listed, str) else listed
            found = [values[name, component][-1, j] for component in components]
            np.testing.assert_allclose(found, numbers, rtol=1e-6, err_msg=name)


def series(record: RunRecord, report: str, data: str = "global_test") -> int:
    names = zip(record.series_report, record.series_subject, record.series_data, strict=True)
    return list(names).index((report, "device", data))


# -- what judges say ----------------------------------------------------------------------------------------------------


def judged(
    metric: str, trained: list[tuple[list[list[float]], list[int]]], test: list[list[float]], labels: list[int]
) -> float:
    """Of device 0, with the training features of all, five times each: no more are asked for; two classes, one dimension each."""
    devices = {i: TrainingFeatures(torch.tensor(z * 5), torch.tensor(y * 5), 2) for i, (z, y) in enumerate(trained)}
    return Answers(Judges([metric], 1, devices), torch.tensor(test), torch.tensor(labels), [0]).accuracy(
        metric, 0, None
    )


UP, RIGHT = [0.0, 1.0], [1.0, 0.0]
DOWN = [0.0, -1.0]
AGREES = [UP, RIGHT, DOWN], [0, 1, 0]
TURNED = [RIGHT, UP, RIGHT], [0, 1, 0]  # the other way round: its own features are as good as anybody's


@pytest.mark.parametrize("way", ["subspace", "abs_knn"])
def test_devices_that_agree_can_read_each_other_and_others_cannot(way: str) -> None:
    test = [UP, RIGHT, [0.6, 0.8]], [0, 1, 0]
    assert judged(f"own_{way}_accuracy", [AGREES, TURNED], *test) == 1.0
    assert judged(f"cross_{way}_accuracy", [AGREES, AGREES], *test) == 1.0
    assert judged(f"cross_{way}_accuracy", [AGREES, TURNED], *test) == 0.0
    assert judged(f"cross_{way}_accuracy", [AGREES, AGREES, TURNED], *test) == 0.5


def test_signs_matter_to_signed_cosines_only() -> None:
    mirrored = [DOWN, RIGHT], [0, 1]
    test = [UP, [0.28, 0.96]], [0, 0]
    assert judged("cross_subspace_accuracy", [AGREES, mirrored], *test) == 1.0
    assert judged("cross_abs_knn_accuracy", [AGREES, mirrored], *test) == 1.0
    assert judged("cross_knn_accuracy", [AGREES, mirrored], *test) == 0.0


def test_centered_subspaces_lie_where_the_class_lies() -> None:
    """Class 0 on the line x = .6, class 1 on y = -1: from (.6, -.8) they are 0 and .2 away, from (0, -.9) .6 and .1. A class of one sample is a
    point."""
    lines = [[0.6, 0.8], [0.6, 0.4], [0.5, -1.0], [-0.5, -1.0]], [0, 0, 1, 1]
    test = [[0.6, -0.8], [0.0, -0.9]], [0, 1]
    assert judged("own_centered_subspace_accuracy", [lines], *test) == 1.0
    points = [UP, RIGHT], [0, 1]
    assert judged("own_centered_subspace_accuracy", [points], [DOWN, [-0.6, 0.8]], [0, 0]) == 0.5


def test_a_class_that_the_judge_lacks_is_no_candidate() -> None:
    lacks = [UP, DOWN], [0, 0]
    test = [UP, RIGHT], [0, 1]
    for way in ("subspace", "centered_subspace", "knn", "abs_knn", "linear_probe", "svm"):
        assert judged(f"cross_{way}_accuracy", [AGREES, lacks], *test) == 0.5


def test_alone_there_is_nobody_to_cross() -> None:
    for whose in ("cross", "others"):
        assert np.isnan(judged(f"{whose}_subspace_accuracy", [AGREES], [UP], [0]))
    assert judged("pooled_subspace_accuracy", [AGREES], [UP], [0]) == 1.0


def test_directions_that_are_rounding_are_dropped() -> None:
    tiny = 1e-5  # its square is below 1e-6
    trained = TrainingFeatures(torch.tensor([[1.0, 0.0, 0.0], [1.0, tiny, 0.0]]), torch.tensor([0, 0]), 1)
    assert bases(*trained.eigen, 3)[0].norm(dim=1).tolist() == pytest.approx([0.0, 0.0, 1.0])


@pytest.mark.parametrize("metric", ACCURACIES)
def test_a_diverged_model_is_wrong_and_stops_nobody(metric: str) -> None:
    nan = [[np.nan, 1.0], RIGHT], [0, 1]
    test = [UP, RIGHT], [0, 1]
    assert judged(metric, [nan, AGREES], [[np.nan, np.nan]] * 2, [0, 1]) == 0.0
    found = judged(metric, [AGREES, nan], *test)
    assert found == (0.0 if metric.startswith(("cross", "others")) else 1.0)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(calm("dpsgd", ALL, DATA, HELD_OUT, ENCODER, "stop.rounds=1"))
    for module in (features, neighbors, subspaces):
        monkeypatch.setattr(module, "PIECE_BYTES", 2000)
    cut = simulate(calm("dpsgd", ALL, DATA, HELD_OUT, ENCODER, "stop.rounds=1"))
    np.testing.assert_allclose(cut.series_accuracy_by_device, whole.series_accuracy_by_device, atol=1e-12)
    np.testing.assert_allclose(cut.measure_value, whole.measure_value, rtol=1e-9)


def test_a_gap_is_to_the_holders_of_a_class() -> None:
    """V of class 0 is e1 e1' at device 0 and e2 e2' at device 1: 1/2 from their mean, twice; class 1 is device 0's alone."""
    e1, e2 = [1.0, 0.0], [0.0, 1.0]
    devices = {
        0: TrainingFeatures(torch.tensor([e1, e2]), torch.tensor([0, 1]), 2),
        1: TrainingFeatures(torch.tensor([e2]), torch.tensor([0]), 2),
        4: TrainingFeatures(torch.tensor([e2]), torch.tensor([1]), 2),
    }
    pooled = Pooled(list(devices.values()))
    found = consensus_gap({0: devices[0], 1: devices[1]}, pooled, 0.5)
    assert found == {0: [0.5, 0.5], 1: [0.5, 0.5]}
    alone = consensus_gap({0: devices[0]}, pooled, 0.5)[0]
    assert alone[0] == 0.0
    assert np.isnan(alone[1])
    assert consensus_gap(devices, pooled, 0.5)[0] == [0.5, 0.25]


# -- in a run -----------------------------------------------------------------------------------------------------------

CROSS = 'evaluation.metrics=["own_subspace_accuracy", "cross_subspace_accuracy", "consensus_gap"]'


def test_metrics_stand_beside_models_and_change_nothing_else() -> None:
    plain, full = simulate(calm("dpsgd")), simulate(calm("dpsgd", CROSS))
    assert full.event_digest == plain.event_digest
    assert full.series_report == ["model", "own_subspace_accuracy", "cross_subspace_accuracy"]
    np.testing.assert_array_equal(full.accuracy, plain.accuracy)
    np.testing.assert_array_equal(full.series_accuracy_by_device[0], plain.series_accuracy_by_device[0])
    assert np.isnan(full.series_loss[1:]).all()
    assert full.measure_name == ["consensus_gap"] * 2
    assert not {"metrics", "subspace_dim"} & plain.resolved["evaluation"].keys()


def test_a_metric_can_be_the_headline_with_targets_levels_and_groups() -> None:
    chosen = "evaluation.inference=cross_subspace_accuracy", "evaluation.targets={accuracy=[0.1]}"
    record = simulate(calm("dpsgd", CROSS, *chosen, 'evaluation.over_devices=["worst", "mean", "disagreement"]'))
    assert record.series_report == ["cross_subspace_accuracy", "model", "own_subspace_accuracy"]
    np.testing.assert_array_equal(record.accuracy, record.series_accuracy_by_device[0].min(axis=1))
    assert record.target_report == "cross_subspace_accuracy"
    assert record.target_time_s[0] == record.eval_time_s[0]
    assert np.isfinite(record.series_disagreement).all(axis=1).tolist() == [False, True, False]
    assert "cross subspace accuracy" in headline_name(record)


def test_the_mean_model_stands_beside_a_metric() -> None:
    subjects = 'evaluation.subjects=["device", "mean_model"]'
    record = simulate(calm("dpsgd", CROSS, subjects, "evaluation.inference=cross_subspace_accuracy", "stop.rounds=1"))
    named = list(zip(record.series_report, record.series_subject, strict=True))
    assert named[:3] == [("cross_subspace_accuracy", "device"), ("model", "device"), ("model", "mean_model")]
    assert np.isfinite(record.series_accuracy).all()


@pytest.mark.parametrize("server", [False, True])
def test_one_model_for_all_is_everybodys(server: bool) -> None:
    """Centralized training: each device's own training samples, through the one model."""
    overrides = ["topology.kind=star", "server={radio={tx_power_dbm=40.0}}"] if server else []
    record = simulate(calm("centralized", CROSS, "stop.rounds=1", *overrides))
    own, cross = (record.series_accuracy_by_device[record.series_report.index(name)][-1] for name in ACCURACIES[:2])
    assert np.isfinite([own, cross]).all()
    assert cross.mean() == pytest.approx(own.mean(), abs=0.1)


def test_of_fedproto_the_flat_models_are_measured() -> None:
    record = simulate(calm("fedproto", CROSS, "stop.rounds=1"))
    assert np.isfinite(record.series_accuracy_by_device[record.series_report.index(ACCURACIES[0])]).all()


def test_devices_of_different_architectures_read_each_other() -> None:
    variants = (
        'model.variants=[{name="bias_mlp", hidden=[8], feature_dim=8}, {name="bias_mlp", hidden=[], feature_dim=8}]'
    )
    record = simulate(calm("local_only", ENCODER, CROSS, variants, "stop.rounds=1"))
    assert np.isfinite(record.series_accuracy).all()


def test_an_estimate_measures_nothing() -> None:
    record = simulate(calm("dpsgd", ALL), executor="null")
    assert np.isnan(record.series_accuracy).all()
    assert record.measure_name == []


def test_what_has_not_changed_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    made = TrainingFeatures.__init__

    def counting(self: TrainingFeatures, *args: Any) -> None:
        nonlocal count
        count += 1
        made(self, *args)

    monkeypatch.setattr(TrainingFeatures, "__init__", counting)
    run, _ = played(calm("dpsgd", CROSS, "stop.rounds=2"))
    assert count == 12  # and not at the end again
    held = {device: kept.value for device, kept in run.evaluator._held["model"].items()}
    before = run.learning.represent(held)
    after = run.learning.represent({**held, 0: run.learning.initial_parameters(0)()})
    assert count == 13  # of device 0 alone
    key = "own_subspace_accuracy", "global_test"
    assert before.accuracies[key][0] != after.accuracies[key][0]
    np.testing.assert_array_equal(before.accuracies[key][1:], after.accuracies[key][1:])


# -- bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("learner", "overrides", "words"),
    [
        ("dpsgd", ['evaluation.metrics=["cross_subspace_acuracy"]'], r'metrics\.0 = .*accepted are .*\(cross_subspace_accuracy\?\)'),
        ("dpsgd", ['evaluation.metrics=["coding_rate", "coding_rate"]'], r'metrics\.1 = "coding_rate": is listed twice'),
        ("dpsgd", [CROSS, "evaluation.subspace_dim=9"], r"subspace_dim = 9: representations have 8 dimensions; at most 8"),
        ("dpsgd", [CROSS, "evaluation.inference=own_knn_accuracy"], r'inference = "own_knn_accuracy": is not among metrics = '),
        ("dpsgd", [CROSS, "evaluation.inference=own_knn_acuracy"], r'inference = .*\(own_knn_accuracy\?\)'),
        ("dpsgd", [CROSS, "evaluation.inference=consensus_gap"], r'inference = "consensus_gap": dpsgd reports "model"'),
        ("dpsgd", [CROSS, 'evaluation.subjects=["mean_model"]'], r'subjects = \["mean_model"\]: lacks "device", whose representations'),
        ("heterofl", [CROSS], r"metrics = .*are of models that are vectors of all parameters of \[model\], and heterofl reports none"),
        (
            "local_only",
            [CROSS, 'model.variants=[{name="mlp", hidden=[8]}, {name="mlp", hidden=[4]}]'],
            r"metrics: compare representations of one length, and the devices' models have feature_dim 4, 8",
        ),
        (
            "dpsgd",
            [CROSS, "evaluation.inference=own_subspace_accuracy", 'evaluation.subjects=["device", "mean_model"]',
             'evaluation.targets={accuracy=[0.5], subject="mean_model"}'],
            r'subject = "mean_model": is not measured; \[evaluation\] subjects = \["device"\]',
        ),
    ],
)  # fmt: skip
def test_impossible_metrics_are_refused_in_one_line(learner: str, overrides: list[str], words: str) -> None:
    with pytest.raises(ScenarioError, match=words) as error:
        Run(calm(learner, *overrides), "null", None, None, None, None)
    assert "\n" not in str(error.value)


# -- without a head ------------------------------------------------------------------------------------------------------


def spread(
    model: Any, parameters: Any, inputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """An objective of representations alone: mean cosine of pairs of different classes, squared."""
    z = model.representation(parameters, inputs)
    differ = (labels.unsqueeze(0) != labels.unsqueeze(1)) * weights.unsqueeze(0) * weights.unsqueeze(1)
    return ((z @ z.mT).square() * differ).sum() / differ.sum().clamp(min=1)


def headless(learner: str, *overrides: str, executor: str = "batched", own: Any = None) -> RunRecord:
    loaded = calm(learner, ENCODER, *overrides)
    dataset = Run(loaded, "null", None, None, None, None).learning.task.dataset
    task = Task(dataset, Headless(BiasMlp(dataset.input_shape, 4, [8], 8)), "float64", objective=spread)
    vars(task)["has_head"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that [model] is not what was learned
        return simulate(loaded, executor, learner=own, task=task)


def test_without_a_head_the_own_subspaces_are_the_headline() -> None:
    record = headless("dpsgd")
    assert (record.series_report, record.series_subject) == (["own_subspace_accuracy"], ["device"])
    assert record.accuracy[-1] > 0.5  # of four classes
    assert not any("nobody has reported" in note for note in record.notes)
    assert np.isnan(headless("dpsgd", executor="null").accuracy).all()


def test_without_a_head_features_tell_who_has_diverged() -> None:
    assert any(DIVERGED in note for note in headless("local_only", own=Odd).notes)


def test_without_a_head_and_with_a_server_it_is_the_devices() -> None:
    record = headless("fedavg", CROSS.replace('"own_subspace_accuracy", ', ""), "stop.rounds=2")
    assert (record.series_report, record.series_subject) == (["cross_subspace_accuracy"], ["device"])
    assert np.isfinite(record.accuracy).all()


def test_without_a_head_models_disagree_all_the_same() -> None:
    record = headless("dpsgd", "stop.rounds=1", 'evaluation.over_devices=["mean", "disagreement"]')
    assert record.series_disagreement[0, -1] > 0


@dataclass(frozen=True)
class Odd(LocalOnly):
    """Reports a head of its own, and models that have diverged."""

    reports: ClassVar[tuple[str, ...]] = ("after_local_training", "head")
    own_metrics: ClassVar[tuple[str, ...]] = ("head",)

    def program(self, node: Any) -> Any:
        x = yield Compute(spoilt, (node.initial_parameters,), work=1.0)
        yield Report("head", x, all_right)
        yield Report("model", x)


spoilt = Op(lambda x: x / 0, name="spoilt", flops=lambda x: 1)
all_right = Op(lambda x, inputs, labels: labels >= 0, name="all_right")


def test_a_head_of_the_learners_own_is_measured_beside() -> None:
    record = headless("local_only", own=Odd)
    assert record.series_report == ["own_subspace_accuracy", "head"]
    assert record.series_accuracy[:, -1].tolist() == [0.0, 1.0]
    chosen = calm("fedproto", "evaluation.inference=head").scenario
    found = plan(chosen, ("head",), own_metrics=("head",), has_head=False)
    assert [one.report for one in found.series if one.subject == "device"] == ["head", "own_subspace_accuracy"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["evaluation.model_time=after_local_training"], r"model_time: what is reported as after_local_training has no head in this task"),
        (['evaluation.subjects=["device", "mean_model"]'], r'subjects\.1 = "mean_model": models have no head in this task'),
    ],
)  # fmt: skip
def test_what_needs_a_head_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        headless("dpsgd", *overrides)


def test_a_run_that_diverges_says_so() -> None:
    record = simulate(calm("local_only", ENCODER, ALL, DATA, HELD_OUT), learner=Odd)
    assert any(DIVERGED in note for note in record.notes)
    accuracies = record.series_accuracy_by_device[[name in ACCURACIES for name in record.series_report]]
    assert accuracies.max() == 0
    assert record.measure_name == []
