"""The benchmarks compare like with like: the two floors train the same models, and their scenarios load."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import floor, run
from wsim.scenario import load


@pytest.mark.parametrize("workload", ["fedavg", "dpsgd"])
def test_plain_and_stacked_floors_end_at_the_same_accuracy(workload: str) -> None:
    problem = floor.make_problem("dirichlet")
    _, _, loops = floor.WORKLOADS[workload]
    plain, stacked = (loops[variant](problem, 2, 3) for variant in ("plain", "stacked"))
    # The same sums in another order: rounding may turn a near-tie of one test sample in a model or two.
    assert plain == pytest.approx(stacked, abs=2 / len(problem.test_labels))


@pytest.mark.parametrize("path", sorted(run.FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_benchmark_scenario_loads(path: Path) -> None:
    loaded = load(path)
    assert loaded.scenario.scenario.name == path.stem
    load(path, run.WARM_UP)


def test_floor_and_scenario_describe_the_same_training() -> None:
    for training in run.TRAINING.values():
        scenario = load(run.FOLDER / training.scenario, training.overrides).scenario
        chosen = scenario.algorithm.hyperparameters
        assert scenario.num_devices == floor.NUM_DEVICES
        assert (chosen["batch_size"], chosen["learning_rate"]) == (floor.BATCH_SIZE, floor.LEARNING_RATE)
        if training.floor:
            rounds, steps, _ = floor.WORKLOADS[training.floor]
            assert (scenario.stop.rounds, chosen["local_steps"]) == (rounds, steps)


def test_goals_name_what_is_measured() -> None:
    names = {f"{name} {variant}" for name, training in run.TRAINING.items() for variant in training.variants}
    names |= {f"{name} wsim" for name in (*run.ESTIMATES, "help")}
    assert {need for goal in run.GOALS for need in goal.needs} <= names
