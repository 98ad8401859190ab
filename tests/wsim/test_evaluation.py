"""What [evaluation] asks for, against models taken out of a run and scored one by one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console

from learners import registry
from learners.deferred import Op
from learners.federated.fedavg import FedAvg
from learners.protocol import SERVER, Compute, Report, Sleep
from tests.contract.worlds import LEARNERS, calm, has_key
from wsim.engine import Run, simulate
from wsim.errors import DataError, ScenarioError, SimulationError
from wsim.evaluation import Evaluator, first_sustained
from wsim.generalization import generalization_gaps
from wsim.learning import _subset
from wsim.record import RunRecord
from wsim.report import summary_table
from wsim.scenario import Loaded, load_text
from wsim.series import levels_over_devices, over_devices
from wsim.series_report import gap_dicts

ALL = (
    'evaluation.subjects=["device", "mean_model"]',
    'evaluation.data=["global_test", "own_test"]',
    'evaluation.over_devices=["mean", "worst", "p10", "median", "best", "std", "disagreement"]',
    "data.local_test_fraction=0.25",
)


def played(loaded: Loaded, learner: Any = None) -> tuple[Run, RunRecord]:
    run = Run(loaded, "batched", None, None, learner, None)
    run.go()
    return run, run.record()


def series(record: RunRecord, subject: str, data: str, report: str = "model") -> int:
    return list(zip(record.series_report, record.series_subject, record.series_data, strict=True)).index(
        (report, subject, data)
    )


def scored(run: Run, value: Any, rows: np.ndarray | None) -> tuple[float, float]:
    """One model by hand."""
    task = run.learning.task
    x = run.learning.executor.read(value)
    samples = task.samples
    if rows is None:
        inputs, labels = samples.test_inputs, samples.test_labels
    else:
        inputs, labels = samples.train_inputs[rows], samples.train_labels[rows]
    w1, b1, w2, b2 = x[:64].view(8, 8), x[64:72], x[72:104].view(4, 8), x[104:]
    logits = torch.relu(inputs @ w1.T + b1) @ w2.T + b2
    accuracy = float((logits.argmax(1) == labels).double().mean())
    return accuracy, float(torch.nn.functional.cross_entropy(logits, labels))


def held(run: Run, report: str = "model") -> dict[int, Any]:
    return {node: kept.value for node, kept in run.evaluator._held[report].items()}


# -- subjects, data, over devices ---------------------------------------------------------------------------------------


def test_devices_and_their_mean_on_common_and_own_samples() -> None:
    run, record = played(calm("dpsgd", *ALL))
    models, tests = held(run), run.learning.own_tests
    rows = torch.stack([run.learning.executor.read(models[i]) for i in range(6)])
    mean = run.learning.executor.lift(rows.mean(0))
    expected = {
        ("device", "global_test"): [scored(run, models[i], None) for i in range(6)],
        ("device", "own_test"): [scored(run, models[i], tests[i]) for i in range(6)],
        ("mean_model", "own_test"): [scored(run, mean, tests[i]) for i in range(6)],
    }
    for (subject, data), scores in expected.items():
        number = series(record, subject, data)
        found = record.series_accuracy_by_device[number, -1], record.series_loss_by_device[number, -1]
        np.testing.assert_allclose(np.transpose(found), scores, rtol=0, atol=1e-12)
    number = series(record, "mean_model", "global_test")
    one = record.series_accuracy[number, -1], record.series_loss[number, -1]
    assert one == pytest.approx(scored(run, mean, None), abs=1e-12)
    assert np.isnan(record.series_accuracy_by_level[number]).all()

    accuracies = np.array(expected["device", "own_test"])[:, 0]
    number = series(record, "device", "own_test")
    assert record.levels == ["mean", "worst", "p10", "median", "best", "std"]
    levels = [accuracies.mean(), min(accuracies), np.quantile(accuracies, 0.1), np.median(accuracies), max(accuracies)]
    np.testing.assert_allclose(
        record.series_accuracy_by_level[number, -1], [*levels, np.std(accuracies)], rtol=0, atol=1e-12
    )
    assert record.series_accuracy[number, -1] == pytest.approx(accuracies.mean(), abs=1e-12)

    distance = float((rows - rows.mean(0)).square().sum(1).mean().sqrt())
    assert distance > 0.01
    for data in ("global_test", "own_test"):
        assert record.series_disagreement[series(record, "device", data), -1] == pytest.approx(distance, rel=1e-9)
    assert np.isnan(record.series_disagreement[series(record, "mean_model", "own_test")]).all()


TRAIN = ('evaluation.data=["global_test", "train"]', *ALL[:1], *ALL[2:3])


def test_the_generalization_gap_is_train_minus_test_accuracy() -> None:
    run, record = played(calm("dpsgd", *TRAIN))
    models, rows = held(run), run.learning.train_subset
    mean = run.learning.executor.lift(torch.stack([run.learning.executor.read(models[i]) for i in range(6)]).mean(0))
    test, train = ([scored(run, models[i], of)[0] for i in range(6)] for of in (None, rows))
    devices, mean_model = generalization_gaps(record)
    assert (devices.subject, mean_model.subject) == ("device", "mean_model")
    assert train != test
    assert devices.gap[-1] == pytest.approx(np.mean(train) - np.mean(test), abs=1e-12)
    assert devices.by_level["worst"][-1] == pytest.approx(min(train) - min(test), abs=1e-12)
    assert "std" not in devices.by_level
    assert mean_model.gap[-1] == pytest.approx(scored(run, mean, rows)[0] - scored(run, mean, None)[0], abs=1e-12)
    assert np.isnan(mean_model.by_level["mean"]).all()
    number = series(record, "device", "train")
    expected = [scored(run, models[i], rows)[1] for i in range(6)]
    np.testing.assert_allclose(record.series_loss_by_device[number, -1], expected, rtol=0, atol=1e-12)
    shown = gap_dicts(record)
    assert [gap["gap"] for gap in shown] == [devices.gap[-1], mean_model.gap[-1]]
    console = Console(file=io.StringIO(), width=120)
    console.print(summary_table(record))
    printed = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert f"devices · generalization gap {devices.gap[-1]:.4f} {devices.by_level['worst'][-1]:.4f}" in printed
    assert generalization_gaps(simulate(calm("dpsgd", *ALL))) == []


def test_half_of_a_generalization_gap_is_a_note() -> None:
    own_test = 'evaluation.data=["own_test", "train"]', "data.local_test_fraction=0.25", "stop.rounds=1"
    whole = 'evaluation.data=["global_test", "train"]', "stop.rounds=1"
    found = [simulate(calm("dpsgd", *overrides)).notes for overrides in (own_test, whole)]
    said = [[note for note in notes if note.startswith("no generalization gap: ")] for notes in found]
    assert said[0] != [] == said[1]
    assert said[0][0].endswith('[evaluation] data has no "global_test"')


DIVERGING = "algorithm.learning_rate=1e4", "algorithm.weight_decay=100", "algorithm.local_steps=30"


@pytest.mark.parametrize(("subjects", "whose"), [
    ('["device"]', "the models of 6 of 6 devices (0, 1, 2, 3, 4, 5)"),
    ('["mean_model"]', "the mean of the models"),
])  # fmt: skip
def test_models_that_diverge_are_a_note(subjects: str, whose: str) -> None:
    record = simulate(calm("dpsgd", *DIVERGING, f"evaluation.subjects={subjects}"))
    assert np.isfinite(record.accuracy).all(), "nothing else would say so"
    first = np.flatnonzero(~np.isfinite(record.test_loss))[0]
    note = record.diverged
    assert note is not None
    assert note in record.notes
    assert note.startswith(f"diverged: accuracy or loss of {whose} is not a finite number, first seen after ")
    assert note.endswith(f", round {record.eval_round[first]}")
    console = Console(width=200, file=io.StringIO())
    console.print(summary_table(record))
    assert f"note: {note}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_server_has_a_generalization_gap() -> None:
    run, record = played(calm("fedavg", *TRAIN[:1]))
    model = held(run)[run.world.server_index]
    server = generalization_gaps(record)[0]
    assert server.subject == "server"
    expected = scored(run, model, run.learning.train_subset)[0] - scored(run, model, None)[0]
    assert server.gap[-1] == pytest.approx(expected, abs=1e-12)


def test_the_train_subset_is_a_fixed_draw_of_what_the_devices_train_on() -> None:
    own = "data.local_test_fraction=0.25"
    learning = Run(calm("dpsgd", *TRAIN, own), "batched", None, None, None, None).learning
    subset = learning.train_subset
    union = np.unique(np.concatenate(learning.parts))
    assert len(subset) == min(len(learning.task.samples.test_labels), len(union))
    assert len(np.unique(subset)) == len(subset)
    assert np.isin(subset, union).all()
    assert not np.isin(subset, np.concatenate(learning.own_tests)).any()
    again, other = (
        Run(calm(learner, *TRAIN, own, f"seeds.data={seed}"), "batched", None, None, None, None).learning.train_subset
        for learner, seed in (("fedavg", 1), ("dpsgd", 2))
    )
    assert other.tolist() != again.tolist()
    assert subset.tolist() == again.tolist()  # of the seed of the data alone


@pytest.mark.parametrize(("size", "expected"), [(3, 3), (5, 5), (9, 5), (0, 0)])
def test_a_train_subset_is_never_larger_than_what_there_is(size: int, expected: int) -> None:
    parts = [np.array([1, 4, 9]), np.array([4, 20, 30])]
    assert len(_subset(parts, size, np.random.default_rng(1))) == expected


def test_a_single_evaluation_is_one_like_any_other() -> None:
    run, record = played(calm("dpsgd", *ALL, "stop.rounds=1"))
    models = held(run)
    assert len(record.eval_time_s) == 1
    expected = [scored(run, models[i], None)[0] for i in range(6)]
    number = series(record, "device", "global_test")
    np.testing.assert_allclose(record.series_accuracy_by_device[number, 0], expected, rtol=0, atol=1e-12)
    assert record.accuracy_worst[0] == pytest.approx(min(expected), abs=1e-12)


def test_the_first_of_each_list_is_the_headline() -> None:
    order = 'evaluation.subjects=["mean_model", "device"]', 'evaluation.data=["own_test", "global_test"]'
    _, record = played(calm("dpsgd", *ALL, *order, 'evaluation.over_devices=["std", "disagreement", "worst", "mean"]'))
    number = series(record, "mean_model", "own_test")
    assert number == 0
    np.testing.assert_array_equal(record.accuracy, record.series_accuracy_by_device[0].min(axis=1))
    np.testing.assert_array_equal(record.test_loss, record.series_loss_by_device[0].max(axis=1))
    np.testing.assert_array_equal(
        record.accuracy_by_device, record.series_accuracy_by_device[series(record, "device", "own_test")]
    )
    assert record.accuracy_worst[-1] == record.accuracy_by_device[-1].min()
    assert record.levels == ["worst", "mean", "std"]


def test_the_server_on_its_own_and_on_the_devices_samples() -> None:
    run, record = played(calm("fedavg", *ALL, 'evaluation.subjects=["server", "device"]'))
    model = held(run)[run.world.server_index]
    assert record.accuracy[-1] == pytest.approx(scored(run, model, None)[0], abs=1e-12)
    own = [scored(run, model, rows)[0] for rows in run.learning.own_tests]
    np.testing.assert_allclose(
        record.series_accuracy_by_device[series(record, "server", "own_test"), -1], own, rtol=0, atol=1e-12
    )


def test_without_keys_it_is_the_server_or_the_mean_over_devices() -> None:
    run, record = played(calm("fedavg"))
    assert record.series_subject == ["server", "device"]
    assert record.accuracy[-1] == pytest.approx(scored(run, held(run)[run.world.server_index], None)[0], abs=1e-12)
    run, record = played(calm("dpsgd"))
    assert record.series_subject == ["device"]
    mean = np.mean([scored(run, value, None)[0] for value in held(run).values()])
    assert record.accuracy[-1] == pytest.approx(mean, abs=1e-12)
    np.testing.assert_array_equal(record.accuracy, record.series_accuracy[0])


def test_until_the_server_has_reported_the_headline_is_the_devices() -> None:
    """As long as it is not said whose model is meant; they hold the initial model that they have downloaded."""
    early = "evaluation={every_s=0.001}", "stop={rounds=2}"
    run, record = played(calm("fedavg", *early))
    server, device = record.series_accuracy
    waiting = np.isnan(server) & ~np.isnan(device)
    assert waiting.any()
    np.testing.assert_array_equal(record.accuracy[waiting], device[waiting])
    np.testing.assert_array_equal(record.accuracy[~np.isnan(server)], server[~np.isnan(server)])
    named = "evaluation={every_s=0.001, subjects=['server', 'device']}"
    assert np.isnan(played(calm("fedavg", named, "stop={rounds=2}"))[1].accuracy[waiting]).all()


def test_groups_are_brought_together_apart() -> None:
    loaded = calm("dpsgd", *ALL, "devices.devices.count=4")
    run, record = played(loaded)
    assert record.group_names == ["devices"]
    np.testing.assert_array_equal(record.series_accuracy_by_group[:, :, 0], record.series_accuracy_by_level)
    run = Run(loaded, "batched", None, None, None, None)
    run.world.group[:] = [0, 1, 0, 1]
    run.world.group_names[:] = ["near", "far"]
    run.go()
    record = run.record()
    number = series(record, "device", "own_test")
    accuracies = record.series_accuracy_by_device[number]
    for group in (0, 1):
        np.testing.assert_allclose(
            record.series_accuracy_by_group[number, :, group, 0], accuracies[:, group::2].mean(axis=1), atol=1e-15
        )


@pytest.mark.parametrize("losses", [False, True])
def test_levels_leave_out_who_is_absent(losses: bool) -> None:
    rng = np.random.default_rng(8)
    values, present = rng.random((40, 7)), rng.random((40, 7)) < 0.5
    present[3] = False
    names = ("mean", "worst", "p10", "median", "best", "std")
    found = levels_over_devices(values, present, names, losses)
    for row, mask, levels in zip(values, present, found, strict=True):
        if not mask.any():
            assert np.isnan(levels).all()
            continue
        some = np.sort(row[mask])[:: -1 if losses else 1]  # the worst first
        tenth = np.quantile(some, 0.9 if losses else 0.1)
        expected = [some.mean(), some[0], tenth, np.median(some), some[-1], some.std()]
        np.testing.assert_allclose(levels, expected, rtol=1e-12)
        assert levels.tolist() == [float(over_devices(row[mask], name, losses)) for name in names]


# -- own test samples ---------------------------------------------------------------------------------------------------


def test_own_tests_are_taken_out_of_what_was_dealt() -> None:
    whole, _ = played(calm("dpsgd", "stop.rounds=1"))
    run, record = played(calm("dpsgd", "stop.rounds=1", "data.local_test_fraction=0.25"))
    for dealt, part, test in zip(whole.learning.parts, run.learning.parts, run.learning.own_tests, strict=True):
        assert sorted([*part, *test]) == sorted(dealt)
        assert len(test) == round(0.25 * len(dealt))
    np.testing.assert_array_equal(record.num_samples + record.num_test_samples, [len(p) for p in whole.learning.parts])


def test_a_device_with_one_sample_has_no_test_and_does_not_count() -> None:
    few = "data.partition=quantity_skew", "data.exponent=6.0"
    run, record = played(calm("dpsgd", *few, "stop.rounds=2", *ALL))
    assert record.num_test_samples.min() == 0 < record.num_test_samples.max()
    alone = record.num_test_samples == 0
    assert (record.num_samples[alone] == 1).all()
    number = series(record, "device", "own_test")
    accuracies = record.series_accuracy_by_device[number, -1]
    np.testing.assert_array_equal(np.isnan(accuracies), alone)
    assert record.series_accuracy[number, -1] == pytest.approx(accuracies[~alone].mean(), abs=1e-15)


def test_shared_samples_are_counted_in_a_note() -> None:
    shares = "data.samples_per_device=200", "data.local_test_fraction=0.2", "stop.rounds=1"
    note = next(note for note in simulate(calm("dpsgd", *shares)).notes if "own test samples" in note)
    run, _ = played(calm("dpsgd", *shares))
    tests, parts = run.learning.own_tests, run.learning.parts
    shared = sum(any(row in part for part in parts) for test in tests for row in test)
    assert note.startswith(f"{shared} of {sum(map(len, tests))} own test samples are training samples of other devices")


# -- what the learner reports -------------------------------------------------------------------------------------------


below_two = Op(lambda x, inputs, labels: labels < 2, name="below_two")


@dataclass(frozen=True)
class TwoHeads:
    """Trains alone; reports its model before and after each local training, and a head that is right for labels below 2."""

    task: Any
    codec: Any
    num_rounds: int | None
    local_steps: int = 2

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = (
        "model",
        "small_head",
        "after_local_training",
        "small_head/after_local_training",
    )

    def program(self, node: Any) -> Any:
        x = node.initial_parameters
        for _ in range(self.num_rounds or 1):
            yield Report("model", x)
            yield Report("small_head", x, below_two)
            steps = node.batches(16, steps=self.local_steps).steps
            x = yield Compute(self.task.sgd_step.scan, (x, steps, 0.5))
            yield Report("after_local_training", x)
            yield Report("small_head/after_local_training", x, below_two)


def two_heads(*overrides: str, learner: type = TwoHeads) -> tuple[Run, RunRecord]:
    loaded = calm("dpsgd")
    changes = [*loaded.overrides, "stop.rounds=2", *overrides]
    return played(load_text(loaded.text, changes, learner=learner), learner)


def test_heads_are_recorded_beside_each_other() -> None:
    run, record = two_heads()
    assert record.series_report == ["model", "small_head"]
    share = float((run.learning.task.test_labels < 2).double().mean())
    assert record.series_accuracy_by_device[1, -1].tolist() == pytest.approx([share] * 6, abs=1e-12)
    assert np.isnan(record.series_loss[1]).all()


def test_a_head_is_the_headline_where_it_is_chosen() -> None:
    _, alone = two_heads("evaluation.inference=small_head", "evaluation.other_reports=false")
    assert alone.series_report == ["small_head"]
    _, record = two_heads("evaluation.inference=small_head", "evaluation.targets={accuracy=[0.1]}")
    assert alone.accuracy.tolist() == record.accuracy.tolist()
    assert record.series_report == ["small_head", "model"]
    assert record.accuracy[-1] == record.series_accuracy[0, -1]
    assert (record.target_report, record.target_time_s[0]) == ("small_head", record.eval_time_s[0])


def test_models_after_local_training_are_measured_where_they_are_chosen() -> None:
    run, record = two_heads("evaluation.model_time=after_local_training")
    assert record.series_report == ["after_local_training", "model", "small_head"]
    trained = [scored(run, held(run, "after_local_training")[i], None)[0] for i in range(6)]
    np.testing.assert_allclose(record.accuracy_by_device[-1], trained, rtol=0, atol=1e-12)
    assert not np.array_equal(record.series_accuracy_by_device[0], record.series_accuracy_by_device[1])
    _, record = two_heads("evaluation.model_time=after_local_training", "evaluation.inference=small_head")
    assert record.series_report == ["small_head/after_local_training", "model", "small_head"]


@dataclass(frozen=True)
class Stranger(TwoHeads):
    reports: ClassVar[tuple[str, ...]] = ("model",)


def test_a_report_that_is_not_listed_is_named() -> None:
    with pytest.raises(
        SimulationError, match='node 0 reports "small_head", which the class of its learner does not list'
    ):
        two_heads(learner=Stranger)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("evaluation.inference=smal_head", 'dpsgd reports "model", "small_head", .* not "smal_head"; .*small_head\\?'),
        ("evaluation.model_time=after_local", 'not "after_local"; .*after_local_training\\?'),
    ],
)
def test_a_choice_that_is_not_reported_is_refused(override: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        two_heads(override)


@dataclass(frozen=True)
class Silent(FedAvg):
    """Its server has no model of its own, as where class prototypes are shared."""

    def program(self, node: Any) -> Any:
        program = super().program(node)
        return self._closing(program) if node.id == SERVER else program

    def _closing(self, program: Any) -> Any:
        answer = None
        while True:
            try:
                request = program.send(answer)
            except StopIteration:
                return
            answer = yield Report("model", None) if isinstance(request, Report) else request


def test_a_server_without_a_model_leaves_the_headline_to_the_devices() -> None:
    _, record = played(calm("fedavg", "evaluation.targets={accuracy=[0.01]}"), Silent)
    assert record.series_subject == ["device"]
    assert record.eval_round[-1] == 5
    np.testing.assert_array_equal(record.accuracy, record.series_accuracy[0])
    assert (record.target_subject, record.target_time_s[0]) == ("device", record.eval_time_s[0])


def test_a_headline_that_nobody_reports_is_a_note() -> None:
    _, record = played(calm("fedavg", 'evaluation.subjects=["server"]'), Silent)
    assert np.isnan(record.accuracy).all()
    line = "accuracies are of server · global test, and nobody has reported such a model; see [evaluation] subjects"
    assert record.notes[0] == line


@pytest.mark.parametrize("learner", ["fedavg", "dpsgd", "gossip", "local_only", "fedproto"])
def test_what_devices_hold_after_local_training(learner: str) -> None:
    """Averaging over devices takes the edge off a device's own training: on its own samples it is better before it."""
    chosen = "evaluation.model_time=after_local_training", 'evaluation.data=["own_test", "global_test"]'
    overrides = "data.local_test_fraction=0.2", "data.partition=dirichlet", "data.alpha=0.2", "stop.rounds=8"
    overrides = (*overrides, "algorithm.local_steps=10", "algorithm.learning_rate=0.3", *chosen)
    run, record = played(calm(learner, *overrides))
    assert record.series_report[0] == "after_local_training"
    after = record.series_accuracy[series(record, "device", "own_test", "after_local_training"), -1]
    before = record.series_accuracy[series(record, "device", "own_test", "model"), -1]
    assert record.accuracy[-1] == after
    if learner in ("local_only", "fedproto"):
        assert after == before
        assert [id(value) for value in held(run).values()] == [
            id(value) for value in held(run, "after_local_training").values()
        ]
    else:
        assert after > before + 0.01


