"""Messages that come after their round is over, for who asks for them: on the bench and in the simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from learners.loopback import LoopbackNode, loopback
from learners.protocol import Payload, Receive, Received, Send, Sleep
from tests.wsim.builders import peers, play


def on_the_bench(programs: dict[int, Callable[[Any], Any]]) -> None:
    nodes = [LoopbackNode(i, (1 - i,), None, np.random.default_rng(i), devices=(0, 1)) for i in range(2)]
    loopback(lambda node: programs[node.id](node), nodes)


def in_the_simulator(programs: dict[int, Callable[[Any], Any]]) -> int:
    return play(peers([(0, 0), (50, 0)]), programs).ledger.used


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("run", [on_the_bench, in_the_simulator])
def test_late_messages_are_kept_for_who_asks(run: Callable[..., Any], late: bool) -> None:
    """The newest of the sender only; those of closed rounds that come, and those that were there when their round was closed."""
    answers: list[Received] = []

    def receiver(node: Any) -> Any:
        for closes in (2, 3, 6, 7):
            answers.append((yield Receive((1,), "x", closes, timeout_s=0.0, late=late)))
            yield Sleep(1.0)

    def sender(node: Any) -> Any:
        yield Sleep(0.2)
        for k in (0, 2, 1, 3):  # 2 is the newest of those that come after their round
            yield Send(0, "x", k, Payload(k, 64))
        yield Sleep(1.0)
        for k in (4, 5):
            yield Send(0, "x", k, Payload(k, 64))

    used = run({0: receiver, 1: sender})
    assert [answer.data for answer in answers] == [[], [3], [], []]
    kept = [[message.data for message in answer.late] for answer in answers]
    assert kept == ([[], [2], [5], []] if late else [[], [], [], []])
    assert used in (None, 3 if late else 1)


@pytest.mark.parametrize("senders", [(1,), None])
@pytest.mark.parametrize("run", [on_the_bench, in_the_simulator])
def test_who_is_behind_is_told_the_newest_round(run: Callable[..., Any], senders: tuple[int, ...] | None) -> None:
    """With the round before, too, or without; of this kind of message only; not a word where nobody is further."""
    answers: list[tuple[list[Any], int | None]] = []

    def receiver(node: Any) -> Any:
        yield Sleep(1.0)
        for k in (1, 2, 5, 6):
            received = yield Receive(senders, "x", k, timeout_s=0.0)
            answers.append((received.data, received.newest))

    def sender(node: Any) -> Any:
        for k in (1, 5, 3):
            yield Send(0, "x", k, Payload(k, 64))
        yield Send(0, "y", 9, Payload(9, 64))

    run({0: receiver, 1: sender})
    assert answers == [([1], 5), ([], 5), ([5], None), ([], None)]
