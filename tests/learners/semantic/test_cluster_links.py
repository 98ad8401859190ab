"""Statistics between cluster mates: what a receiver makes of what arrived, and of that alone."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.compression.uniform import Uniform
from learners.loopback import LoopbackNode
from learners.protocol import Compute, Message, Payload, Receive, Received, Send, Ticket
from learners.semantic.cluster_links import KIND, ClusterLinks, CountedFragments
from learners.semantic.clusters import Turns
from learners.semantic.moment_links import MomentLinks
from tests.learners.semantic.digits_runs import NUM_CLASSES, tasks

D = 12
PACKET_BITS = 8 * 100
MINE = np.array([0, 0, 0, 9, 9, 9, 9, 9, 9, 9])
THEIRS = np.array([20, 30, 40, 0, 0, 0, 0, 0, 0, 0])
"""Of device 1, in two clusters; the matrices and counts of its three classes are 936 + 12 bytes: 10 packets, the last of which
holds 36 bytes of the last matrix, and the counts."""


def links_of(device: int, counts: list[np.ndarray], codec: Any) -> ClusterLinks:
    part = np.concatenate(
        [np.flatnonzero(tasks("float64", D)[0].train_labels == k)[:n] for k, n in enumerate(counts[device])]
    )
    task = tasks("float64", D)[0]
    node = LoopbackNode(
        device,
        (1 - device,),
        torch.zeros(0),
        np.random.default_rng(1),
        num_samples=len(part),
        devices=(0, 1),
        stream=BatchStream(part, np.random.default_rng(2), task.dtype),
        task=task,
        dtype=task.dtype,
        class_counts=counts,
        packet_payload_bits=PACKET_BITS,
    )

    def moments() -> MomentLinks:
        return MomentLinks(node, codec, "triangle", True, 64)

    links = ClusterLinks(node, Turns(((0, 1), (1,))), moments(), moments(), True, None, None)
    links._here = (1 - device,)
    return links


def answered(program: Generator[Any, Any, Any], sent: list[Payload], received: Received) -> Any:
    """The program's result; its sends are kept, `received` is the answer to what it waits for, late messages included."""
    answer = None
    while True:
        try:
            request = program.send(answer)
        except StopIteration as end:
            return end.value
        match request:
            case Compute(op=op, args=args):
                answer = op(*args)
            case Send(payload=payload):
                sent.append(payload)
                answer = Ticket(1)
            case Receive(late=True):
                answer = received


def statistics(codec: Any) -> tuple[Payload, Tensor]:
    """The message of device 1, and its V [num_classes, d, d]."""
    links = links_of(1, [MINE, THEIRS], codec)
    z = torch.from_numpy(np.random.default_rng(3).standard_normal((NUM_CLASSES, 5, D)))
    z = z / z.norm(dim=-1, keepdim=True)
    v = z.mT @ z / 5
    sent: list[Payload] = []
    answered(links.tell(0, 1, v * torch.from_numpy(THEIRS)[:, None, None]), sent, Received(()))
    return sent[0], v


