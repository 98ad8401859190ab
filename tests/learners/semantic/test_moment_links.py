"""What a device holds of others whose messages come in part, late, or not at all, number by number."""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.decentralized.neighbor_sgd import Sent
from learners.protocol import Message, Receive, Received, Ticket
from learners.semantic.moment_links import MomentLinks
from learners.semantic.moments import MatrixForm
from learners.semantic.semantic_mcr2 import SemanticMcr2
from tests.learners.semantic.digits_runs import tasks

SENDER = 7
COUNTS = np.array([0, 4, 0, 6])  # of the sender: messages are of its classes 1 and 3
HELD = [1, 3]


def links_of(form: MatrixForm, project: bool) -> tuple[Any, MomentLinks]:
    """Of a device with 4 classes and 2 dimensions."""
    task = SimpleNamespace(model=SimpleNamespace(feature_dim=2), num_classes=4, dtype=torch.float64)
    node: Any = SimpleNamespace(
        id=0,
        task=task,
        all_samples=lambda batch_size: None,
        class_counts_of=lambda device: COUNTS,
        tensor=lambda values: torch.as_tensor(values, dtype=torch.float64),
    )
    return node, MomentLinks(node, Float32(), form, project, 8)


def computed(program: Generator[Any, Any, Any], answer: Any = None) -> Any:
    """What a program returns; its computations are made, a `Receive` is answered with `answer`."""
    reply = None
    try:
        while True:
            request = program.send(reply)
            if isinstance(request, Receive):
                assert request.late
                reply = answer
            else:
                reply = request.op(*request.args)
    except StopIteration as end:
        return end.value


def message(k: int, values: list[float], arrived: list[int] | None = None) -> Message:
    mask = None
    if arrived is not None:
        mask = torch.zeros(len(values), dtype=torch.bool)
        mask[arrived] = True
    return Message(SENDER, "moments", k, torch.tensor(values, dtype=torch.float64), mask)


def table(links: MomentLinks) -> tuple[Tensor, list[float]]:
    """V [4, 2, 2] of the sender, and which classes are known."""
    (found,), (flags,) = computed(links.tables((SENDER,)))
    return found, flags.tolist()


def matrices(*of_held: list[list[float]]) -> Tensor:
    expected = torch.zeros(4, 2, 2, dtype=torch.float64)
    expected[HELD] = torch.tensor(of_held, dtype=torch.float64)
    return expected


NONE = [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("project", [False, True])
def test_a_class_is_known_when_every_number_has_come_and_keeps_what_came_last(project: bool) -> None:
    """Full matrices. First all but one number of class 3; then that one, and one of class 1, which changes."""
    _, links = links_of("full", project)
    computed(links.receive(message(0, [0.5, 0.1, 0.1, 0.5, 0.5, 99.0, 0.5, 0.5], [0, 1, 2, 3, 4, 6, 7]), HELD))
    found, known = table(links)
    assert known == [0, 1, 0, 0]
    torch.testing.assert_close(found, matrices([[0.5, 0.1], [0.1, 0.5]], NONE), rtol=0, atol=1e-15)
    computed(links.receive(message(1, [0.7, 99.0, 99.0, 99.0, 99.0, 0.7, 99.0, 99.0], [0, 5]), HELD))
    found, known = table(links)
    assert known == [0, 1, 0, 1]
    if project:  # trace 1.2; eigenvalues 1.1 along (1, 1) and -.1
        expected = matrices([[7 / 12, 1 / 12], [1 / 12, 5 / 12]], [[0.5, 0.5], [0.5, 0.5]])
    else:
        expected = matrices([[0.7, 0.1], [0.1, 0.5]], [[0.5, 0.6], [0.6, 0.5]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_parts_of_triangles_and_a_whole_message_after_them() -> None:
    _, links = links_of("triangle", False)
    computed(links.receive(message(0, [0.5, 0.1, 0.5, 0.8, 0.2, 0.2], [0, 2, 3, 4]), HELD))
    found, known = table(links)
    assert known == [0, 0, 0, 0]
    assert not found.any()
    computed(links.receive(message(1, [0.6, 0.3, 0.4, 0.9, 0.0, 0.1], [1, 3, 5]), HELD))
    found, known = table(links)
    assert known == [0, 1, 0, 1]
    torch.testing.assert_close(found, matrices([[0.5, 0.3], [0.3, 0.5]], [[0.9, 0.2], [0.2, 0.1]]))
    computed(links.receive(message(2, [0.6, 0.3, 0.4, 0.9, 0.0, 0.1]), HELD))
    torch.testing.assert_close(table(links)[0], matrices([[0.6, 0.3], [0.3, 0.4]], [[0.9, 0.0], [0.0, 0.1]]))


def test_of_whom_nothing_came_nothing_is_known() -> None:
    _, links = links_of("triangle", True)
    found, known = table(links)
    assert known == [0, 0, 0, 0]
    assert not found.any()


def test_late_messages_are_used_unless_a_newer_one_came_before() -> None:
    """In round 1 comes the share of round 0; in round 3 those of rounds 3 and 2; in round 4 that of round 2, and no other."""
    learner = SemanticMcr2(tasks()[0], Float32(), 5)
    node, links = links_of("triangle", False)

    def shares(k: int) -> Message:
        return message(k, [0.1 * k, 0.0, 1 - 0.1 * k] * 2)

    def hears(k: int, of_round: list[int], late: list[int]) -> float:
        sent = Sent(k, "moments", (SENDER,), (SENDER,), Ticket(0), k)
        answer = Received(tuple(map(shares, of_round)), late=tuple(map(shares, late)))
        computed(learner.gather_statistics(node, sent, links), answer)
        found, known = table(links)
        assert known == [0, 1, 0, 1]
        return round(10 * float(found[3, 0, 0]))

    assert hears(1, [], [0]) == 0
    assert hears(3, [3], [2]) == 3
    assert hears(4, [], [2]) == 3
    assert hears(5, [], [4]) == 4
