"""Policies by which a server chooses its clients, with rates that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from learners.federated.fedavg import FedAvg
from learners.federated.selection import Selection
from learners.protocol import SERVER
from tests.contract.recording import record
from tests.contract.worlds import calm
from tests.learners.test_algorithm_steps import learner

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


def test_what_is_refused_and_what_stays_as_it_was() -> None:
    with pytest.raises(ValueError, match="selection = 'age': only with clients_per_round"):
        learner(FedAvg, local_steps=1, selection="age")
    with pytest.raises(ValueError, match='fairness_rounds = 5: only with selection = "proportional_fair"'):
        learner(FedAvg, local_steps=1, clients_per_round=2, selection="age", fairness_rounds=5)
    assert "selection" not in calm("fedavg").scenario.resolved()["algorithm"]
    keys = ["algorithm.clients_per_round=2", "algorithm.selection=age"]
    assert calm("fedavg", *keys).scenario.resolved()["algorithm"]["selection"] == "age"