def heard(links: ClusterLinks, payload: Payload, lost: tuple[int, ...], number: int) -> tuple[Tensor, Tensor]:
    """W and c at device 0 after a message of which these packets were lost."""
    mask = None
    if lost:
        arrived = np.ones(-(-payload.num_bits // PACKET_BITS), dtype=bool)
        arrived[list(lost)] = False
        mask = torch.as_tensor(payload.codec.received_mask(arrived, PACKET_BITS, payload.num_values))
    message = Message(1, KIND, number, payload.data, mask)
    answered(links._receive((1,), number, None), [], Received((message,)))
    return answered(links.of_others(0), [], Received(()))


def test_counts_are_those_of_the_message() -> None:
    """Half of its samples for each of its two clusters, whatever the receiver has been told before."""
    payload, v = statistics(Float32())
    assert payload.num_bits == 32 * 3 * (D * (D + 1) // 2 + 1)
    w, c = heard(links_of(0, [MINE, np.minimum(THEIRS, 1)], Float32()), payload, (), 3)
    half = torch.from_numpy(THEIRS) / 2
    assert torch.equal(c, half)
    assert torch.allclose(w, half[:, None, None] * v, atol=1e-12)


@pytest.mark.parametrize("codec", [Float32(), Uniform(bits=16, rounding="nearest")], ids=["float32", "int16"])
def test_a_class_without_a_count_is_not_known(codec: Any) -> None:
    """The last packet holds all counts: nothing is known without it, whatever matrices came; it alone, later, brings the class of which
    nothing else is missing."""
    payload, v = statistics(codec)
    last = -(-payload.num_bits // PACKET_BITS) - 1
    links = links_of(0, [MINE, THEIRS], codec)
    assert links.unheard
    w, c = heard(links, payload, (last,), 3)
    assert not links.unheard
    assert not c.any()
    assert not w.any()
    w, c = heard(links, payload, (0,), 7)
    expected = torch.from_numpy(THEIRS) / 2
    assert torch.equal(c, expected)
    assert torch.allclose(w, expected[:, None, None] * v, atol=1e-2 if codec != Float32() else 1e-6)
    w_again, c = heard(links, payload, (last,), 11)  # what is lost later keeps its last value
    assert torch.equal(c, expected)
    assert torch.allclose(w_again, w, atol=1e-9)


def test_masks_of_counts() -> None:
    """Three numbers of 32 bits and two counts behind them, in packets of 48 bits from bit 16 of a message on: number i lies in
    [16 + 32 i, 48 + 32 i), so 0 in packet 0, 1 in 1, 2 in 1 and 2; the counts in 2 and in 3."""
    fragments = CountedFragments(Float32(), 3 * 32, 2)
    arrived = np.array([True, True, False, True])
    assert fragments.received_mask(arrived, 48, 5, 16).tolist() == [True, True, False, False, True]


def share(value: float) -> Tensor:
    """Full matrices of classes 0 to 2 as triangles: the first number of each is `value`, the last 1 - value."""
    triangle = torch.zeros(D * (D + 1) // 2, dtype=torch.float64)
    triangle[0], triangle[-1] = value, 1 - value
    return triangle.repeat(3)


def test_late_shares_and_statistics_are_used_unless_newer_ones_came_before() -> None:
    """A round has five numbers: shares are 5 k, statistics after device 1's own turn (turn 2) are 5 k + 4. In round 1 those of round 0
    come; in round 3 those of rounds 3 and 2; in round 4 those of round 2 again, and no others; in round 5 those of round 4."""
    links = links_of(0, [MINE + THEIRS, THEIRS], Float32())
    counts = torch.from_numpy(THEIRS) / 2

    def said(number: int) -> Message:
        k = number // 5
        data: Any = share(0.1 * k)
        return Message(1, KIND, number, (data, counts) if number % 5 else data, None)

    def hears(k: int, of_round: list[int], late: list[int]) -> tuple[float, float]:
        """10 times the first number of class 1, of the shares and of the statistics."""
        for exchange in (0, 4):
            answer = Received(
                tuple(said(5 * i + exchange) for i in of_round), late=tuple(said(5 * i + exchange) for i in late)
            )
            answered(links._receive((1,), 5 * k + exchange, None), [], answer)
        (v,), (known,) = answered(links._shares.tables((1,)), [], Received(()))
        assert known.tolist() == [1, 1, 1] + [0] * 7
        w, _ = answered(links.of_others(0), [], Received(()))
        return round(10 * float(v[1, 0, 0]), 9), round(10 * float(w[1, 0, 0] / counts[1]), 9)

    assert hears(1, [], [0]) == (0, 0)
    assert hears(3, [3], [2]) == (3, 3)
    assert hears(4, [], [2]) == (3, 3)
    assert hears(5, [], [4]) == (4, 4)
