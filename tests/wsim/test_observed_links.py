"""Gains that the simulator's own channels give: what is recorded, what is tested, and that learners train on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from learners.control.observed_links import ObservedProblem, times_of
from learners.control.observed_stream import ObservedStream
from learners.control.scale_stream import decoded
from learners.models.flat import unflatten
from wsim.clock import to_ns
from wsim.engine import Run, simulate
from wsim.errors import DataError, ScenarioError
from wsim.scenario import Loaded, load_text

OBSERVED = """
dtype = "float64"
[scenario]
name = "observed"
[stop]
simulated_s = 12.0
[area]
shape = "square"
side_m = 250.0
[data]
name = "observed_links"
max_scale = 4
neighbor_mean_snr_db = 5.0
update_every_s = 0.5
snapshot_every_s = 0.25
test_samples = 40
test_blocks = 2
gap_s = 1.0
memory = 6
[model]
name = "edge_equivariant"
hidden = [4]
[[devices]]
name = "walkers"
count = 10
mobility = { kind = "random_waypoint", speed_mps = [5.0, 10.0] }
radio = { tx_power_dbm = 10.0 }
compute = { effective_flops = 1e5 }
[[devices]]
name = "strong"
count = 2
radio = { tx_power_dbm = 16.0, noise_figure_db = 5.0 }
compute = { effective_flops = 1e5 }
[channel]
carrier_hz = 3.5e9
bandwidth_hz = 1e7
path_loss = { kind = "log_distance", exponent = 3.5, reference_loss_db = 43.0 }
shadowing = { kind = "lognormal", sigma_db = 6.0, correlation_m = 20.0 }
fading = { kind = "rayleigh", correlation = "block", block_s = 0.05 }
[evaluation]
every_s = 4.0
[algorithm]
learning_rate = 0.01
batch_size = 8
local_steps = 2
"""
SERVERLESS = [
    "algorithm.name=dpsgd",
    "algorithm.local_optimizer=adam",
    "algorithm.deadline_s=0.5",
    "mac.kind=ideal",
    'topology={kind="radio", update_every_s=0.5}',
]
STAR = [
    "algorithm.name=fedavg",
    "algorithm.deadline_s=1.0",
    "mac.kind=fdma",
    "topology.kind=star",
    "server={position_m=[0.0, 0.0, 10.0], radio={tx_power_dbm=30.0}, compute={effective_flops=1e9}}",
]


def observed(*overrides: str) -> Loaded:
    return load_text(OBSERVED, [*SERVERLESS, *overrides])


def run_of(*overrides: str, executor: str = "eager") -> Run:
    return Run(observed(*overrides), executor, None, None, None, None)


def test_entries_are_the_gains_of_the_links_at_that_time() -> None:
    run = run_of()
    links, problem = run.world.links, run.learning.problem
    assert problem is not None
    recording = problem.recording
    gains = problem.rule.gains(torch.from_numpy(problem.train_inputs)).numpy()
    power_w = np.array([1e-3 * 10 ** (dbm / 10) for dbm in [10.0] * 10 + [16.0] * 2])
    noise_w = links.noise_w_per_hz * 1e7
    row = 0
    seen = set()
    for time_s in np.unique(recording.times_s).tolist():
        for owner in run.flows.owners(time_s, 4):
            if row % 3:  # enough of them
                row += 1
                continue
            assert recording.times_s[row] == time_s
            assert recording.scales[row] == len(owner.objects) == problem.train_inputs[row, :, -1].sum()
            assert [device for device, part in enumerate(run.learning.parts) if row in part] == sorted(owner.devices)
            for k, (_, receiver) in enumerate(owner.objects.tolist()):
                for j, (sender, _) in enumerate(owner.objects.tolist()):
                    ends = np.array([sender]), np.array([receiver])
                    gain = links.channel.gain(*ends, to_ns(time_s) // to_ns(0.05), 1)[0, 0]
                    snr = gain * power_w[sender] / noise_w[receiver]
                    assert gains[row, k, j] == pytest.approx(snr, rel=1e-9)
            seen.add(len(owner.objects))
            row += 1
    assert row == len(gains)
    assert len(seen) >= 3  # the number of objects follows movement
    assert gains.sum() == pytest.approx(sum(g[:k, :k].sum() for g, k in zip(gains, recording.scales, strict=True)))


@pytest.mark.parametrize(("every_s", "blocks", "gap_s"), [(0.25, 2, 1.0), (1.0, 4, 0.0), (0.3, 5, 2.5)])
def test_tests_are_of_other_times(every_s: float, blocks: int, gap_s: float) -> None:
    horizon_s = 60.0
    times = list(times_of(horizon_s, every_s, blocks, gap_s))
    train, test = ([time_s for time_s, is_test in times if is_test is kind] for kind in (False, True))
    assert train[0] == 0.0
    assert min(abs(a - b) for a in train for b in test) > gap_s
    assert len(test) * every_s == pytest.approx(0.2 * horizon_s, abs=2 * blocks * every_s)
    lost_s = gap_s * (2 * blocks - 1)
    assert len(train) * every_s == pytest.approx(0.8 * horizon_s - lost_s, abs=3 * blocks * every_s)


def test_test_samples_are_none_of_training() -> None:
    problem = run_of().learning.problem
    assert problem is not None
    own = {row[0, 0] for row in problem.train_inputs}
    assert not own & {row[0, 0] for row in problem.test_inputs}
    again = run_of("seeds.data=5").learning.problem  # other draws of tests, the same network
    assert np.array_equal(again.train_inputs, problem.train_inputs)
    assert not np.array_equal(again.test_inputs, problem.test_inputs)
    assert problem.test_labels.min() == problem.test_labels.max()  # one reference


def test_draws_take_the_latest_of_what_has_been_recorded() -> None:
    run = run_of()
    problem, recording = run.learning.problem, run.learning.problem.recording
    pool = torch.from_numpy(problem.train_inputs)
    device = max(range(12), key=lambda i: len(run.learning.parts[i]))
    part, now = run.learning.parts[device], [0.0]
    stream = ObservedStream(
        part, recording, np.random.default_rng(3), torch.float64, 4, lambda k: k * k, lambda: now[0]
    )
    times = recording.times_s[part]
    for now[0] in (float(times[0]), float(times[2]) + 0.01, 8.0, 100.0):
        known = part[times <= now[0]][-6:]
        batches = stream.draw(64, steps=2)
        rows = batches.indices.numpy() % len(pool)
        assert set(rows.ravel().tolist()) == set(known.tolist())  # 128 draws of 6: none is missed but once in 2e9
        assert batches.work == pytest.approx((recording.scales[known] ** 2).mean() / 16)
        assert torch.equal(decoded(batches.indices[0], pool, "matrix"), pool[rows[0]])
        every = stream.all_samples(4)
        assert (
            every.indices.numpy().ravel()[every.weights.numpy().ravel() > 0].tolist()
            == (known + len(pool) * recording.scales[known]).tolist()
        )
    nothing = ObservedStream(part[3:], recording, np.random.default_rng(3), torch.float64, 4, lambda k: k, lambda: -1.0)
    batches = nothing.draw(8, steps=2)
    assert (batches.weights.sum(), batches.work) == (0.0, 0.25)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal(run.learning.task.num_params))
    step = run.learning.task.gradient(x, batches.indices[0], batches.weights[0])
    assert torch.equal(step, torch.zeros_like(step))  # nothing to learn from, and no NaN
    with pytest.raises(ValueError, match="no passes"):
        stream.draw(8, epochs=1)


def test_controllers_do_not_begin_saturated() -> None:
    """Of powers that are decided at the start, over seeds, nearly all are between .05 and .95."""
    for model in ("edge_equivariant", "message_passing"):
        learning = run_of(f'model={{name="{model}"}}').learning
        inputs = torch.from_numpy(learning.problem.test_inputs)
        for seed in (1, 2, 3, 4):
            x = learning.task.initial_parameters(np.random.default_rng(seed))
            scores = learning.task.model.forward(unflatten(x, learning.task.model.shapes), inputs)
            powers = learning.problem.rule.decide(scores, inputs)[inputs[..., -1] > 0]
            assert ((powers > 0.05) & (powers < 0.95)).double().mean() > 0.95


@pytest.mark.parametrize("keys", [SERVERLESS, STAR])
def test_learners_train_on_it(keys: list[str]) -> None:
    data = ['evaluation.data=["global_test", "scale_1"]', "data.test_samples=200"]
    loaded = load_text(OBSERVED, [*keys, *data, "algorithm.learning_rate=0.1"])
    learning = Run(loaded, "eager", None, None, None, None).learning
    problem, task = learning.problem, learning.task
    shares, _ = task.metric(task.initial_parameters(np.random.default_rng(1)), *learning_tests(problem))
    record = simulate(loaded)
    final = record.series_accuracy[0, -1]
    assert float(shares.mean()) + 0.03 < final < 1.1  # from half power; full power has 0.92 of WMMSE's rate
    alone = record.series_accuracy[record.series_data.index("scale_1")]
    assert 0.9 < alone.max() < 1.0  # who is alone is best at full power, which WMMSE finds
    assert any("genie" in note for note in record.notes)


def learning_tests(problem: ObservedProblem) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(problem.test_inputs), torch.from_numpy(problem.test_labels)


def test_an_estimate_has_the_times_of_the_run_and_no_gains() -> None:
    loaded = observed("scenario.seed=3", "stop.simulated_s=2.5", "data.horizon_s=12.0")
    run, estimate = simulate(loaded), simulate(loaded, "null")
    assert estimate.event_digest == run.event_digest
    assert np.array_equal(estimate.processor_s, run.processor_s)
    problem = Run(loaded, "null", None, None, None, None).learning.problem
    assert problem.train_inputs[..., :-1].max() == 0.0
    assert problem.train_inputs[..., -1].sum() == problem.recording.scales.sum()


def test_the_window_of_the_executor_changes_no_bit() -> None:
    loaded = observed("dtype=float32", "stop.simulated_s=2.5", "data.horizon_s=12.0")
    one, many = (simulate(loaded, window=window) for window in (1, 4096))
    assert one.event_digest == many.event_digest
    assert np.array_equal(one.series_accuracy_by_device, many.series_accuracy_by_device)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.max_scale=0"], r"\[data\] max_scale"),
        (["data.partition=iid"], r"\[data\] partition"),
        (["stop.simulated_s=none", "stop.rounds=3"], r"\[data\] horizon_s: this key is missing"),
        (["data.horizon_s=1.0"], r"\[data\] horizon_s = 1: 2 blocks for tests"),
        (["algorithm.local_steps=none", "algorithm.local_epochs=1"], r"\[algorithm\] local_epochs = 1: .*no passes"),
        (['evaluation.data=["own_scale"]'], r"\[evaluation\] data.* another number of objects"),
        (['evaluation.data=["scale_5"]'], r"at most data.max_scale = 4 objects"),
        (["model.name=mlp", "model.hidden=[4]"], r"does not decide about objects of data observed_links"),
    ],
)
def test_bad_input_is_one_line(overrides: list[str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as error:
        observed(*overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.neighbor_mean_snr_db=99.0"], "neighbor_mean_snr_db = 99.0: nobody is within reach"),
        (["data.gap_s=3.0"], r"gap_s = 3: leaves no time to train between 2 blocks in 12 s; below 2.4"),
        (
            ["data.gap_s=none", "devices.walkers.mobility.speed_mps=[2.0, 4.0]"],
            r"gap_s \(the time .* other ones\) = 5: leaves",
        ),
        (
            ['evaluation.data=["global_test", "scale_4"]', "data.test_samples=2"],
            "fewer than 20 test samples have 4 objects",
        ),
        (["data.snapshot_every_s=0.00001"], "snapshot_every_s = 1e-05: makes more than 100000 snapshots of 12 s"),
    ],
)
def test_what_shows_in_the_network_is_one_line(overrides: list[str], says: str) -> None:
    with pytest.raises((DataError, ScenarioError), match=says) as error:
        run_of(*overrides)
    assert "\n" not in str(error.value)


def test_decorrelation_is_a_walk_out_of_the_shadow() -> None:
    run = run_of("devices.walkers.mobility.speed_mps=[2.0, 4.0]", "stop.simulated_s=60.0", "data.gap_s=none")
    assert any("5 s or more from any training sample" in note for note in run.learning.notes)
    assert math.isclose(20.0 / 4.0, 5.0)