@dataclass(frozen=True)
class OwnMetric(TwoHeads):
    def program(self, node: Any) -> Any:
        yield Report("model", node.initial_parameters, below_two)
        yield Sleep(0.1)


@pytest.mark.parametrize(
    "override", ['evaluation.subjects=["mean_model"]', 'evaluation.over_devices=["mean", "disagreement"]']
)
def test_a_mean_of_what_is_no_flat_model_is_refused(override: str) -> None:
    with pytest.raises(ScenarioError, match=r"mean_model and disagreement are of flat models of one architecture"):
        two_heads(override, learner=OwnMetric)


# -- targets ------------------------------------------------------------------------------------------------------------


def test_targets_are_met_at_the_first_evaluation_of_a_sustained_run() -> None:
    accuracy = np.array([0.5, 0.9, 0.4, 0.8, 0.85, 0.9, np.nan, 0.95])
    assert first_sustained(accuracy, 0.8, 1) == 1
    assert first_sustained(accuracy, 0.8, 2) == 3
    assert first_sustained(accuracy, 0.8, 3) == 3
    assert first_sustained(accuracy, 0.8, 4) is None


def test_targets_are_of_the_series_that_they_name() -> None:
    targets = 'evaluation.targets={accuracy=[0.3, 0.999], data="own_test", over_devices="p10", sustained_evaluations=2}'
    _, record = played(calm("dpsgd", *ALL, targets, "stop.rounds=12"))
    number = series(record, "device", "own_test")
    p10 = record.series_accuracy_by_level[number, :, record.levels.index("p10")]
    reached = [i for i in range(len(p10) - 1) if p10[i] >= 0.3 and p10[i + 1] >= 0.3]
    assert reached
    assert record.target_time_s[0] == record.eval_time_s[reached[0]]
    assert record.target_on_air_bits[0] == record.eval_on_air_bits[reached[0]]
    assert np.isnan(record.target_time_s[1])
    assert np.isnan(record.target_energy_j[1])


