"""What devices measure of the algorithm: recorded is what they gave last, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
import torch

from learners.decentralized.drt_diffusion import DrtDiffusion
from learners.deferred import op
from learners.loopback import LoopbackNode, loopback
from learners.protocol import SERVER, Compute, Measure, Report, Sleep
from tests.contract.worlds import calm
from tests.wsim.records import make_record
from wsim import results
from wsim.engine import simulate
from wsim.errors import ResultError, SimulationError
from wsim.measures import Measures
from wsim.measures_picture import draw_measures, plot_measures
from wsim.record import RunRecord
from wsim.scenario import load_text

CUTS = (72, 36)  # layers of the calm world's MLP: 8 x 8 + 8 and 8 x 4 + 4


@dataclass(frozen=True)
class Watched(DrtDiffusion):
    """DRT diffusion that keeps psi of every round."""

    psi: ClassVar[dict[int, list[Any]]] = {}

    def program(self, node: Any) -> Any:
        program, answer = super().program(node), None
        while True:
            try:
                request = program.send(answer)
            except StopIteration:
                return
            if isinstance(request, Report) and request.name == "after_local_training":
                self.psi.setdefault(node.id, []).append(request.value)
            answer = yield request


def numbers(value: Any) -> np.ndarray:
    """Of a deferred or plain tensor."""
    found: np.ndarray = (value if isinstance(value, torch.Tensor) else value.tensor()).numpy()
    return found


def by_hand(own: np.ndarray, other: np.ndarray) -> tuple[float, list[float]]:
    """DRT of a device to its one neighbor, and the neighbor's weight by layer: c = 1/2 times prod_{q != p} (1 + r_q^2) in
    [1/2, 2], at most 0.95."""
    ends = np.cumsum(CUTS)[:-1]
    r = [
        np.linalg.norm(a - b) / np.linalg.norm(a)
        for a, b in zip(np.split(own, ends), np.split(other, ends), strict=True)
    ]
    kappa = [1 + r[1] ** 2, 1 + r[0] ** 2]
    return (1 + r[0]) * (1 + r[1]) - 1, [min(0.5 * min(max(k, 0.5), 2.0), 0.95) for k in kappa]


@pytest.mark.parametrize("executor", ["eager", "batched"])
def test_recorded_trust_and_weights_of_two_devices_are_those_by_hand(executor: str) -> None:
    Watched.psi.clear()
    record = simulate(calm("drt_diffusion", "devices.0.count=2", "topology.kind=chain"), executor, learner=Watched)
    assert record.measure_name == [
        *["deep_relative_trust"] * 2,
        *["own_weight"] * 2,
        *["largest_neighbor_weight"] * 2,
    ]
    assert record.measure_component == ["mean", "largest", *["layer 0", "layer 1"] * 2]
    assert record.measure_value.shape == (6, len(record.eval_time_s), 2)
    assert record.eval_round.tolist() == [1, 2, 3, 4, 5]
    psi = {device: [numbers(value) for value in values] for device, values in Watched.psi.items()}
    for k in range(5):
        for device in range(2):
            trust, weights = by_hand(psi[device][k], psi[1 - device][k])
            expected = [trust, trust, *(1 - w for w in weights), *weights]
            assert record.measure_value[:, k, device].tolist() == pytest.approx(expected, abs=1e-12)
    assert record.measure_value[0].min() > 0.01  # the devices do differ


def test_a_device_that_hears_nobody_has_no_trust() -> None:
    record = simulate(calm("drt_diffusion", "topology.kind=chain", "algorithm.deadline_s=1e-9"))
    assert record.measure_name == []


# -- a learner that only measures ---------------------------------------------------------------------------------------


@op(flops=lambda x: x.numel())
def double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@dataclass(frozen=True)
class Thermometer:
    """Measures, in round k of device i, (i, k) and, as an op's result, [2k] of one; device 1 takes both back in the second."""

    task: Any
    codec: Any
    num_rounds: int | None
    local_steps: int = 1  # nobody trains

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {
        "place": ("device", "round"),
        "twice": "round",
        "never": "x",
    }

    def program(self, node: Any) -> Any:
        for k in range(self.num_rounds or 1):
            twice = yield Compute(double, (node.tensor([float(k)]),))
            yield from self.measured(node, k, twice)
            yield Sleep(1.0)
            yield Report("model", node.initial_parameters)

    def measured(self, node: Any, k: int, twice: Any) -> Any:
        gone = node.id == 1 and k == 1
        yield Measure("place", None if gone else node.tensor([float(node.id), float(k)]))
        yield Measure("twice", None if gone else twice)


@dataclass(frozen=True)
class Silent(Thermometer):
    def measured(self, node: Any, k: int, twice: Any) -> Any:
        yield from ()


def with_learner(learner: type, executor: str = "batched", *overrides: str) -> RunRecord:
    loaded = calm("dpsgd")
    changes = [*loaded.overrides, "stop.rounds=3", *overrides]
    return simulate(load_text(loaded.text, changes, learner=learner), executor, learner=learner)


