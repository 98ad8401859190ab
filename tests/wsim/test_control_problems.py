"""Control problems as data: every learner of flat models runs on them, scales change with time, tests are by scale, bad input is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from learners.control.scale_stream import ScaleWalk, decoded
from learners.protocol import SERVER
from tests.contract.worlds import LEARNERS, calm, kind_of
from wsim import results
from wsim.engine import simulate
from wsim.errors import DataError, ScenarioError
from wsim.report import summary_dict
from wsim.views import open_results

SMALL = [
    'data={name="interference_channel", scales=[2, 3], train_samples=24, test_samples=4, noise=1.0, test_scales=[5]}',
    'model={name="edge_equivariant", hidden=[4]}',
]
NEED_NO_CLASSES = [name for name in LEARNERS if not getattr(kind_of(name), "needs_classes", False)]
CUT_MODELS = ("heterofl", "split_learning")
"""These cut classifiers into parts, and say so."""


@pytest.mark.parametrize("learner", [name for name in NEED_NO_CLASSES if name not in CUT_MODELS])
def test_every_learner_of_flat_models_controls(learner: str) -> None:
    record = simulate(calm(learner, *SMALL, "stop.rounds=2"))
    assert 0.2 < record.accuracy[-1] < 1.3
    assert record.series_loss[0][-1] < 0  # minus a rate


@pytest.mark.parametrize("learner", [name for name in LEARNERS if name not in NEED_NO_CLASSES])
def test_what_needs_classes_is_refused(learner: str) -> None:
    with pytest.raises(ScenarioError, match=r"\[algorithm\] name = .*learns from classes") as error:
        calm(
            learner,
            *SMALL,
            *(["data.public_fraction=0.2"] if learner in ("fedmd", "feddf") else []),
            "evaluation.metrics=[]",
            "evaluation.inference=method_default",
        )
    assert "\n" not in str(error.value)


def test_scales_are_a_function_of_seed_and_time() -> None:
    def walk() -> ScaleWalk:
        return ScaleWalk(6, 0.5, 4, 8, lambda: np.random.default_rng(7))

    times = np.arange(0, 50, 0.25)
    forth = walk()
    scales = [forth.at(time) for time in times]
    back = walk()
    assert [back.at(time) for time in times[::-1]] == scales[::-1]
    assert scales[0] == scales[1] == 6
    assert set(scales) == {4, 5, 6, 7, 8}
    assert set(np.abs(np.diff(scales[::2]))) <= {0, 1}
    assert {ScaleWalk(6, None, 4, 8, lambda: np.random.default_rng(7)).at(time) for time in times} == {6}


@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_a_code_stands_for_the_first_objects_of_a_row(kind: str) -> None:
    pool = torch.rand(5, 4, 5 if kind == "matrix" else 2, dtype=torch.float64) + 1
    pool[..., -1] = 1
    row, scale = torch.tensor([3, 0, 3]), torch.tensor([2, 4, 1])
    samples = decoded(row + 5 * scale, pool, kind)  # type: ignore[arg-type]
    for sample, r, k in zip(samples, row.tolist(), scale.tolist(), strict=True):
        assert sample[:, -1].tolist() == [1] * k + [0] * (4 - k)
        width = k if kind == "matrix" else 1
        assert torch.equal(sample[:k, :width], pool[r, :k, :width])
        assert sample[..., :-1].sum() == pool[r, :k, :width].sum()


def control(*overrides: str) -> list[str]:
    return [*SMALL, "stop.rounds=3", *overrides]


def test_own_scale_and_single_scales_are_tested_apart() -> None:
    data = 'evaluation.data=["own_scale", "global_test", "scale_2", "scale_3", "scale_5"]'
    record = simulate(calm("fedavg", *control(data, 'evaluation.subjects=["server", "device"]')))
    found = dict(
        zip(zip(record.series_subject, record.series_data, strict=True), record.series_accuracy[:, -1], strict=True)
    )
    two, three = found["server", "scale_2"], found["server", "scale_3"]
    assert two != three
    assert found["server", "global_test"] == pytest.approx((two + three) / 2, rel=1e-6)
    by_device = record.series_accuracy_by_device[0][-1]  # server's model on each device's own scale
    assert by_device[::2] == pytest.approx(two)
    assert by_device[1::2] == pytest.approx(three)


def test_a_model_of_few_objects_has_no_score_at_more() -> None:
    data = 'evaluation.data=["global_test", "scale_5"]'
    record = simulate(calm("fedavg", *control(data, 'model={name="padded_mlp", hidden=[4]}')))
    assert np.isfinite(record.series_accuracy[0, -1])
    assert np.isnan(record.series_accuracy[record.series_data.index("scale_5"), -1])


def test_results_say_that_accuracy_is_a_share_and_targets_may_be_above_one(tmp_path: Path) -> None:
    """Untrained powers are one half and more of the largest: at noise 100 they have some half of the rate and more, and 9 times it nobody."""
    record = simulate(calm("fedavg", *control("data.noise=100.0", "evaluation.targets={accuracy=[0.3, 9.0]}")))
    assert np.isfinite(record.target_time_s).tolist() == [True, False]
    assert summary_dict(record)["accuracy_is"] == "share of the WMMSE rate"
    results.write(record, tmp_path / "a.h5")
    assert open_results(tmp_path).runs.measured[0] == "server · global test, share of the WMMSE rate"
    assert summary_dict(simulate(calm("fedavg", "stop.rounds=1"), "null"))["accuracy_is"] == "accuracy"


def test_padding_is_not_charged() -> None:
    """Devices of 3 objects of at most 3 compute at full price, those of 2 for less, and by as much as unpadded samples take."""
    record = simulate(calm("local_only", *control("devices.0.compute.spread=none", "stop.rounds=1")))
    seconds = record.processor_s[:, 0]
    run_of_three = simulate(
        calm("local_only", *control("devices.0.compute.spread=none", "stop.rounds=1", "data.scales=[3]"))
    )
    assert seconds[1] == pytest.approx(run_of_three.processor_s[1, 0], rel=1e-6)
    run_of_two = simulate(
        calm("local_only", *control("devices.0.compute.spread=none", "stop.rounds=1", "data.scales=[2]"))
    )
    assert seconds[0] == pytest.approx(run_of_two.processor_s[0, 0], rel=1e-6)
    assert seconds[0] < 0.8 * seconds[1]


def test_an_estimate_has_the_times_of_the_run() -> None:
    walking = calm("fedavg", *control("data.scale_every_s=0.05", "data.scales=[2, 5]", "data.test_scales=[]"))
    run, estimate = simulate(walking), simulate(walking, "null")
    assert estimate.simulated_s == run.simulated_s
    assert np.array_equal(estimate.processor_s, run.processor_s)
    assert len(np.unique(np.round(run.processor_s[:6, 0], 9))) > 2  # two scales alone would make two


def test_the_window_of_the_executor_changes_no_bit() -> None:
    walking = calm("dpsgd", *control("data.scale_every_s=0.05", "data.test_scales=[]", "dtype=float32"))
    one, many = (simulate(walking, window=window) for window in (1, 4096))
    assert one.event_digest == many.event_digest
    assert np.array_equal(one.series_accuracy_by_device, many.series_accuracy_by_device)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.scales=[0, 2]", r"\[data\] scales"),
        ("data.scales=[]", r"\[data\] scales"),
        ("data.test_scales=[0]", r"\[data\] test_scales"),
        ("data.noise=0.0", r"\[data\] noise"),
        ("data.noise=-1.0", r"\[data\] noise"),
        ('data={name="parallel_channels", budget=0.0}', r"\[data\] budget"),
        ('data={name="parallel_channels", mean_gain=-5.0}', r"\[data\] mean_gain"),
        ('data={name="interference_channel", scales=[3], scale_every_s=1.0}', "no room"),
        ('data.name="parallel_channels"', "does not decide|unknown key"),
        (
            'model={name="mlp"}',
            r"\[model\] name = \"mlp\": does not decide about objects of data interference_channel; one of .*edge_equivariant",
        ),
        ('evaluation.data=["own_test"]', "have no labelled samples"),
        ('evaluation.data=["scale_7"]', "nothing is tested with 7 objects"),
        ('evaluation.data=["scale_x"]', "accepted are"),
        ("task.objective=cross_entropy", r"\[task\] objective"),
        ("data.local_test_fraction=0.2", r"\[data\] local_test_fraction"),
        ('model.variants=[{name="edge_equivariant"}]', r"\[model\] variants"),
        ('evaluation.metrics=["effective_rank"]', r"\[evaluation\] metrics"),
        ("model.head=ego", r'\[model\] head = "ego": decides about one object'),
        (
            'data={name="parallel_channels"}; model={name="equivariant", head="invariant"}',
            r'\[model\] head = "invariant": gives all objects one score',
        ),
        ("evaluation.targets={accuracy=[10.5]}", r"accuracy\.0 = 10.5: accuracies are below 1, shares .* at most 10"),
    ],
)
def test_bad_input_is_one_line(override: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as error:
        calm("fedavg", *SMALL, *override.split("; "))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ('model={name="edge_equivariant"}', "is a controller, and data gaussian_mixture are samples to classify"),
        ('evaluation.data=["scale_4"]', "is of control problems"),
        ('evaluation.data=["own_scale"]', "is of control problems"),
        (
            "evaluation.targets={accuracy=[0.9, 1.0]}",
            r"accuracy\.1 = 1: accuracies are below 1; only of control problems",
        ),
    ],
)
def test_controllers_and_scales_are_of_control_problems(override: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as error:
        calm("fedavg", override)
    assert "\n" not in str(error.value)


def test_payloads_are_the_sub_matrices_both_ways_whatever_the_scale() -> None:
    """2 hidden units: (2 + 4) * 2 + 2 numbers of the first layer, (2 + 4) + 1 of the last, 32 bits each; scales walk meanwhile."""
    small = 'model={name="edge_equivariant", hidden=[2]}'
    requests: list[tuple[object, ...]] = []
    simulate(
        calm("fedavg", *control("data.scale_every_s=0.02", "data.scales=[2, 9]", "data.test_scales=[]", small)),
        trace=requests,
    )
    num_bits = {(request[0] == SERVER, request[5]) for request in requests if request[1] == "send"}
    num_params = (2 + 4) * 2 + 2 + (2 + 4) + 1
    assert num_bits == {(True, 32 * num_params), (False, 32 * num_params)}


def test_who_joins_controls_at_its_own_scale_at_once() -> None:
    """Zero-shot: with the server's model, before any training of its own, and with nothing sent but that model. Shares are of the server's
    model on the joining device's scale and of the device's own."""
    joins = 'devices=[{name="a", count=3, compute={effective_flops=1e6}, radio={tx_power_dbm=20.0}}, '
    joins += '{name="late", count=1, like="a", churn={kind="schedule", join_s=[0.2]}}]'
    data = 'evaluation.data=["scale_3"]'
    loaded = calm(
        "fedavg",
        *control(
            joins,
            data,
            "data.scales=[2, 2, 2, 3]",
            "data.test_scales=[]",
            "stop.rounds=30",
            'evaluation.subjects=["server", "device"]',
        ),
    )
    record = simulate(loaded)
    joined = next(
        i for i, time_s in enumerate(record.eval_time_s) if np.isfinite(record.series_accuracy_by_device[1][i, 3])
    )
    assert record.eval_time_s[joined] < 0.25 < record.eval_time_s[-1]
    assert joined > 2
    server = record.series_accuracy[0]
    assert record.series_accuracy_by_device[1][joined, 3] in (server[joined], server[joined - 1])


def recorded(folder: Path, scales: str = "[2, 3]", /, **arrays: np.ndarray) -> list[str]:
    np.savez(folder / "channels.npz", **arrays)
    data = f'data={{name="recorded_channels", file="{folder}/channels.npz", scales={scales}}}'
    return [data, 'model={name="edge_equivariant", hidden=[4]}', "stop.rounds=1"]


@pytest.mark.parametrize("scales", ["[2, 3]", "[3]"])
def test_recorded_gains_are_learned_from(scales: str, tmp_path: Path) -> None:
    gains = np.random.default_rng(3).exponential(10.0, (30, 3, 3))
    record = simulate(calm("fedavg", *recorded(tmp_path, scales, gains=gains, types=np.zeros(3, dtype=np.int64))))
    assert 0.3 < record.accuracy[-1] < 1.3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gains": -np.ones((4, 3, 3))}, "not negative"),
        ({"gains": np.zeros((4, 3, 3))}, "tests with 2 objects: the reference's mean rate is 0 bit/s/Hz"),
        ({"gains": np.ones((4, 0, 0))}, "K = 0"),
        ({"gains": np.ones((4, 3, 3)), "types": np.array([0, 0, 1])}, "exchangeable"),
        ({"gains": np.ones((4, 2, 2))}, "scales: up to 3 links"),
        ({"gains": np.ones((1, 3, 3))}, "at least two"),
    ],
)
def test_recorded_gains_that_cannot_be_are_refused_in_one_line(
    changes: dict[str, np.ndarray], says: str, tmp_path: Path
) -> None:
    with pytest.raises((ScenarioError, DataError), match=says) as error:
        simulate(calm("fedavg", *recorded(tmp_path, **changes)))
    assert "\n" not in str(error.value)