# -- tables that users would like to write ----------------------------------------------------------------------------

DECENTRALIZED = """evaluation = { every_s = 20.0, charge_time = false, subjects = ["device", "mean_model"],
  data = ["global_test", "own_test"], over_devices = ["mean", "worst", "p10", "std", "disagreement"],
  targets = { accuracy = [0.70, 0.75, 0.80], subject = "device", data = "global_test", over_devices = "mean",
    sustained_evaluations = 3 } }"""
PERSONALIZED = """evaluation = { every_s = 30.0, subjects = ["device"], data = ["own_test"],
  model_time = "after_local_training", inference = "method_default", over_devices = ["mean", "worst", "p10"],
  by_group = true, targets = { accuracy = [0.75, 0.80, 0.85], over_devices = "mean", sustained_evaluations = 3 } }"""


@pytest.mark.parametrize("learner", ["dpsgd", "gossip", "local_only"])
def test_a_decentralized_comparison(learner: str) -> None:
    table = " ".join(DECENTRALIZED.split())
    _, record = played(calm(learner, table.replace("20.0", "0.01"), "data.local_test_fraction=0.2"))
    assert record.series_subject == ["device", "device", "mean_model", "mean_model"]
    assert np.isfinite(record.series_accuracy[:, -1]).all()
    assert (record.sustained_evaluations, record.target_level) == (3, "mean")