@pytest.mark.parametrize("executor", ["eager", "batched"])
def test_what_was_measured_last_is_recorded_and_what_was_taken_back_is_not(executor: str) -> None:
    record = with_learner(Thermometer, executor)
    assert list(zip(record.measure_name, record.measure_component, strict=True)) == [
        ("place", "device"),
        ("place", "round"),
        ("twice", "round 0"),
    ]
    assert record.measure_value[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert record.measure_value[1, 2].tolist() == [2.0] * 6
    assert record.measure_value[2, 2].tolist() == [4.0] * 6
    assert np.isnan(record.measure_value[:, 1, 1]).all()
    assert np.isnan(record.measure_value).sum() == 3


def test_measuring_takes_no_time_and_is_no_event(tmp_path: Path) -> None:
    measured, silent = with_learner(Thermometer), with_learner(Silent)
    assert measured.event_digest == silent.event_digest
    np.testing.assert_array_equal(measured.eval_time_s, silent.eval_time_s)
    np.testing.assert_array_equal(measured.energy_j, silent.energy_j)
    results.write(silent, tmp_path / "silent.h5")
    with h5py.File(tmp_path / "silent.h5") as file:
        assert "measures" not in file["metrics"]
    again = results.read(tmp_path / "silent.h5")
    assert (again.measure_name, again.measure_value.shape) == ([], (0, 0, 0))
    results.write(again, tmp_path / "again.h5")
    assert results.content_digest(tmp_path / "again.h5") == results.content_digest(tmp_path / "silent.h5")


def test_the_bench_without_a_simulator_keeps_them() -> None:
    nodes = [LoopbackNode(i, (), torch.zeros(1), np.random.default_rng(i)) for i in range(2)]
    bench = loopback(Thermometer(None, None, 2).program, nodes)
    places = [(kept.node, kept.value if kept.value is None else kept.value.tolist()) for kept in bench.measures[::2]]
    assert sorted(places, key=lambda place: place[0]) == [(0, [0, 0]), (0, [0, 1]), (1, [1, 0]), (1, None)]
    assert bench.trace.count((0, "measure", "twice")) == 2


def test_an_estimate_has_none() -> None:
    assert with_learner(Thermometer, "null").measure_name == []


# -- what cannot be ------------------------------------------------------------------------------------------------------


class Plain:
    """The learning side, of numbers that are there."""

    estimates = False

    def numbers(self, values: Sequence[torch.Tensor]) -> np.ndarray:
        return torch.stack(list(values)).numpy()


def node(id: int) -> Any:
    return SimpleNamespace(id=id)


def test_who_does_not_count_is_left_out() -> None:
    measures = Measures({"share": ("all",)}, 3, Plain())
    for device in range(3):
        measures.keep(node(device), Measure("share", torch.tensor([0.5])))
    assert measures.evaluate(lambda device: device != 1)["share"].tolist() == [
        [0.5, pytest.approx(np.nan, nan_ok=True), 0.5]
    ]
    assert measures.evaluate(lambda device: False) == {}


@pytest.mark.parametrize(
    ("device", "name", "value", "says"),
    [
        (0, "weight", [1.0], 'node 0 measures "weight", which the class of its learner does not list in `measures`'),
        (SERVER, "share", [1.0, 2.0], 'the server measures "share" of no device; it can measure of devices only'),
        (
            0,
            "share",
            [1.0],
            r'"share" as an array of shape \[1\]; it is a vector of its components, of which there are 2',
        ),
        (0, "layers", [1.0, 2.0], r'"layers" as an array of shape \[2\]; .*, of which there are 3'),
        (0, "new", [[1.0]], r'"new" as an array of shape \[1, 1\]; it is a vector of its components'),
        (0, "new", 1.0, r'"new" as an array of shape \[\]; it is a vector of its components'),
    ],
)
def test_measures_that_cannot_be_recorded_are_refused_in_one_line(
    device: int, name: str, value: Any, says: str
) -> None:
    measures = Measures({"share": ("own", "other"), "layers": "layer", "new": "layer"}, 2, Plain())
    measures.keep(node(1), Measure("layers", torch.zeros(3)))
    with pytest.raises(SimulationError, match=says) as error:
        measures.keep(node(device), Measure(name, torch.tensor(value)))
    assert "\n" not in str(error.value)


# -- the picture ----------------------------------------------------------------------------------------------------------


def test_the_picture_has_a_panel_a_measure_and_a_line_a_component() -> None:
    record = make_record()
    trust, weight = draw_measures(record).axes
    assert [axis.get_title(loc="left") for axis in (trust, weight)] == ["deep relative trust", "own weight"]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in weight.get_lines()}
    np.testing.assert_allclose(lines["layer 1"], np.nanmean(record.measure_value[3], axis=1))
    assert len(weight.collections) == 2  # a band each


def test_of_many_components_three_are_named() -> None:
    names, components = ["own_weight"] * 20, [f"layer {i}" for i in range(20)]
    values = np.random.default_rng(1).uniform(size=(20, 60, 20))
    values[:, 0] = np.nan
    record = make_record(measure_name=names, measure_component=components, measure_value=values)
    (axis,) = draw_measures(record).axes
    assert len(axis.get_lines()) == 20
    assert axis.get_legend_handles_labels()[1] == ["layer 0", "layer 10", "layer 19"]
    assert np.isnan(axis.get_lines()[3].get_ydata()[0])


def test_without_measures_there_is_no_picture(tmp_path: Path) -> None:
    record = make_record(measure_name=[], measure_component=[], measure_value=np.empty((0, 60, 20)))
    with pytest.raises(ResultError, match='holds no measures; fedavg gives none, .*staleness by .*late = "use"'):
        plot_measures(record, tmp_path / "x.png")
