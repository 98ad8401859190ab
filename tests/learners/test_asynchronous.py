"""FedBuff and FedAsync: tabulated values, the books of staleness, places that are never blocked, and how they do among slow devices."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.compression.topk import TopK
from learners.federated.async_sgd import INVITATIONS, MOST_BEGUN, _Places, round_of
from learners.federated.fedasync import FedAsync
from learners.federated.fedavg import FedAvg
from learners.federated.fedbuff import FedBuff
from learners.protocol import SERVER, Left, Message
from tests.contract.recording import record
from tests.contract.worlds import CALM, calm
from tests.contract.worlds import SERVER as SERVER_TABLE
from tests.learners.oracle_runs import Quadratics, run, zeros
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, mask, vector
from wsim.engine import simulate
from wsim.scenario import load_text


def absorbed(made: Any, node: Any, w: Any, message: Message, weight: float) -> Any:
    """What the server makes of an update."""
    program = made.absorb(node, w, message, weight)
    answer = None
    while True:
        try:
            request = program.send(answer)
        except StopIteration as ended:
            return ended.value
        answer = request.op(*request.args)


@pytest.mark.parametrize(
    ("staleness", "expected"),
    [
        ("poly", {0: 0.6, 1: 0.4243, 3: 0.3, 4: 0.2683, 10: 0.1809}),
        ("hinge", {4: 0.6, 6: 0.02857, 10: 0.00984}),
        ("const", {0: 0.6, 100: 0.6}),
    ],
)
def test_staleness_weights_have_the_tabulated_values(staleness: str, expected: dict[int, float]) -> None:
    """0.6 s(t - tau): values worked out outside this code."""
    made = learner(FedAsync, local_steps=1, staleness=staleness)
    for versions, alpha in expected.items():
        assert 0.6 * made.weight(versions) == pytest.approx(alpha, abs=6e-5)


def test_fedbuff_divides_by_the_size_of_the_buffer() -> None:
    """K = 2, rate 1, w = 1, differences -0.2 (staleness 0) and -0.6 (staleness 3): 1 - (0.2 + 0.5 * 0.6) / 2 = 0.75, where a
    division by the sum of the weights would give 0.6667; half of the way with rate 1/2."""
    for server_rate, expected in ((1.0, 0.75), (0.5, 0.875)):
        made = learner(FedBuff, local_steps=1, buffer_size=2, server_rate=server_rate)
        node, w = HandNode(SERVER), vector(1, 1, 1)
        assert absorbed(made, node, w, Message(0, "update", 0, vector(-0.2, 0, 0)), made.weight(0)) is None
        after = absorbed(made, node, w, Message(1, "update", 0, vector(-0.6, -1, 0), mask(1, 0, 1)), made.weight(3))
        torch.testing.assert_close(after, vector(expected, 1, 1))  # what did not arrive is no change
        assert node.state["buffer"] == []


def test_fedasync_mixes_by_its_weight_and_ends_at_the_clients_model_with_1() -> None:
    made, node = learner(FedAsync, local_steps=1), HandNode(SERVER)
    update = Message(0, "update", 0, vector(2, 1, 0), mask(1, 1, 0))
    torch.testing.assert_close(absorbed(made, node, vector(1, 1, 1), update, 0.5), vector(1.3, 1, 1))
    whole = learner(FedAsync, local_steps=1, mixing_weight=1.0, staleness="const")
    after = absorbed(whole, node, vector(1, 1, 1), update._replace(mask=None), whole.weight(7))
    assert torch.equal(after, vector(2, 1, 0))


def test_fedbuff_with_a_buffer_of_all_and_equal_durations_is_fedavg(executor: Any) -> None:
    fedavg = golden_run_of_server(FedAvg, executor, server_weights="uniform")
    fedbuff = golden_run_of_server(FedBuff, executor, buffer_size=4)
    assert fedbuff == pytest.approx(fedavg, abs=1e-14)


def golden_run_of_server(cls: Any, executor: Any, num_rounds: int = 12, **options: Any) -> np.ndarray:
    """Models [num_rounds] of f_i = (x - b_i)^2 / 2, b = (1, 2, 3, 6), rate 0.1, 3 steps."""
    task: Any = Quadratics([1, 2, 1, 3], [1, 2, 3, 6])
    made = cls(task, Float32(), num_rounds, 0.1, 1, local_steps=3, **options)
    return run(made, executor, [[0], [1], [2], [3]], zeros(4))[SERVER][:, 0]


def cosine(k: int, num_rounds: int = 12) -> float:
    """Rate of round k, from 0.1 on."""
    return 0.1 * (1 + np.cos(np.pi * k / num_rounds)) / 2


def test_fedasync_is_its_recursion(executor: Any) -> None:
    """Four clients that answer together, one after the other as they are numbered: the four updates of a round have staleness 0, 1,
    2, 3, each from the model w^tau of its start: w <- (1 - a) w + a (b - c (b - w^tau)) with c = (1 - rate a_i)^3."""
    curvature, optimum = np.array([1, 2, 1, 3]), np.array([1, 2, 3, 6])
    w, expected = 0.0, []
    for k in range(12):
        start, kept = w, (1 - cosine(k) * curvature) ** 3
        for i in range(4):
            a = 0.6 / np.sqrt(1 + i)
            w = (1 - a) * w + a * (optimum[i] - kept[i] * (optimum[i] - start))
            expected.append(w)
    options = {"learning_rate_schedule": "cosine"}
    models = golden_run_of_server(FedAsync, executor, proximal_weight=0.0, **options)
    assert models == pytest.approx(expected, abs=1e-12)
    assert abs(golden_run_of_server(FedAsync, executor, proximal_weight=0.5, **options) - models).max() > 0.01


def test_learning_rates_follow_the_rounds_of_the_server(executor: Any) -> None:
    """With a buffer of two updates of each client all train twice from every model, 24 times in 12 rounds, at the rate of the round."""
    curvature, optimum = np.array([1, 2, 1, 3]), np.array([1, 2, 3, 6])
    w, expected = 0.0, []
    for k in range(12):
        w += 2 * np.sum((1 - (1 - cosine(k) * curvature) ** 3) * (optimum - w)) / 8
        expected.append(w)
    models = golden_run_of_server(FedBuff, executor, buffer_size=8, learning_rate_schedule="cosine")
    assert models == pytest.approx(expected, abs=1e-12)


def test_staleness_is_measured_and_where_there_is_too_much_an_update_is_not_used() -> None:
    """alpha = 1/2 from 0 to 1: 1/2, 3/4; the third update would make 7/8."""
    options = {"max_staleness": 1, "mixing_weight": 0.5, "staleness": "const"}
    server = Hand(learner(FedAsync, local_steps=1, num_rounds=2, **options).program(HandNode(SERVER)))
    server.answer(Message(0, "update", 0, vector(1, 1, 1)))
    server.answer(Message(1, "update", 0, vector(1, 1, 1)), Message(2, "update", 0, vector(1, 1, 1)))
    assert server.measures == [(0, [0.0]), (1, [1.0]), (2, [2.0])]
    assert [model[0].item() for model in server.reports] == [0.5, 0.75]
    assert [(sent.to, sent.round) for sent in server.sent] == [([0, 1, 2], 0), ([0, 1, 2], 1)]  # still of round 0
    server.answer(Message(0, "update", 1, vector(1, 1, 1)))
    server.answer()
    assert server.measures[3:] == [(0, [0.0])]  # begun with version 2
    assert (server.sent[-1].to, round_of(server.sent[-1].round), server.sent[-1].round) == ([0], 1, INVITATIONS)


# -- places ------------------------------------------------------------------------------------------------------------


def answered(program: Any, *answers: Any) -> list[Any]:
    """The requests of a program with these answers."""
    requests = [next(program)]
    for answer in answers:
        try:
            requests.append(program.send(answer))
        except StopIteration:
            break
    return requests


def test_a_place_is_given_away_when_its_client_goes_or_its_time_is_up() -> None:
    node: Any = SimpleNamespace(devices=(0, 1, 2, 3), rng=np.random.default_rng(1))
    places = _Places(2, 5.0)
    answered(places.free(node), (), 0.0)
    (first,) = places.give(node, 0, 0).values()
    assert len(first) == 2
    assert places.give(node, 0, 0) == {}  # all taken
    answered(places.free(node), (Left(first[0]),), 1.0)
    node.devices = tuple(i for i in node.devices if i != first[0])
    (second,) = places.give(node, 1, 1).values()
    assert len(second) == 1
    assert first[1] in places.taken
    answered(places.free(node), (), 5.0)  # the first two had until then
    assert set(places.taken) == set(second)


def test_a_late_update_is_used_once_with_its_own_staleness() -> None:
    node: Any = SimpleNamespace(devices=(0,), rng=np.random.default_rng(1))
    places = _Places(None, 5.0)
    numbers = []
    for version, now_s in ((0, 0.0), (0, 6.0), (7, 12.0)):  # invited again twice, for it does not answer
        answered(places.free(node), (), now_s)
        numbers += list(places.give(node, version, version))
    assert numbers == [0, 1, 7 * INVITATIONS]
    assert places.returned(Message(0, "update", 1, None)) == 0
    assert places.taken  # it still works on the last
    assert places.returned(Message(0, "update", 1, None)) is None
    assert places.returned(Message(0, "update", 7 * INVITATIONS, None)) == 7
    assert not places.taken


def test_what_comes_after_many_more_invitations_is_not_used() -> None:
    node: Any = SimpleNamespace(devices=(0,), rng=np.random.default_rng(1))
    places = _Places(None, 5.0)
    for i in range(MOST_BEGUN + 1):
        answered(places.free(node), (), 6.0 * i)
        places.give(node, 3, 0)
    assert [places.returned(Message(0, "update", number, None)) for number in (0, 1)] == [None, 3]


@pytest.mark.parametrize("name", ["fedbuff", "fedasync"])
def test_with_a_dead_and_a_deaf_client_nothing_hangs(name: str, tmp_path: Path) -> None:
    """Of 6 clients with 3 places one fails at once, and every fifth packet is lost for good."""
    file = tmp_path / "churn.csv"
    file.write_text("2 0.001 leave")
    keys = [f'devices.0.churn={{kind="schedule", file="{file}"}}', "algorithm.concurrency=3", "stop.rounds=8"]
    keys += ["channel.forced_loss.rate=0.2", "transport.reliability=none", "transport.partial=drop"]
    keys += ["algorithm.deadline_s=0.05", "stop.simulated_s=100"]
    done, recording = record(calm(name, *keys), "null")
    assert done.stop_reason == "rounds"
    assert sum(done.messages_lost.values()) > 0
    last = [line for line in recording.traces[SERVER] if line[0] == "send"][-10:]
    assert all(2 not in line[1] for line in last)
    assert len({line[1] for line in last}) > 1


@pytest.mark.parametrize("name", ["fedbuff", "fedasync"])
def test_never_more_clients_train_than_there_are_places_and_staleness_is_recorded(name: str) -> None:
    done, recording = record(calm(name, "algorithm.concurrency=3", "stop.rounds=6"))
    busy = most = 0
    for line in recording.traces[SERVER]:
        if line[0] == "send":
            busy += len(line[1])
            most = max(most, busy)
        elif line[0] == "received":
            busy -= len(line[1])
    assert most == 3
    staleness = done.measure_value[0]
    assert done.measure_name == ["staleness"]
    known = staleness[~np.isnan(staleness)]
    assert (known >= 0).all()
    assert (known == known.round()).all()
    assert known.max() > 0


SLOW = """
[[devices]]
name = "slow"
count = 2
compute = { effective_flops = 1e5 }
radio = { tx_power_dbm = 20.0 }
"""


def seconds_to(accuracy: float, learner: str, *keys: str) -> float:
    """Of simulated time, with 18 fast devices and 2 that are ten times slower."""
    text = CALM.replace("count = 6", "count = 18").replace(', spread = "lognormal"', "").replace("400", "800")
    text += SLOW + SERVER_TABLE + f'[topology]\nkind = "star"\n\n[algorithm]\nname = "{learner}"\nlocal_steps = 5\n'
    limits = [
        "stop.rounds=40",
        "evaluation.every_s=0.05",
        "dtype=float32",
    ]
    done = simulate(load_text(text, [*limits, *keys]))
    reached = np.flatnonzero(done.accuracy >= accuracy)
    assert len(reached)
    return float(done.eval_time_s[reached[0]])


def test_asynchronous_learners_are_there_earlier_where_a_tenth_is_ten_times_slower() -> None:
    """A round of FedAvg takes as long as the slow ones; with places for all, the fast ones go on meanwhile."""
    fedavg = seconds_to(0.8, "fedavg")
    for name, *keys in (("fedbuff", "algorithm.buffer_size=10"), ("fedasync",)):
        assert seconds_to(0.8, name, *keys) < 0.5 * fedavg


def test_what_the_asynchronous_refuse() -> None:
    with pytest.raises(ValueError, match='staleness_slope = 3.0: only with staleness = "hinge"'):
        learner(FedBuff, local_steps=1, staleness_slope=3.0)
    with pytest.raises(ValueError, match="codec = TopK: sends whole models"):
        learner(FedAsync, local_steps=1, codec=TopK(0.5))
    with pytest.raises(ValueError, match="mixing_weight = 1.5: at most 1"):
        learner(FedAsync, local_steps=1, mixing_weight=1.5)
    learner(FedBuff, local_steps=1, codec=TopK(0.5))