@pytest.mark.parametrize("learner", ["fedavg", "fedproto", "local_only"])
def test_a_personalized_comparison(learner: str) -> None:
    table = " ".join(PERSONALIZED.split())
    _, record = played(calm(learner, table.replace("30.0", "0.01"), "data.local_test_fraction=0.2"))
    assert (record.series_report[0], record.series_subject[0], record.series_data[0]) == (
        "after_local_training", "device", "own_test",
    )  # fmt: skip
    assert record.by_group
    assert np.isfinite(record.accuracy[-1])


# -- cost ---------------------------------------------------------------------------------------------------------------


def test_equal_models_are_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients hold is the server's model of the round before: one new model an evaluation, and its mean with itself."""
    asked: list[int] = []
    run = Run(
        calm("fedavg", 'evaluation.subjects=["server", "device", "mean_model"]'), "batched", None, None, None, None
    )
    score = run.learning.score
    monkeypatch.setattr(run.learning, "score", lambda questions: asked.append(len(questions)) or score(questions))
    run.go()
    assert asked[0] == 2  # the initial model, which the clients hold, and the server's first
    assert set(asked[1:-1]) == {1}
    assert len(asked) == 5


def test_an_estimate_measures_nothing_and_takes_as_long() -> None:
    loaded = calm("dpsgd", *ALL, 'evaluation.data=["global_test", "own_test", "train"]')
    estimate, record = simulate(loaded, executor="null"), simulate(loaded)
    assert estimate.event_digest == record.event_digest
    for name in ("accuracy", "test_loss", "series_accuracy", "series_accuracy_by_device", "series_disagreement"):
        found = getattr(estimate, name)
        assert found.shape == getattr(record, name).shape
        assert np.isnan(found).all()


