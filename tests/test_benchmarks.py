"""The benchmarks compare like with like: the two floors train the same models, and their scenarios load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import codecs, control, floor, mnist, neighbors, run, semantic, servers
from learners import registry
from tests.learners import data_files
from wsim.engine import simulate
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
        modules = {"mnist": mnist, "floor": floor, "neighbors": neighbors, "servers": servers, "semantic": semantic}
        scenario = load(run.FOLDER / training.scenario, training.overrides).scenario
        chosen = scenario.algorithm.hyperparameters
        if training.module == "control":
            fleet = (scenario.num_devices, chosen["batch_size"], scenario.stop.rounds)
            assert fleet == control.FLEETS["_few" if training.floor.endswith("_few") else ""]
            assert (chosen["local_steps"], chosen["learning_rate"]) == (control.STEPS, control.LEARNING_RATE)
            continue
        module: Any = modules[training.module]
        assert scenario.num_devices == module.NUM_DEVICES
        assert (chosen["batch_size"], chosen["learning_rate"]) == (module.BATCH_SIZE, module.LEARNING_RATE)
        if module is mnist:
            assert (scenario.stop.rounds, chosen["local_steps"]) == (mnist.NUM_ROUNDS, mnist.NUM_STEPS)
            assert (scenario.data.partition, scenario.data.own["alpha"]) == ("dirichlet", mnist.ALPHA)
        elif module is neighbors:
            _, rounds, steps = neighbors.WORKLOADS[training.floor]
            assert (scenario.stop.rounds, chosen["local_steps"]) == (rounds, steps)
        elif module is servers:
            assert (scenario.stop.rounds, chosen["local_steps"]) == (servers.ROUNDS, servers.STEPS)
        elif module is semantic:
            assert (scenario.stop.rounds, chosen["local_epochs"]) == (semantic.ROUNDS, semantic.STEPS)
        elif training.floor:
            rounds, steps, _ = floor.WORKLOADS[training.floor]
            assert (scenario.stop.rounds, chosen["local_steps"]) == (rounds, steps)


def test_the_loop_on_mnist_trains_what_the_scenario_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 40 random images: after a round and after two, the same answers on 20 more but for one near-tie."""
    data_files.shrink(monkeypatch)
    monkeypatch.setenv("WSIM_DATA", str(data_files.put(tmp_path, data_files.mnist_files())))
    for rounds, steps in ((1, 4), (2, 3)):
        changes = [f"stop.rounds={rounds}", f"algorithm.local_steps={steps}"]
        record = simulate(load(run.FOLDER / run.TRAINING["mnist_fedavg"].scenario, changes))
        found = mnist.plain_fedavg(mnist.make_problem(), rounds, steps)
        assert record.accuracy[-1] == pytest.approx(found, abs=1 / data_files.NUM_TEST + 1e-6)


@pytest.mark.parametrize("name", neighbors.WORKLOADS)
def test_the_loops_between_neighbors_train_what_the_scenario_trains(name: str) -> None:
    """Two methods could not agree to five digits on 36,000 answers (100 models, 360 samples) by chance."""
    training = run.TRAINING[name]
    method, _, steps = neighbors.WORKLOADS[name]
    record = simulate(load(run.FOLDER / training.scenario, [*training.overrides, "stop.rounds=2"]))
    found = neighbors.METHODS[method](floor.make_problem("iid"), 2, steps)
    assert record.accuracy[-1] == pytest.approx(found, abs=3e-4)


@pytest.mark.parametrize("name", servers.METHODS)
def test_the_loops_with_a_server_train_what_the_scenario_trains(name: str) -> None:
    """To the last answer: one model's on 360 samples, or those of 100 devices."""
    training = run.TRAINING[name]
    record = simulate(load(run.FOLDER / training.scenario, [*training.overrides, "stop.rounds=2"]))
    assert record.accuracy[-1] == pytest.approx(servers.METHODS[name](floor.make_problem("iid"), 2, 5), abs=3e-4)


def test_the_semantic_loop_trains_what_the_scenario_trains() -> None:
    """After three rounds, the same answers of ten nodes on 360 samples but for two near-ties."""
    training = run.TRAINING["semantic"]
    record = simulate(load(run.FOLDER / training.scenario, ["stop.rounds=3", "evaluation.every_rounds=3"]))
    assert record.accuracy[-1] == pytest.approx(semantic.run(semantic.make_problem(), 3), abs=2.5 / 3600)


@pytest.mark.parametrize("name", run.CONTROL)
def test_the_loops_of_control_problems_train_what_the_scenario_trains(name: str) -> None:
    """Two rounds of eight devices: to 1e-5 of the reference's rate, which float32 sums in another order, and padding, do not reach."""
    training = run.TRAINING[f"{name}_few"]
    short = ["stop.rounds=2", "evaluation.every_rounds=2"]
    record = simulate(load(run.FOLDER / training.scenario, [*training.overrides, *short]))
    found = control.run(control.make_federation(training.floor), 2)
    assert record.accuracy[-1] == pytest.approx(found, abs=1e-5)


def test_the_codecs_measured_are_those_that_compress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "SIZES", (40, 8))
    monkeypatch.setattr(codecs, "REPEATS", 1)
    rates = codecs.measure()
    assert set(rates) == {f"{name}{path}" for name in codecs.CODECS for path in ("", "_tensors", "_bytes")}
    kinds = {type(codec) for codec in codecs.CODECS.values()}
    assert kinds == {registry.load("codec", name) for name in registry.CODECS if name != "float32"}
    assert set(run.CODECS) <= set(codecs.CODECS)


def test_goals_name_what_is_measured() -> None:
    names = {f"{name} {variant}" for name, training in run.TRAINING.items() for variant in training.variants}
    names |= {f"{name} wsim" for name in (*run.ESTIMATES, *run.OTHERS)}
    assert {need for goal in run.GOALS for need in goal.needs} <= names
