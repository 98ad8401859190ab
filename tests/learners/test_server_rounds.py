"""Rounds of a server: whom it invites, with rates that are known, and what becomes of late updates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from learners.federated.fedavg import FedAvg
from learners.federated.selection import Selection
from learners.protocol import SERVER, Message, Receive, Received
from tests.contract.recording import record
from tests.contract.worlds import calm
from tests.learners.test_algorithm_steps import HandNode, learner
from wsim.engine import simulate

EVERYBODY = tuple(range(5))


def chosen(
    selection: Selection, rates: dict[int, float] | None = None, present: tuple[int, ...] = EVERYBODY, k: int = 2
) -> list[int]:
    node: Any = SimpleNamespace(devices=present, rng=np.random.default_rng(1))
    program, answer = selection.choose(node, k), None
    while True:
        try:
            request = program.send(answer)
        except StopIteration as ended:
            return ended.value
        assert request.what == "rate"
        answer = (rates or {})[request.peer]


def test_round_robin_goes_around_and_passes_over_who_is_away() -> None:
    selection = Selection("round_robin", 10)
    assert [chosen(selection) for _ in range(3)] == [[0, 1], [2, 3], [0, 4]]
    assert chosen(selection, present=(0, 2, 4)) == [2, 4]
    assert chosen(selection, present=(3,)) == [3]
    assert chosen(selection) == [0, 4]


def test_the_best_channels_are_taken_every_time() -> None:
    selection = Selection("best_channel", 10)
    assert [chosen(selection, {0: 1.0, 1: 5.0, 2: 3.0, 3: 0.0, 4: 4.0}) for _ in range(3)] == [[1, 4]] * 3


def test_proportional_fair_takes_who_is_above_his_own_mean() -> None:
    """T = 2. First everybody is at his mean; then client 3, ever the weakest, has 4 on a mean of (1 + 4) / 2: 1.6; client 0 12 on 11: 1.09;
    client 1 halves; the others stay."""
    selection = Selection("proportional_fair", 2)
    first = {0: 10.0, 1: 8.0, 2: 6.0, 3: 1.0, 4: 5.0}
    assert len(chosen(selection, first)) == 2
    second = {0: 12.0, 1: 4.0, 2: 6.0, 3: 4.0, 4: 5.0}
    assert chosen(selection, second) == [0, 3]
    assert chosen(selection, dict.fromkeys(range(5), 0.0)) is not None  # nobody hears anything


def test_age_takes_those_whose_updates_lie_furthest_back() -> None:
    """An invitation that is not answered makes nobody younger."""
    selection = Selection("age", 10)
    selection.answered([0, 1, 2], 0)
    assert chosen(selection) == [3, 4]
    selection.answered([3], 1)  # 4 has not made it
    assert 4 in chosen(selection)
    selection.answered([4, 0], 2)
    assert chosen(selection) == [1, 2]


def test_equal_ones_are_drawn() -> None:
    counts = np.zeros(5)
    node: Any = SimpleNamespace(devices=EVERYBODY, rng=np.random.default_rng(1))
    for _ in range(300):
        program = Selection("age", 10).choose(node, 2)
        with pytest.raises(StopIteration) as ended:
            next(program)
        counts[ended.value.value] += 1
    assert counts == pytest.approx(120, abs=4 * np.sqrt(300 * 0.4 * 0.6))  # binomial(300, 2/5), 4 standard errors


@pytest.mark.parametrize("policy", ["round_robin", "best_channel", "proportional_fair", "age"])
def test_policies_in_a_run(policy: str) -> None:
    """Static channels without fading: the best two are always the same, the means are the rates themselves; the others take turns."""
    keys = ["algorithm.clients_per_round=2", f"algorithm.selection={policy}", "stop.rounds=6"]
    keys.append("server.radio.tx_power_dbm=-10.0")  # so weak that no rate is the highest there is
    _, recording = record(calm("fedavg", *keys), "null")
    invited = [line[1] for line in recording.traces[SERVER] if line[0] == "send"]
    assert len(invited) == 6
    assert all(len(set(clients)) == 2 for clients in invited)
    times = np.bincount(np.array(invited).ravel(), minlength=6)
    if policy == "best_channel":
        assert sorted(times) == [0, 0, 0, 0, 6, 6]
    elif policy != "proportional_fair":
        assert (times == 2).all()


def test_late_updates_are_used_in_the_round_in_which_they_come() -> None:
    """Of rounds 2 and 3, the newer of which counts; who is on time counts once."""
    made = learner(FedAvg, local_steps=1, deadline_s=1.0, late="use")
    program = made.collect(HandNode(SERVER), [0, 1, 2], 4)
    assert next(program) == Receive([0, 1, 2], "update", 4, timeout_s=1.0, late=True)
    on_time = [Message(i, "update", 4, None) for i in (0, 2)]
    late = (Message(1, "update", 3, None), Message(2, "update", 2, None))
    requests = [program.send(Received(tuple(on_time), (1,), late=late)), next(program), next(program)]
    with pytest.raises(StopIteration) as ended:
        next(program)
    measured = {request.device: float(request.value[0]) for request in requests}
    assert [(message.sender, message.round) for message in ended.value.value.messages] == [(0, 4), (1, 3), (2, 4)]
    assert measured == {0: 0.0, 1: 1.0, 2: 0.0}


def test_slow_clients_count_only_where_late_updates_are_used() -> None:
    """20 steps take 0.08 to 0.24 s, a round 0.15 s at most: the slower half is late every time."""
    keys = ["algorithm.local_steps=20", "stop.rounds=6", "algorithm.deadline_s=0.15"]
    discarded, used = (simulate(calm("fedavg", *keys, f"algorithm.late={late}")) for late in ("discard", "use"))
    assert discarded.measure_name == []
    assert np.nanmax(used.measure_value[0]) >= 1
    assert (np.nanmin(used.measure_value[0]), np.isnan(used.measure_value[0][-1]).any()) == (0, False)
    assert used.messages_delivered_used > discarded.messages_delivered_used


def test_what_is_refused_and_what_stays_as_it_was() -> None:
    with pytest.raises(ValueError, match="late = 'use': only with deadline_s"):
        learner(FedAvg, local_steps=1, late="use")
    with pytest.raises(ValueError, match="selection = 'age': only with clients_per_round"):
        learner(FedAvg, local_steps=1, selection="age")
    with pytest.raises(ValueError, match='fairness_rounds = 5: only with selection = "proportional_fair"'):
        learner(FedAvg, local_steps=1, clients_per_round=2, selection="age", fairness_rounds=5)
    assert not {"selection", "fairness_rounds", "late", "downlink_codec", "rank"} & set(
        calm("fedavg").scenario.resolved()["algorithm"]
    )
    keys = ["algorithm.clients_per_round=2", "algorithm.selection=age"]
    assert calm("fedavg", *keys).scenario.resolved()["algorithm"]["selection"] == "age"