def test_measuring_more_changes_nothing_else() -> None:
    plain = simulate(calm("dpsgd", "data.local_test_fraction=0.25"))
    full = simulate(calm("dpsgd", *ALL, 'evaluation.data=["global_test", "train", "own_test"]'))
    assert full.event_digest == plain.event_digest
    np.testing.assert_array_equal(full.accuracy, plain.accuracy)
    np.testing.assert_array_equal(full.accuracy_by_device, plain.accuracy_by_device)
    np.testing.assert_array_equal(full.energy_j, plain.energy_j)


# -- what cannot be measured is refused when the scenario is loaded -------------------------------------------------------

VARIANTS = 'model.variants=[{name="mlp", hidden=[8]}, {name="mlp", hidden=[4]}]'


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (['evaluation.subjects=["server"]'], r'subjects\.0 = "server": needs a \[server\], which is missing'),
        (['evaluation.subjects=["device", "device"]'], r'subjects\.1 = "device": is listed twice'),
        (["evaluation.subjects=[]"], r"subjects = \[\]: is empty; name what to measure"),
        (['evaluation.subjects=["divice"]'], r'accepted are "device", "server", "mean_model" \(device\?\)'),
        (['evaluation.data=["own_test"]'], r'data\.0 = "own_test": needs \[data\] local_test_fraction, such as 0.2'),
        (['evaluation.data=["train", "global_test"]'], r'data\.0 = "train": the first is the headline, .* name "global_test" before it'),
        (['evaluation.data=["trian"]'], r'accepted are "global_test", "own_test", "own_classes", "own_view", "own_scale", "train", and "scale_16" of a control problem \(train\?\)'),
        (['evaluation.targets={accuracy=[0.5], data="train"}'], r'data = "train": is not measured; \[evaluation\] data = '),
        (['evaluation.over_devices=["std"]'], r"over_devices = .*: holds no accuracy; at least one of"),
        (
            ['evaluation.subjects=["mean_model"]', 'evaluation.over_devices=["mean", "disagreement"]'],
            r'over_devices\.1 = "disagreement": is of the devices\' models; add "device" to subjects',
        ),
        (["evaluation.charge_time=true"], r"charge_time = true: evaluation costs no simulated time in this version"),
        (["evaluation.inference=head"], r'inference = "head": dpsgd reports "model", .*not "head"'),
        (["evaluation.model_time=before"], r'model_time = "before": dpsgd reports "model", .*not "before"'),
        (
            ['evaluation.targets={accuracy=[0.5], subject="mean_model"}'],
            r'subject = "mean_model": is not measured; \[evaluation\] subjects = \["device"\]',
        ),
        (['evaluation.targets={accuracy=[0.5], data="own_test"}'], r'\[evaluation\] data = \["global_test"\]'),
        (['evaluation.targets={accuracy=[0.5], over_devices="best"}'], r"\[evaluation\] over_devices = "),
        (["evaluation.targets={cross_subspace_accuracy=[0.8]}"], r"\[evaluation.targets\] cross_subspace_accuracy .*unknown key, known"),
        (["data.local_test_fraction=1.0"], r"local_test_fraction = 1: fractions are between 0 and 1"),
    ],
)  # fmt: skip
def test_impossible_requests_are_refused_in_one_line(overrides: list[str], words: str) -> None:
    with pytest.raises(ScenarioError, match=words) as error:
        calm("dpsgd", *overrides)
    assert "\n" not in str(error.value)


