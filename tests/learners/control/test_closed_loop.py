"""The closed loop at a bench: what is sent, what a device makes of what has arrived, and what it decides then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.control.closed_loop import ClosedLoop, decide, sample_of
from learners.control.control_task import ControlTask
from learners.control.ego_sample import ego_gains
from learners.control.link_messages import Role, Row
from learners.control.local_wmmse import local_wmmse
from learners.control.problem import Problem, ScaleTest, packed
from learners.control.rules import PowerControl
from learners.control.wmmse import wmmse
from learners.loopback import Loopback, LoopbackNode
from learners.models.edge_equivariant import EdgeEquivariant
from learners.protocol import Actuate, Observe, Payload

PAIRS = [(0, 1), (2, 3), (4, 5)]
IDLE = 6
FULL_DBM = 23.0


def snrs(seed: int = 26) -> np.ndarray:
    """[7, 7] from a device (column) at another (row): own links of some 20 dB, others of some 10."""
    found = 10 ** np.random.default_rng(seed).normal(1.0, 0.5, (7, 7))
    for sender, receiver in PAIRS:
        found[receiver, sender] *= 10
    return found.astype(np.float32)


def task(max_scale: int = 4) -> ControlTask:
    rule = PowerControl(feature="log")
    inputs = packed(rule.features(snrs()[None, :max_scale, :max_scale]))
    problem = Problem("links", rule, (max_scale,), None, inputs, {max_scale: ScaleTest(inputs, 1.0)}, "WMMSE")
    return ControlTask(problem, EdgeEquivariant(problem.input_shape, 1, hidden=(4,)), "float64")


def bench(
    learner: ClosedLoop, lost: Callable[[int, Any], bool] = lambda sender, payload: False, seed: int = 26
) -> tuple[Loopback, dict[int, list[float]]]:
    """All in reach of all but device 5 of device 2 and the reverse. lost: (sender, what it says) that reaches nobody, though it was sent.
    Returns the bench and what each device has set its power to."""
    gains, powers = snrs(seed), {i: [] for i in range(7)}

    def observe(device: int, request: Observe) -> Any:
        match request.what:
            case "link":
                return next((pair for pair in PAIRS if device in pair), ())
            case "snr":
                return float(gains[device, request.peer])
            case "max_power":
                return FULL_DBM
            case "link_rate":
                return 2.0
            case "time":
                return None
        raise AssertionError(request)

    def program(node: LoopbackNode) -> Any:
        requests, answer = learner.program(node), None
        while True:
            try:
                request = requests.send(answer)
            except StopIteration:
                return
            if isinstance(request, Actuate):
                powers[node.id].append(request.value)
            if isinstance(getattr(request, "payload", None), Payload) and lost(node.id, request.payload.data):
                request = request._replace(to=())
            answer = yield request
            if request == Observe("link") and answer == ():
                answer = None

    nodes = []
    for i in range(7):
        neighbors = tuple(j for j in range(7) if j != i and {i, j} != {2, 5})
        initial = learner.task.initial_parameters(np.random.default_rng(0))
        stream = BatchStream(np.arange(1), np.random.default_rng(i), torch.float64)
        node = LoopbackNode(
            i, neighbors, initial, np.random.default_rng(i), stream=stream, task=learner.task, dtype=torch.float64
        )
        nodes.append(node)
    return Loopback(program, nodes, observe).run(), powers


def loop(rounds: int = 1, **keys: Any) -> ClosedLoop:
    return ClosedLoop(
        task(keys.pop("max_scale", 4)), Float32(), rounds, **{"deadline_s": 1.0, "local_steps": 2, **keys}
    )


def expected_wmmse(order: list[tuple[int, int]], known: Mapping[tuple[int, int], bool] | None = None) -> float:
    """Power of the first pair, from the definition: entry kj is what receiver k hears of sender j."""
    gains = snrs().astype(np.float64)
    H = np.array([[gains[r, s] if (known or {}).get((r, s), True) else 0.0 for s, _ in order] for _, r in order])
    return float(wmmse(H[None])[0, 0])


def set_to(share: float) -> float:
    return FULL_DBM + 10 * np.log10(max(share, 0.01))


def test_messages_have_the_bits_of_their_encoding() -> None:
    for role in (Role(3, 70), Role()):
        assert Role.decode(role.encode()) == role
        assert role.num_bits == 8 * len(role.encode()) == 32
    row = Row.of({7: 12.3456789, 65534: 1e-7, 2: 3e9})
    assert Row.decode(row.encode()) == row
    assert row.num_bits == 8 * len(row.encode()) == 3 * (16 + 32)
    assert row.snr_of(7) == float(np.float32(12.3456789)) != 12.3456789
    assert row.snr_of(9) == 0


def test_what_travels_is_counted() -> None:
    run, _ = bench(loop(controller="wmmse"))
    sent = [(line[0], line[4], line[5]) for line in run.trace if line[1] == "send"]
    assert [bits for _, number, bits in sent if number == 0] == [32] * 7
    # receivers 1 and 3 hear of all three senders; 5 does not hear 2, but its receiver 3, who names it
    assert {(device, bits) for device, number, bits in sent if number == 1} == {(1, 144), (3, 144), (5, 144)}
    assert not [bits for _, number, bits in sent if number == 2]  # no models


def test_the_learned_loop_exchanges_models_too() -> None:
    learner = loop(rounds=3)
    run, _ = bench(learner)
    sent = [line[5] for line in run.trace if line[1] == "send" and line[4] == 8]
    assert sent == [32 * learner.task.num_params] * 7
    models = [report.value for report in run.reports if report.name == "model"]
    assert torch.stack(models).isfinite().all()
    start = learner.task.initial_parameters(np.random.default_rng(0))
    assert float((models[-1] - start).abs().max()) > 1e-3


def test_senders_decide_by_wmmse_on_all_rows() -> None:
    _, powers = bench(loop(controller="wmmse", max_scale=3))
    for i, pair in enumerate(PAIRS):
        share = expected_wmmse([pair, *PAIRS[:i], *PAIRS[i + 1 :]])
        if pair[0] == 2:  # has not heard receiver 5
            share = expected_wmmse([PAIRS[1], PAIRS[0]])
        assert powers[pair[0]] == ([] if share > 1 - 1e-9 else [pytest.approx(set_to(share), abs=1e-3)])
        assert powers[pair[1]] == []
    assert powers[IDLE] == []
    assert powers[0] == [pytest.approx(set_to(0.39), abs=0.02)]


def test_a_missing_row_leaves_its_pair_out() -> None:
    """Receiver 5 says nothing: the others decide as if there were two pairs, though they have heard its role."""
    _, powers = bench(loop(controller="wmmse"), lambda sender, data: sender == 5 and isinstance(data, Row))
    share = expected_wmmse([(0, 1), (2, 3)])
    assert share < 0.01 < 0.3 < expected_wmmse([(0, 1), (2, 3), (4, 5)])
    assert powers[0] == [pytest.approx(FULL_DBM - 20)]
    assert powers[4] == []  # and its own sender decides nothing


def test_without_the_own_row_the_last_power_stays() -> None:
    rounds = {"rows": 0}

    def lost(sender: int, data: Any) -> bool:
        rounds["rows"] += sender == 1 and isinstance(data, Row)
        return sender == 1 and isinstance(data, Row) and rounds["rows"] > 1

    _, always = bench(loop(rounds=4, controller="wmmse"))
    _, once = bench(loop(rounds=4, controller="wmmse"), lost)
    assert len(always[0]) == 1  # static gains: set once, and again the same
    assert once[0] == always[0]


def test_an_unheard_role_is_not_measured() -> None:
    """The interference of a sender that has not been heard of is no entry of a row."""
    run, _ = bench(loop(controller="full"), lambda sender, data: sender in (4, 5) and isinstance(data, Role))
    assert {line[5] for line in run.trace if line[1] == "send" and line[4] == 1} == {96, 144}


def test_power_floor() -> None:
    """WMMSE switches links off; the floor keeps them on the air."""
    for seed in (17, 19):
        _, powers = bench(loop(controller="wmmse", min_power_db=-13.0), seed=seed)
        found = [dbm for values in powers.values() for dbm in values]
        assert all(FULL_DBM - 13 - 1e-9 <= dbm <= FULL_DBM for dbm in found)
        if any(dbm == pytest.approx(FULL_DBM - 13) for dbm in found):
            return
    raise AssertionError("no link was ever switched off: the test shows nothing")


def test_the_learned_controller_is_the_model_on_the_sample() -> None:
    learner = loop(max_scale=4)
    _, powers = bench(learner)
    own, gains = learner.task, snrs().astype(np.float64)
    H = np.array([[gains[r, s] for s, _ in PAIRS] for _, r in PAIRS])
    x = own.initial_parameters(np.random.default_rng(0))
    sample = torch.tensor(sample_of(own, H))
    share = float(decide(own, own.problem.rule)(x, sample)[0])
    assert powers[0] == [pytest.approx(set_to(share), abs=1e-3)]
    padded_alone = torch.cat((sample[:3, :3], sample[:3, -1:]), -1)
    assert float(decide(own, own.problem.rule)(x, padded_alone)[0]) == pytest.approx(share, abs=1e-12)


def test_full_power_sets_nothing() -> None:
    run, powers = bench(loop(rounds=2, controller="full", trains=True))
    assert not any(powers.values())
    assert {measured.node for measured in run.measures if measured.name == "power" and measured.value is not None} == {
        sender for sender, _ in PAIRS
    }
    rates = {measured.node for measured in run.measures if measured.name == "link_rate" and measured.value is not None}
    assert rates == {receiver for _, receiver in PAIRS}


def test_ego_gains_keep_the_strongest_pairs() -> None:
    rows = {
        1: Row.of({0: 100.0, 2: 5.0, 4: 1.0}),
        3: Row.of({2: 90.0, 0: 2.0}),
        5: Row.of({4: 80.0, 0: 30.0, 2: 7.0}),
    }
    assert ego_gains(1, rows, 3).tolist() == [
        [100, 1, 5],
        [30, 80, 7],
        [2, 0, 90],
    ]  # 30 from 0 at 5 beats 5 from 2 at 1
    assert ego_gains(1, rows, 2).tolist() == [[100, 1], [30, 80]]
    assert ego_gains(1, rows, 1).tolist() == [[100]]
    assert ego_gains(7, rows, 3) is None
    rows[6] = Row.of({0: 3.0, 2: 4.0})  # a receiver that takes 0 for its sender, too: pairs have just changed
    assert ego_gains(1, rows, 3).tolist() == [[100, 1, 5], [30, 80, 7], [2, 0, 90]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_local_wmmse_is_wmmse(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(5)
    for K in (1, 2, 5):
        gains = 10 ** rng.normal(1.0, 1.0, (K, K))
        padded = np.pad(gains, (0, 6 - K))
        found = local_wmmse(torch.tensor(padded, dtype=dtype))
        tolerance = 1e-9 if dtype == torch.float64 else 2e-3  # 100 iterations near a stationary point
        assert found[:K].numpy() == pytest.approx(wmmse(gains[None])[0], abs=tolerance)
        assert not found[K:].any()
    assert local_wmmse.flops(torch.empty(3, 3, device="meta")) == 201 * 2 * 9


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"controller": "best"}, "controller = 'best': one of learned, wmmse, full"),
        ({"trains": False}, "trains = False"),
        ({"memory": 0}, "memory = 0"),
        ({"min_power_db": 3.0}, "min_power_db = 3.0: .* from -60 to 0"),
        ({"local_steps": None, "local_epochs": 1}, "local_epochs = 1"),
    ],
)
def test_bad_keys_are_one_line(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loop(**keys)