OF_THE_MEAN = pytest.mark.parametrize(
    "key", ['subjects=["device", "mean_model"]', 'over_devices=["mean", "disagreement"]']
)


@OF_THE_MEAN
@pytest.mark.parametrize(("time", "report"), [("method_default", "model"), ("after_local_training",) * 2])
def test_a_mean_of_a_report_with_its_own_metric_is_refused_on_loading(key: str, time: str, report: str) -> None:
    words = (
        rf'\.1 = ".*": is of models .* fedproto reports as "{report}" is not one; leave it out, or inference = "head"'
    )
    with pytest.raises(ScenarioError, match=words) as error:
        calm("fedproto", f"evaluation.{key}", f"evaluation.model_time={time}")
    assert "\n" not in str(error.value)


@OF_THE_MEAN
def test_a_mean_of_fedprotos_heads_is_measured(key: str) -> None:
    record = simulate(calm("fedproto", f"evaluation.{key}", "evaluation.inference=head"))
    assert np.isfinite(record.accuracy[-1])


@pytest.mark.parametrize("learner", LEARNERS)
def test_reports_that_bring_a_metric_along_are_listed(learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own: set[str] = set()
    report = Evaluator.report

    def listening(self: Evaluator, node: Any, given: Report) -> None:
        own.update([given.name] if given.metric is not None else [])
        report(self, node, given)

    monkeypatch.setattr(Evaluator, "report", listening)
    head = ["algorithm.head=linear"] if has_key(learner, "head") else []
    simulate(calm(learner, "stop.rounds=2", *head))
    assert own == set(getattr(registry.load("learner", learner), "own_metrics", ()))


@OF_THE_MEAN
def test_a_mean_over_architectures_is_refused(key: str) -> None:
    with pytest.raises(
        ScenarioError, match="needs one architecture at all devices, and .* variants gives them several"
    ):
        calm("local_only", VARIANTS, f"evaluation.{key}")


def test_one_sample_everywhere_leaves_nothing_to_test() -> None:
    with pytest.raises(DataError, match=r"calm \[data\]: local_test_fraction = 0.2: no device has two samples"):
        simulate(calm("dpsgd", "data.samples_per_device=1", "data.local_test_fraction=0.2"), executor="null")
